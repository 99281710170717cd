"""NB-SVM of Wang & Manning 2012 ("Baselines and Bigrams", section 2.3), on binarised 1-3-grams.

A linear SVM on features scaled by their log-count ratio, its weights drawn towards their mean magnitude. With more than
two classes, one against the rest. F features, N rows, C classes.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from benchmarks import sets
from benchmarks.rivals.linear import TOKEN, svm
from benchmarks.rivals.tuning import Rival, Scorer, Settings
from model.calibration import Flags
from training.evaluate import flags
from training.metrics import Doubles
from training.reading import Examples

SMOOTHING = 1.0  # of the counts, the paper's
# 0.25 is the paper's share of the SVM's own weights, for two classes. One against the rest, it costs TREC-6 six points
# against 1, which draws nothing to the mean; so that it is chosen on held-out rows too.
INTERPOLATIONS = (0.25, 1.0)
CHOICES = [{"C": c, "interpolation": b} for c in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0) for b in INTERPOLATIONS]


def fits(train: Examples, names: Sequence[str], choices: Sequence[Settings]) -> Iterator[tuple[Settings, Scorer]]:
    """Each choice of C on the same features."""
    vectorizer = CountVectorizer(ngram_range=(1, 3), token_pattern=TOKEN, binary=True, dtype=np.float64)
    features = vectorizer.fit_transform(train.texts)
    targets_NC = flags(train.labels, names)
    # With two classes and one label a text, the second is what the first isn't.
    columns = [0] if len(names) == 2 and train.kind == "single-label" else list(range(len(names)))

    def score(weights_FC: Doubles, biases_C: Doubles, texts: Sequence[str]) -> Doubles:
        scores_NC: Doubles = vectorizer.transform(texts) @ weights_FC + biases_C
        return scores_NC if scores_NC.shape[1] == len(names) else np.hstack([scores_NC, -scores_NC])

    for choice in choices:
        fitted = [
            fit_one(features, targets_NC[:, column], c=choice["C"], interpolation=choice["interpolation"])
            for column in columns
        ]
        weights_FC, biases_C = np.stack([weights for weights, _ in fitted], axis=1), np.array([b for _, b in fitted])
        yield choice, partial(score, weights_FC, biases_C)


def fit_one(features: Any, targets_N: Flags, *, c: float, interpolation: float) -> tuple[Doubles, float]:
    """The weights (F) and the bias for one class against the rest; never a yes where train has no row of it."""
    if targets_N.all() or not targets_N.any():
        return np.zeros(features.shape[1]), 1.0 if targets_N.any() else -1e9
    ratio_F = log_count_ratio(features, targets_N)
    model = svm(features @ sparse.diags(ratio_F), targets_N, c)
    weights_F = model.coef_[0]
    mixed_F = (1 - interpolation) * np.abs(weights_F).mean() + interpolation * weights_F
    return ratio_F * mixed_F, float(model.intercept_[0])


def log_count_ratio(features: Any, targets_N: Flags) -> Doubles:
    """How much more a feature is seen in rows of the class than in others (F), from smoothed shares of the counts."""
    inside_F, outside_F = (
        SMOOTHING + np.asarray(features[np.flatnonzero(rows)].sum(axis=0)).ravel() for rows in (targets_N, ~targets_N)
    )
    ratio_F: Doubles = np.log((inside_F / inside_F.sum()) / (outside_F / outside_F.sum()))
    return ratio_F


NBSVM = Rival(sets.NBSVM, {"single-label": CHOICES}, fits)
