"""The honest rival: what a tuned linear model makes of the same splits, and whether the LSTM is any better.

TF-IDF and a linear SVM a label, as in the strong baselines of Wang & Manning 2012 and Joulin et al. 2017. Its features
and its C are chosen on the rows by which the LSTM's epoch and temperature are, and it learns from the same rows.

N rows, F features, C classes.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from model.calibration import Flags
from model.config import Kind
from training import metrics
from training.data import Splits
from training.evaluate import Answers, flags
from training.metrics import Doubles

# Sparse (N, F); scipy's own type is not generic enough to say more.
Features: TypeAlias = Any

# The LSTM may be ahead by this at most where the linear model is called as good: a point.
AS_GOOD = 0.01
NAME = "TF-IDF and linear SVM"
CHOICES_OF_C = (0.03, 0.1, 0.3, 1.0, 3.0)
# Character n-grams help with short and badly spelt texts. Above this many characters they would cost minutes, and on
# long texts they bring least: on IMDB (33 million) half a point is lost by them.
MOST_CHARACTERS = 6_000_000
# The most frequent are kept. Twice as many double the time on IMDB and 20 Newsgroups, and bring nothing.
MOST_FEATURES = 500_000
# Features times classes: 1.6 GB.
MOST_WEIGHTS = 200_000_000
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Linear:
    """Weights (F, C) and biases (C): a score above 0 is a yes."""

    weights_FC: Doubles
    biases_C: Doubles

    def scores(self, features: Features) -> Doubles:
        """Signed distances (N, C) in units of the margin."""
        scores_NC: Doubles = features @ self.weights_FC + self.biases_C
        return scores_NC


@dataclass(frozen=True, slots=True)
class Rival:
    """A linear classifier that was fitted, how, and in how many seconds, the search for its settings included."""

    labels: list[str]
    kind: Kind
    vectorizers: list[TfidfVectorizer]
    linear: Linear
    thresholds_C: Doubles
    settings: dict[str, Any]
    seconds: float

    def decide(self, texts: Sequence[str]) -> Flags:
        """Which labels each text is given (N, C)."""
        scores_NC = self.linear.scores(_transform(self.vectorizers, texts))
        return _decisions(scores_NC, self.thresholds_C, self.kind)


def fit(splits: Splits, seed: int) -> Rival:
    """The best on held-out rows of a few linear models, fitted on train: words, or words and characters; five C."""
    started = time.perf_counter()
    targets_NC = flags(splits.train.labels, splits.labels)
    # The rival has no temperature: the rows that fit the LSTM's help it to choose.
    held_out_texts = splits.validation.texts + splits.calibration.texts
    wanted_NC = flags(splits.validation.labels + splits.calibration.labels, splits.labels)
    best: Rival | None = None
    for name, vectorizers in _choices_of_features(splits.train.texts, len(splits.labels)).items():
        train = fit_features(vectorizers, splits.train.texts)
        held_out = _transform(vectorizers, held_out_texts)
        # Characters are tried at the best C of words alone: on GoEmotions each fit of all labels takes a minute.
        for c in CHOICES_OF_C if best is None else (best.settings["C"],):
            linear = fit_linear(train, targets_NC, splits.kind, c=c, seed=seed)
            scores_NC = linear.scores(held_out)
            thresholds_C = _thresholds(scores_NC, wanted_NC, splits.kind)
            score = metrics.micro_f1(wanted_NC, _decisions(scores_NC, thresholds_C, splits.kind))
            if best is None or score > best.settings["held_out_score"]:
                settings = {"features": name, "C": c, "held_out_score": score}
                best = Rival(splits.labels, splits.kind, vectorizers, linear, thresholds_C, settings, seconds=0.0)
    assert best is not None
    return replace(best, seconds=round(time.perf_counter() - started, 1))


def word_features(classes: int, most: int = MOST_FEATURES) -> TfidfVectorizer:
    """TF-IDF of words and pairs of them; a sign that is neither letter nor space is a word, as in `:)` or 🙂."""
    return TfidfVectorizer(
        ngram_range=(1, 2),
        token_pattern=r"\w+|[^\w\s]",
        sublinear_tf=True,
        max_features=min(most, max(MOST_WEIGHTS // classes, 1000)),
        dtype=np.float64,
    )


def fit_features(vectorizers: Sequence[TfidfVectorizer], texts: Sequence[str]) -> Features:
    """The features of these texts (N, F), whose vocabulary becomes the vectorizers'."""
    return sparse.hstack([vectorizer.fit_transform(texts) for vectorizer in vectorizers], format="csr")


def fit_linear(features: Features, targets_NC: Flags, kind: Kind, *, c: float, seed: int) -> Linear:
    """A linear SVM a label, each against the rest; one alone where there are two and each text has one of them."""
    classes = targets_NC.shape[1]
    weights_FC, biases_C = np.zeros((features.shape[1], classes)), np.zeros(classes)
    two = kind == "single-label" and classes == 2
    for label in range(1 if two else classes):
        weights_FC[:, label], biases_C[label] = _fit_one(features, targets_NC[:, label], c=c, seed=seed)
    if two:
        weights_FC[:, 1], biases_C[1] = -weights_FC[:, 0], -biases_C[0]
    return Linear(weights_FC, biases_C)


