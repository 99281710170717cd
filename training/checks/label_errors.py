"""Labels that look wrong: confident learning (Northcutt, Jiang & Chuang, JAIR 2021, sections 3 and 4).

A label is suspect where a model that never saw the row is surer of another one than it usually is of rows that have
that other one. The model is the rival's kind, over five folds. cleanlab would do: Apache-2.0, but it brings pandas.

N rows, C classes.
"""

from dataclasses import dataclass

import numpy as np

from model.calibration import Flags, Floats, probabilities
from model.config import Kind
from training import calibrate, linear
from training.data import FOLDS, folds, words_of
from training.evaluate import flags
from training.metrics import Doubles
from training.reading import Examples

FEWEST_A_LABEL = 3
# The middle of the rival's choices. At 1 it found 64 % of SST-2's flipped labels, not 67: docs/experiments.md.
C = 0.3
# Five models are fitted: half of the rival's features take half its time, and the order hardly changes.
FEATURES = 200_000
# Of each text: no label hangs on what stands after a dozen pages.
CHARACTERS = 32_768


@dataclass(frozen=True, slots=True)
class Suspects:
    """Rows, the worst first, with the labels suggested for each.

    `score` is the probability of the suggested label less that of the given one; in multi-label data the highest of
    the labels that would change.
    """

    rows: list[int]
    suggested: list[list[str]]
    scores: list[float]


def find(train: Examples, seed: int) -> Suspects:
    """Rows of `train` whose labels look wrong. Deterministic. None where there are too few rows or classes to tell."""
    names = sorted(train.rows_a_label)
    # A model a label: a column that is no label, with an own value in each row, would take hours.
    few = len(train) < FEWEST_A_LABEL * len(names) or len(set(map(words_of, train.texts))) < 2 * FOLDS
    if len(names) < 2 or few:
        return Suspects([], [], [])
    given_NC = flags(train.labels, names)
    return suspects(out_of_fold(train, given_NC, seed), given_NC, names, train.kind)


def out_of_fold(train: Examples, given_NC: Flags, seed: int) -> Floats:
    """Probabilities (N, C) of each row by a model that saw neither its labels nor those of a copy of its text."""
    features = linear.Counter(train.texts, ("words",), CHARACTERS, most=FEATURES).matrix(train.texts)
    fold_N = folds(train, seed)
    scores_NC = np.zeros(given_NC.shape, dtype=np.float32)
    for fold in range(FOLDS):
        held_out = fold_N == fold
        fitted = linear.fit(features[~held_out], given_NC[~held_out], train.kind, c=C, seed=seed)
        scores_NC[held_out] = fitted.scores(features[held_out])
    return probabilities(scores_NC, calibrate.fit(scores_NC, given_NC, train.kind), train.kind)


def suspects(probs_NC: Floats, given_NC: Flags, names: list[str], kind: Kind) -> Suspects:
    """Rows off the diagonal of the confident joint, by the margin of the suggested label (the paper's section 4.2)."""
    probs = probs_NC.astype(np.float64)
    wanted_NC, score_N = _single(probs, given_NC) if kind == "single-label" else _multi(probs, given_NC)
    wrong = np.flatnonzero((wanted_NC != given_NC).any(axis=1))
    order = wrong[np.argsort(-score_N[wrong], kind="stable")]
    return Suspects(
        rows=order.tolist(),
        suggested=[[names[c] for c in np.flatnonzero(wanted_NC[row])] for row in order],
        scores=[float(score) for score in score_N[order]],
    )


def _single(probs_NC: Doubles, given_NC: Flags) -> tuple[Flags, Doubles]:
    """Of the labels that reach their threshold the likeliest; the given one where there is none."""
    likely_NC = np.where(probs_NC >= _self_confidence(probs_NC, given_NC), probs_NC, -1.0)
    best_N = np.where(likely_NC.max(axis=1) >= 0, likely_NC.argmax(axis=1), given_NC.argmax(axis=1))
    wanted_NC = np.asarray(np.arange(probs_NC.shape[1]) == best_N[:, None])
    return wanted_NC, (probs_NC * wanted_NC).sum(axis=1) - (probs_NC * given_NC).sum(axis=1)


def _multi(probs_NC: Doubles, given_NC: Flags) -> tuple[Flags, Doubles]:
    """Each label as a question of two answers, yes and no."""
    missing_NC = ~given_NC & (probs_NC >= _self_confidence(probs_NC, given_NC)) & (probs_NC > 0.5)
    wrong_NC = given_NC & (1 - probs_NC >= _self_confidence(1 - probs_NC, ~given_NC)) & (probs_NC < 0.5)
    changed_NC = missing_NC | wrong_NC
    return given_NC ^ changed_NC, (np.abs(2 * probs_NC - 1) * changed_NC).max(axis=1)


def _self_confidence(probs_NC: Doubles, given_NC: Flags) -> Doubles:
    """The mean probability of each label over the rows that have it (C): equation 2 of the paper."""
    rows_C = given_NC.sum(axis=0)
    means: Doubles = np.divide((probs_NC * given_NC).sum(axis=0), rows_C, out=np.ones(len(rows_C)), where=rows_C > 0)
    return means
