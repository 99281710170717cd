"""The thirteen real sets: what counts on each, and what rivals reach on the same files.

The figures of rivals are those of the README beside the sets (`../shared/data/README.md`, one run each).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

# By the name of a figure on test, such as "accuracy": a share of 1.
Figures: TypeAlias = Mapping[str, float]

ACCURACY = ("accuracy",)
BOTH = ("accuracy", "macro_f1")
# What must be above the best rival for a win.
METRICS: dict[str, tuple[str, ...]] = {
    "imdb": ACCURACY,
    "sst2": ACCURACY,
    "sst2_sentences": ACCURACY,
    "semeval2017": BOTH,
    "tweeteval_emotion": ("macro_f1",),
    "agnews10k": ACCURACY,
    "20newsgroups": BOTH,
    "trec6": ACCURACY,
    "banking77": ACCURACY,
    "goemotions": ("micro_f1", "macro_f1"),
    "sms_spam": BOTH,
    "toldbr": BOTH,
    "b2w_rating": BOTH,
}

LINEAR, CHARACTERS, NBSVM, FASTTEXT = "linear", "linear + char", "NB-SVM", "fastText"
RIVALS = (LINEAR, CHARACTERS, NBSVM, FASTTEXT)
# Multi-label decisions of a rival come in two kinds, each a row of its own.
ONE_THRESHOLD, A_THRESHOLD_A_LABEL = "one threshold", "a threshold a label"

# Accuracy and macro-F1 in %, in the order of RIVALS.
SINGLE_LABEL: dict[str, tuple[tuple[float, float] | None, ...]] = {
    "imdb": ((90.92, 90.92), (90.39, 90.39), (91.75, 91.75), (89.55, 89.54)),
    "sst2": ((84.24, 84.23), (82.15, 82.15), (81.99, 81.92), (83.25, 83.22)),
    "sst2_sentences": ((80.45, 80.41), (82.32, 82.31), (80.07, 80.0), (80.18, 80.17)),
    "semeval2017": ((60.46, 57.6), (60.92, 59.3), (59.74, 54.07), (61.06, 58.15)),
    "tweeteval_emotion": ((67.49, 60.59), (71.29, 64.29), (67.56, 59.37), (68.97, 62.51)),
    "agnews10k": ((88.5, 88.46), (88.51, 88.46), (88.78, 88.74), (87.14, 87.12)),
    "20newsgroups": ((70.76, 69.35), (72.44, 71.06), (61.19, 60.14), None),
    "trec6": ((91.0, 90.42), (90.2, 89.45), (90.8, 90.05), (89.2, 88.73)),
    "banking77": ((89.64, 89.67), (91.2, 91.21), None, (82.05, 81.79)),
    "sms_spam": ((98.79, 97.42), (98.96, 97.8), (98.53, 96.84), (98.96, 97.81)),
    "toldbr": ((73.86, 73.66), (73.71, 73.41), (72.48, 71.44), (71.71, 71.25)),
    "b2w_rating": ((58.29, 45.42), (58.79, 46.17), (58.24, 45.34), (57.84, 47.37)),
}
# Micro-F1 and macro-F1 in %.
GOEMOTIONS = {
    f"{LINEAR}, {ONE_THRESHOLD}": (54.5, 42.7),
    f"{CHARACTERS}, {ONE_THRESHOLD}": (56.9, 42.5),
    f"{LINEAR}, {A_THRESHOLD_A_LABEL}": (52.6, 44.5),
    f"{CHARACTERS}, {A_THRESHOLD_A_LABEL}": (56.1, 46.8),
}


def metrics(name: str) -> tuple[str, ...]:
    """What counts on this set; the accuracy on one that isn't among the thirteen."""
    return METRICS.get(name, ACCURACY)


def published(name: str) -> dict[str, Figures]:
    """The page's figures for this set as shares of 1, by rival; none for a set that the page doesn't have."""
    if name == "goemotions":
        return {rival: _shares(("micro_f1", "macro_f1"), found) for rival, found in GOEMOTIONS.items()}
    figures = zip(RIVALS, SINGLE_LABEL.get(name, ()), strict=False)
    return {rival: _shares(BOTH, found) for rival, found in figures if found is not None}


def _shares(names: tuple[str, ...], percent: tuple[float, float]) -> Figures:
    return {name: figure / 100 for name, figure in zip(names, percent, strict=True)}


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A part of a set of one's own, a JSON object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
