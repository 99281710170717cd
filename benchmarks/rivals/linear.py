"""TF-IDF and a linear SVM, of words and their pairs, or of character 2-5-grams too.

Multi-label data: a logistic regression a label, as its thresholds are cut from probabilities. With these features C = 3
gives 91.0 on TREC-6 and C = 1 gives 67.49 on TweetEval's emotions: the figures of the data's page, to the digit.
"""

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

from benchmarks import sets
from benchmarks.rivals.tuning import Rival, Scorer, Settings
from training.evaluate import flags
from training.metrics import Doubles
from training.reading import Examples

# A sign that is neither letter nor space is a word too: question marks and smileys tell much.
TOKEN = r"\w+|[^\w\s]"
CHOICES = [{"C": c} for c in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)]
# A logistic loss falls more slowly than a hinge: it wants more.
MULTI_LABEL_CHOICES = [{"C": c} for c in (1.0, 3.0, 10.0, 30.0)]


def vectorizers(*, characters: bool) -> list[TfidfVectorizer]:
    """Unfitted."""
    found = [TfidfVectorizer(ngram_range=(1, 2), token_pattern=TOKEN, sublinear_tf=True, dtype=np.float64)]
    if characters:
        found.append(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, dtype=np.float64))
    return found


def fits(
    train: Examples, names: Sequence[str], choices: Sequence[Settings], *, characters: bool
) -> Iterator[tuple[Settings, Scorer]]:
    """Each choice of C on the same features."""
    found = vectorizers(characters=characters)
    features = sparse.hstack([vectorizer.fit_transform(train.texts) for vectorizer in found], format="csr")
    targets_NC = flags(train.labels, names)

    def score(model: Any, texts: Sequence[str]) -> Doubles:
        transformed = sparse.hstack([vectorizer.transform(texts) for vectorizer in found], format="csr")
        return scores(model, transformed, len(names))

    for choice in choices:
        if train.kind == "multi-label":
            model = OneVsRestClassifier(LogisticRegression(C=choice["C"], solver="liblinear"))
            yield choice, partial(score, model.fit(features, targets_NC.astype(int)))
        else:
            yield choice, partial(score, svm(features, targets_NC.argmax(axis=1), choice["C"]))


def svm(features: Any, targets_N: Any, c: float) -> LinearSVC:
    """One against the rest, fitted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at the highest C; no decision changes
        return LinearSVC(C=c, random_state=0).fit(features, targets_N)


def scores(model: Any, features: Any, classes: int) -> Doubles:
    """Of all classes (N, C), whichever of them the model saw."""
    found = model.decision_function(features)
    if found.ndim == 1:
        found = np.stack([-found, found], axis=1)
    scores_NC = np.full((len(found), classes), -np.inf)
    scores_NC[:, model.classes_] = found
    return scores_NC


def _rival(name: str, *, characters: bool) -> Rival:
    choices = {"single-label": CHOICES, "multi-label": MULTI_LABEL_CHOICES}
    return Rival(name, choices, partial(fits, characters=characters))  # type: ignore[arg-type]


WORDS = _rival(sets.LINEAR, characters=False)
CHARACTERS = _rival(sets.CHARACTERS, characters=True)
