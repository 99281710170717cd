"""A linear model over hashed n-grams: the LSTM's partner in a classifier, and its rival in the report.

NB-SVM (Wang & Manning 2012): logarithms of counts, with or without IDF, and a linear SVM a label, whose features are
scaled by how much they tell of it.

N rows, K features, C classes.
"""

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from model import ngrams
from model.calibration import Flags, Floats
from model.config import Kind, NgramKind
from model.ngrams import Ngrams, Vocabulary
from training.metrics import Doubles

# Sparse (N, K); scipy's own type is not generic enough to say more.
Matrix: TypeAlias = Any

# Character n-grams help with short and badly spelt texts. Above this many characters they would cost many minutes, and
# on long texts they bring least: on IMDB (33 million) half a point is lost by them.
MOST_CHARACTERS = 15_000_000
# The most frequent are kept. Twice as many double the time on IMDB and 20 Newsgroups, and bring nothing.
MOST_FEATURES = 500_000
# Beside a feature's log-count ratio: by that alone, what is as frequent in both classes could say nothing in company.
# On IMDB's held-out rows 92.05 % with it, 91.91 without; on TREC-6's 88.97 and 88.51.
LEAST_RATIO = 0.25
# Features times classes: 40 MB of a bundle with very many classes; it binds from 20 on.
MOST_WEIGHTS = 10_000_000


@dataclass(frozen=True, slots=True)
class Linear:
    """Weights (K, C) and biases (C): a score above 0 is a yes."""

    weights_KC: Doubles
    biases_C: Doubles

    def scores(self, features: Matrix) -> Doubles:
        """Signed distances (N, C) in units of the margin."""
        scores_NC: Doubles = features @ self.weights_KC + self.biases_C
        return scores_NC

    def scaled(self, factor: float, *, bias: float) -> "Linear":
        """The model whose scores are `factor` times these, and `bias`."""
        return Linear(self.weights_KC * factor, self.biases_C * factor + bias)


class Counter:
    """Texts to a matrix of their n-grams, of the kinds named; it knows those of the texts that it was made with."""

    def __init__(
        self, texts: Sequence[str], kinds: Sequence[NgramKind], characters: int, *, most: int = MOST_FEATURES
    ) -> None:
        """`characters` of each text are read, here and where it is served; at most `most` features are kept. Rare ones
        count more: by their inverse document frequency.
        """
        self.kinds = tuple(kinds)
        self.idf = True
        self.characters = characters
        documents = np.zeros(1 << ngrams.BITS, dtype=np.int64)  # that have each hash
        for _, part in ngrams.parts(texts):
            for found in self._find(part):
                pairs = np.unique(found.text_G << ngrams.BITS | found.hash_G)
                np.add.at(documents, pairs & ((1 << ngrams.BITS) - 1), 1)
        seen = np.flatnonzero(documents)
        kept = seen[np.argsort(-documents[seen], kind="stable")][:most]
        hashes_K = np.sort(kept).astype(np.uint32)
        idf_K = (np.log((1 + len(texts)) / (1 + documents[hashes_K])) + 1).astype(np.float32)
        self._vocabulary = Vocabulary(hashes_K, idf_K)

    def without_idf(self) -> "Counter":
        """The same n-grams, of which a rare one counts no more than another."""
        found = copy.copy(self)
        found.idf, found._vocabulary = False, self._vocabulary.without_idf()
        return found

    def __len__(self) -> int:
        """How many features it knows."""
        return len(self._vocabulary.hashes_K)

    def matrix(self, texts: Sequence[str]) -> Matrix:
        """Sparse (N, K): each text's words have length 1, and so have its characters."""
        blocks = [sparse.csr_matrix((0, len(self)))]
        for _, part in ngrams.parts(texts):
            weighed = [self._vocabulary.weigh(found, len(part)) for found in self._find(part)]
            text_G, feature_G, value_G = (
                np.concatenate([getattr(kind, name) for kind in weighed]) for name in ("text_G", "feature_G", "value_G")
            )
            shape = (len(part), len(self))
            blocks.append(sparse.csr_matrix((value_G.astype(np.float64), (text_G, feature_G)), shape=shape))
        return sparse.vstack(blocks, format="csr")

    def served(self, linear: Linear) -> Ngrams:
        """The model over these features, as it is served."""
        weights_KC, biases_C = linear.weights_KC.astype(np.float32), linear.biases_C.astype(np.float32)
        known = self._vocabulary
        return Ngrams(self.kinds, self.characters, known.hashes_K, known.idf_K, weights_KC, biases_C)

    def _find(self, texts: Sequence[str]) -> list[ngrams.Found]:
        return list(ngrams.find(texts, self.kinds, self.characters).values())


def svms(kind: Kind, classes: int) -> int:
    """How many a model has: one a label, or one alone where there are two and each text has one of them."""
    return 1 if kind == "single-label" and classes == 2 else classes


def most_features(classes: int) -> int:
    """As many as are kept."""
    return min(MOST_FEATURES, max(MOST_WEIGHTS // classes, 1000))


def fit(features: Matrix, answers_NC: Flags | Floats, kind: Kind, *, c: float, seed: int) -> Linear:
    """A linear SVM a label, each against the rest; one alone where there are two and each text has one of them.

    Each feature counts by how far its share of a label's texts is from that of the rest, as `_ratios` has it. Of
    probabilities in place of labels each counts by how far it is from a half.
    """
    classes = answers_NC.shape[1]
    weights_KC, biases_C = np.zeros((features.shape[1], classes)), np.zeros(classes)
    present = features != 0
    for label in range(svms(kind, classes)):
        targets_N, weights_N = answers_NC[:, label] > 0.5, np.abs(2.0 * answers_NC[:, label] - 1)
        scale_K = _ratios(present, targets_N, weights_N)
        rows = features @ sparse.diags(scale_K), targets_N, weights_N
        weights_K, biases_C[label] = _fit_one(*rows, c=c, seed=seed)
        weights_KC[:, label] = scale_K * weights_K
    if svms(kind, classes) < classes:
        weights_KC[:, 1], biases_C[1] = -weights_KC[:, 0], -biases_C[0]
    return Linear(weights_KC, biases_C)


def _ratios(present: Matrix, targets_N: Flags, weights_N: Doubles) -> Doubles:
    """How far the logarithm of each feature's share of the label's texts is from that of the rest (K,), and a bit; by
    which features are `present` in each text (N, K).
    """
    shares = []
    for texts_N in (weights_N * targets_N, weights_N * ~targets_N):
        count_K = 1 + np.asarray(present.T @ texts_N, dtype=np.float64).ravel()
        shares.append(np.log(count_K / count_K.sum()))
    return np.asarray(LEAST_RATIO + np.abs(shares[0] - shares[1]))


def _fit_one(
    features: Matrix, targets_N: Flags, weights_N: Doubles, *, c: float, seed: int
) -> tuple[Doubles | float, float]:
    taught_N = weights_N > 0
    if targets_N[taught_N].all() or not targets_N.any():
        return 0.0, 1.0 if targets_N.any() else -1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # At a tenth of the library's tolerance 20 Newsgroups takes twice as long, and no decision changes.
        found = LinearSVC(C=c, random_state=seed, tol=0.01, max_iter=300).fit(features, targets_N, weights_N)
    return found.coef_[0], float(found.intercept_[0])