def compare(rival: Rival, answers: Answers, texts: Sequence[str], *, split: str, seed: int) -> dict[str, Any]:
    """The rival beside the LSTM's answers to the same texts; `difference` is the LSTM's figure less the rival's.

    The figure is the accuracy, or micro-F1 in multi-label data; the interval is the middle 95 % over resampled rows,
    the same rows for both (paired percentile bootstrap, Efron & Tibshirani 1993, section 13.3; 1000 times).
    """
    targets_NC, decided_NC = answers.targets_NC, rival.decide(texts)
    ours, theirs = (metrics.micro_f1(targets_NC, found) for found in (answers.decided_NC, decided_NC))
    low, high = _interval(targets_NC, answers.decided_NC, decided_NC, seed=seed)
    return {
        "name": NAME,
        "settings": rival.settings,
        "seconds": rival.seconds,
        "split": split,
        "accuracy": float((decided_NC == targets_NC).all(axis=1).mean()),
        "micro_f1": theirs,
        "macro_f1": metrics.macro_f1(targets_NC, decided_NC),
        "metric": "accuracy" if rival.kind == "single-label" else "micro_f1",
        "difference": ours - theirs,
        "low": low,
        "high": high,
        "verdict": _verdict(ours, theirs, low, high, rival, split, len(texts)),
    }


def _choices_of_features(texts: Sequence[str], classes: int) -> dict[str, list[TfidfVectorizer]]:
    choices = {"words 1-2": [word_features(classes)]}
    if sum(map(len, texts)) <= MOST_CHARACTERS:
        characters = TfidfVectorizer(
            analyzer="char_wb",
            ngram_range=(2, 5),
            sublinear_tf=True,
            max_features=min(MOST_FEATURES, max(MOST_WEIGHTS // (2 * classes), 1000)),
        )
        choices["words 1-2, characters 2-5"] = [word_features(2 * classes), characters]
    return choices


def _transform(vectorizers: Sequence[TfidfVectorizer], texts: Sequence[str]) -> Features:
    return sparse.hstack([vectorizer.transform(texts) for vectorizer in vectorizers], format="csr")


def _fit_one(features: Features, targets_N: Flags, *, c: float, seed: int) -> tuple[Doubles | float, float]:
    if targets_N.all() or not targets_N.any():
        return 0.0, 1.0 if targets_N.any() else -1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # At a tenth of the library's tolerance 20 Newsgroups takes twice as long, and no decision changes.
        found = LinearSVC(C=c, random_state=seed, tol=0.01, max_iter=300).fit(features, targets_N)
    return found.coef_[0], float(found.intercept_[0])


def _thresholds(scores_NC: Doubles, wanted_NC: Flags, kind: Kind) -> Doubles:
    """In multi-label data the one threshold of best micro-F1 on the held-out rows; elsewhere nothing is cut."""
    thresholds_C = np.zeros(scores_NC.shape[1])
    if kind == "multi-label" and wanted_NC.any():
        # best_threshold expects shares of 1
        share = metrics.best_threshold((1 / (1 + np.exp(-scores_NC))).astype(np.float32), wanted_NC)[0]
        share = min(max(share, 1e-6), 1 - 1e-6)
        thresholds_C[:] = np.log(share / (1 - share))
    return thresholds_C


def _decisions(scores_NC: Doubles, thresholds_C: Doubles, kind: Kind) -> Flags:
    if kind == "multi-label":
        return np.asarray(scores_NC >= thresholds_C)
    return np.asarray(np.arange(scores_NC.shape[1]) == scores_NC.argmax(axis=1)[:, None])


def _interval(targets_NC: Flags, ours_NC: Flags, theirs_NC: Flags, *, seed: int) -> tuple[float, float]:
    """Of the difference of micro-F1, which is the accuracy where each text has one label."""
    counts = [
        ((targets_NC & found).sum(axis=1), found.sum(axis=1) + targets_NC.sum(axis=1)) for found in (ours_NC, theirs_NC)
    ]
    rng = np.random.default_rng(seed)
    rows = len(targets_NC)
    differences = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(rows, size=rows)
        ours, theirs = (2 * true_N[drawn].sum() / max(both_N[drawn].sum(), 1) for true_N, both_N in counts)
        differences.append(ours - theirs)
    low, high = np.quantile(differences, (0.025, 0.975))
    return float(low), float(high)


def _verdict(ours: float, theirs: float, low: float, high: float, rival: Rival, split: str, rows: int) -> str:
    figure = "accuracy" if rival.kind == "single-label" else "micro-F1"
    what = (
        f"{figure} on {split} {theirs:.2%} against the LSTM's {ours:.2%} "
        f"(difference {100 * (ours - theirs):+.2f} points, 95 % interval {100 * low:+.2f} to {100 * high:+.2f})"
    )
    if split == "valid":
        what += "; both were also chosen by these rows"
    if low > 0:
        return f"The LSTM is better than the linear model: {what}."
    cost = f"it costs {rival.seconds:g} s"
    if high < 0:
        return f"The linear model is better: {what}; {cost}."
    if high <= AS_GOOD:
        return f"The linear model is as good: {what}; {cost}."
    return f"Not decided: on {rows:,} rows the linear model may be as good; {what}; {cost}."
