"""Choose a rival's settings on held-out rows, fit it on train, measure it on test.

N rows, C classes.
"""

import importlib.util
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import scipy.special
from sklearn.model_selection import StratifiedKFold

from benchmarks.sets import A_THRESHOLD_A_LABEL, ONE_THRESHOLD
from model.calibration import Flags
from model.config import Kind
from training import data, metrics
from training.data import Parts
from training.evaluate import flags
from training.metrics import Doubles
from training.reading import Columns, Examples

HELD_OUT_SHARE = 0.1

Settings: TypeAlias = Mapping[str, Any]
# Texts to scores (N, C): the higher, the surer; a multi-label score is a logit.
Scorer: TypeAlias = Callable[[Sequence[str]], Doubles]
# Rows, the names of all classes, and choices -> each choice with what was fitted by it.
Fits: TypeAlias = Callable[[Examples, Sequence[str], Sequence[Settings]], Iterator[tuple[Settings, Scorer]]]


@dataclass(frozen=True, slots=True)
class Rival:
    """A way to fit, and what to choose from, by the kind of data that it is for."""

    name: str
    choices: Mapping[Kind, Sequence[Settings]]
    fits: Fits
    needs: str | None = None  # a module that is in no environment of this project


def read(folder: Path) -> Parts:
    """The parts of a set. Raises: DataError."""
    return data.read(folder, Columns())


def why_not(rival: Rival, kind: Kind) -> str | None:
    """Why this rival can't be run, or None."""
    if kind not in rival.choices:
        return f"it isn't for {kind} data"
    if rival.needs is not None and importlib.util.find_spec(rival.needs) is None:
        return f"the module {rival.needs} isn't installed"
    return None


def measure(rival: Rival, parts: Parts, *, seed: int = 0, folds: int | None = None) -> dict[str, dict[str, Any]]:
    """Figures on test by the rival's name; in multi-label data twice, by how thresholds are chosen on held-out rows.

    `folds` holds out so many parts in turn instead of one: with a hundred labels, a tenth of them chooses nothing.
    """
    if parts.test is None:
        raise ValueError(f"{parts.source} has no test part")
    started = time.perf_counter()
    names = sorted(parts.train.rows_a_label)
    held_out = list(_held_out(parts, seed, folds))
    chosen, score, thresholds, scorer = _choose(rival, held_out, names)
    if held_out[-1][0] is not parts.train:
        _, scorer = next(rival.fits(parts.train, names, [chosen]))
    scores_NC, targets_NC = scorer(parts.test.texts), flags(parts.test.labels, names)
    seconds = round(time.perf_counter() - started, 1)
    told = {"settings": dict(chosen), "held_out_score": score, "seconds": seconds, "rows": len(parts.train)}
    if parts.train.kind == "single-label":
        return {rival.name: _figures(targets_NC, _best(scores_NC)) | told}
    probs_NC = scipy.special.expit(scores_NC)
    return {
        f"{rival.name}, {how}": _figures(targets_NC, probs_NC >= thresholds_C) | told
        for how, thresholds_C in thresholds.items()
    }


def _held_out(parts: Parts, seed: int, folds: int | None) -> Iterator[tuple[Examples, Examples]]:
    """What to fit on, and what to choose by: once, or once a fold."""
    train, rows = parts.train, range(len(parts.train))
    if folds is not None:
        labels = [",".join(found) for found in train.labels]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class of fewer rows than folds isn't in all of them
            parts_held = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(rows, labels))
        for inside, held in parts_held:
            yield train.take(inside), train.take(held)
    elif parts.valid is not None:
        yield train, parts.valid
    else:
        outside = set(random.Random(seed).sample(rows, k=max(1, round(HELD_OUT_SHARE * len(rows)))))
        yield train.take([row for row in rows if row not in outside]), train.take(sorted(outside))


def _choose(
    rival: Rival, held_out: Sequence[tuple[Examples, Examples]], names: Sequence[str]
) -> tuple[Settings, float, dict[str, Doubles], Scorer]:
    """The first of the best choices, its mean score over the parts held out, thresholds by how they are chosen, and
    what was fitted by the best choice of the last part, for use where there is one only.

    The score is the accuracy; in multi-label data micro-F1 at the one threshold that is best there. Thresholds are
    the last part's: multi-label sets have one.
    """
    choices = rival.choices[held_out[0][0].kind]
    scores_PS = np.zeros((len(held_out), len(choices)))
    probs: list[Doubles] = []
    for part, (inside, outside) in enumerate(held_out):
        targets_NC, probs = flags(outside.labels, names), []
        for place, (_, scorer) in enumerate(rival.fits(inside, names, choices)):
            scores_NC = scorer(outside.texts)
            if inside.kind == "multi-label":
                probs.append(scipy.special.expit(scores_NC))
                scores_PS[part, place] = metrics.best_threshold(probs[-1].astype(np.float32), targets_NC)[1]
            else:
                scores_PS[part, place] = metrics.micro_f1(targets_NC, _best(scores_NC))
            if place == scores_PS[part, : place + 1].argmax():
                best_scorer = scorer  # the others are let go: fastText's take a gigabyte each
    means_S = scores_PS.mean(axis=0)
    best = int(means_S.argmax())
    return choices[best], float(means_S[best]), _thresholds(probs[best], targets_NC) if probs else {}, best_scorer


def _thresholds(probs_NC: Doubles, targets_NC: Flags) -> dict[str, Doubles]:
    """Of highest F1 on these rows (C): one for all labels, and each label's own."""
    probs, classes = probs_NC.astype(np.float32), probs_NC.shape[1]
    one = metrics.best_threshold(probs, targets_NC)[0]
    # A label that no held-out row has says nothing about a threshold of its own.
    own = [
        metrics.best_threshold(probs[:, c], targets_NC[:, c])[0] if targets_NC[:, c].any() else one
        for c in range(classes)
    ]
    return {ONE_THRESHOLD: np.full(classes, one), A_THRESHOLD_A_LABEL: np.array(own)}


def _best(scores_NC: Doubles) -> Flags:
    return np.asarray(np.arange(scores_NC.shape[1]) == scores_NC.argmax(axis=1)[:, None])


def _figures(targets_NC: Flags, decided_NC: Flags) -> dict[str, Any]:
    """As those of a bundle's report, by the same code."""
    return {
        "accuracy": float((targets_NC == decided_NC).all(axis=1).mean()),
        "micro_f1": metrics.micro_f1(targets_NC, decided_NC),
        "macro_f1": metrics.macro_f1(targets_NC, decided_NC),
    }
