"""The honest rival: what a tuned linear model makes of the same splits, and whether the LSTM is any better.

Its features and its C are what makes the rows most likely by which the LSTM's epoch is chosen, and it learns from the
same rows; where few are held out, what makes the folds of them all most likely, if these are alike.

N rows, C classes.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypedDict

import numpy as np
from scipy import sparse

from model.calibration import Flags, Floats
from model.config import Kind, NgramKind
from model.ngrams import CHARACTERS_PER_TOKEN
from training import calibrate, data, linear, metrics, mixture
from training.config import TrainingConfig
from training.data import Splits
from training.evaluate import Answers, flags
from training.linear import Counter, Linear, Matrix
from training.metrics import Doubles
from training.mixture import Alone
from training.reading import Examples
from training.teacher import Lessons

# The classifier may be ahead by this at most where the linear model is called as good: a point.
AS_GOOD = 0.01
NAME = "NB-SVM"
CHOICES_OF_C = (0.03, 0.1, 0.3, 1.0, 3.0)
# Characters are many more n-grams a text, and want a C no larger than words': that is tried, and so many below.
STEPS_DOWN = 1
FEATURES: dict[tuple[NgramKind, ...], str] = {
    ("words",): "words 1-2",
    ("words", "characters"): "words 1-2, characters 2-5",
}
RESAMPLES = 1000
# Where fewer rows than this are held out, what is best on them is so by chance: all rows are judged, in folds.
# It cost 2.3 points with 33 rows held out of 100, and 0.6 with 280 of 3,500, where many settings were right on all; and
# 500 can't prove what half a percent of their likelihood is worth: 0.6 points of B2W's.
FEW_HELD_OUT = 1_000
# A `valid` of the data's own may be of other text than train. It is where in folds its rows are less likely than
# train's, by more than so many standard errors: SST-2's, whose train has pieces of sentences, by 7; other sets', by 1.
MOST_ERRORS = 2.0
# Characters of train and validation, times linear SVMs: with folds that takes some 40 s, and grows with it.
MOST_IN_FOLDS = 10_000_000


Interval: TypeAlias = tuple[float, float]


class Settings(TypedDict):
    """How linear.fit is to fit."""

    c: float
    seed: int


@dataclass(frozen=True, slots=True)
class Rival:
    """A linear classifier that was fitted, how, and in how many seconds, the search for its settings included."""

    labels: list[str]
    kind: Kind
    counter: Counter
    linear: Linear
    thresholds_C: Doubles
    settings: dict[str, Any]
    seconds: float
    alone: Alone | None = None  # what folds say of it, where held-out rows are too few to say

    def scores(self, texts: Sequence[str]) -> Doubles:
        """Signed distances (N, C) in units of the margin."""
        return self.linear.scores(self.counter.matrix(texts))

    def decide(self, texts: Sequence[str]) -> Flags:
        """Which labels each text is given (N, C)."""
        return _decisions(self.scores(texts), self.thresholds_C, self.kind)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Train's rows and validation's: their labels (N, C), and which (N,) a model of all others is judged by, in turn;
    those that count are in one of these parts.
    """

    targets_NC: Flags
    parts: list[Flags]
    counted_N: Flags


@dataclass(frozen=True, slots=True)
class _Choice:
    """One that was tried: `features` of train and validation, and what it is worth on rows that it didn't see."""

    counter: Counter
    features: Matrix
    how: Settings
    unseen_NC: Doubles
    alone: Alone


def fit(splits: Splits, config: TrainingConfig) -> Rival:
    """The best of a few linear models, fitted on train: words, or words and characters, with and without IDF; five C of
    words, two with characters. It is the one that makes validation rows most likely; where these are few and like
    train's, each fold of both, fitted on the others.
    """
    started = time.perf_counter()
    known = data.joined([splits.train, splits.validation])
    best = in_folds = _best_in_folds(splits, known, config)
    if best is None:
        held_out_N = np.arange(len(known)) >= len(splits.train)
        best = _best(splits, known, _Judged(flags(known.labels, splits.labels), [held_out_N], held_out_N), config)
    fitted = _fitted(best, splits, in_folds=best is in_folds)
    return replace(fitted, seconds=round(time.perf_counter() - started, 1))


def _best_in_folds(splits: Splits, known: Examples, config: TrainingConfig) -> _Choice | None:
    """By each fold of train's and validation's rows, where a copy of a text is no evidence of its own; None where
    enough rows are held out, folds would take too long, or the data's own `valid` is other text.
    """
    svms = linear.svms(splits.kind, len(splits.labels))
    characters = sum(min(len(text), CHARACTERS_PER_TOKEN * config.max_tokens) for text in known.texts)
    if len(splits.validation) >= FEW_HELD_OUT or svms * characters > MOST_IN_FOLDS:
        return None
    fold_N = data.folds(known, config.seed)
    once_N = data.first_copies(known) == np.arange(len(known))
    parts = [fold_N == fold for fold in range(data.FOLDS)]
    judged = _Judged(flags(known.labels, splits.labels), parts, once_N)
    best = _best(splits, known, judged, config)
    return best if not splits.own_valid or _are_alike(splits, best, judged) else None


def _are_alike(splits: Splits, choice: _Choice, judged: _Judged) -> bool:
    """Whether validation's rows are about as likely in folds as train's, by what was chosen."""
    logits_NC = choice.alone.factor * choice.unseen_NC + choice.alone.bias
    losses_N = calibrate.negative_log_likelihoods(logits_NC, judged.targets_NC.astype(np.float64), splits.kind)
    ours_N = np.arange(len(losses_N)) < len(splits.train)
    train_N, validation_N = losses_N[judged.counted_N & ours_N], losses_N[judged.counted_N & ~ours_N]
    if not len(validation_N):  # all are copies, which is no evidence of other text
        return True
    error = train_N.std() * np.sqrt(1 / len(train_N) + 1 / len(validation_N))
    return bool(validation_N.mean() - train_N.mean() <= MOST_ERRORS * error)


def _best(splits: Splits, known: Examples, judged: _Judged, config: TrainingConfig) -> _Choice:
    """What makes the rows that count most likely."""
    best: _Choice | None = None
    texts, classes = splits.train.texts, len(splits.labels)
    for kinds in kinds_read(texts):
        near, by_idf = _tried(best), count(texts, kinds, config, classes=classes)
        # Both again with characters: of words alone the two may be a fraction of a nat apart.
        for counter in (by_idf, by_idf.without_idf()):
            ways: list[Settings] = [{"c": c, "seed": config.seed} for c in near]
            found = _likeliest(counter, ways, known, judged, splits.kind)
            if best is None or found.alone.evidence > best.alone.evidence:
                best = found
    assert best is not None
    return best


def _likeliest(counter: Counter, ways: Sequence[Settings], known: Examples, judged: _Judged, kind: Kind) -> _Choice:
    """The best of these ways to fit, with these n-grams."""
    features = counter.matrix(known.texts)
    return max((_judge(counter, features, how, judged, kind) for how in ways), key=lambda it: it.alone.evidence)


def _judge(counter: Counter, features: Matrix, how: Settings, judged: _Judged, kind: Kind) -> _Choice:
    """One of them, and what it is worth."""
    unseen_NC = _unseen(features, judged, how, kind)
    alone = mixture.by_itself(unseen_NC[judged.counted_N], judged.targets_NC[judged.counted_N], kind)
    return _Choice(counter, features, how, unseen_NC, alone)


def _unseen(features: Matrix, judged: _Judged, how: Settings, kind: Kind) -> Doubles:
    """Scores (N, C) of rows by such a linear model that didn't see them; 0 of those that are in no part."""
    targets_NC = judged.targets_NC
    scores_NC = np.zeros(targets_NC.shape)
    for inside_N in judged.parts:
        fitted = linear.fit(features[~inside_N], targets_NC[~inside_N], kind, **how)
        scores_NC[inside_N] = fitted.scores(features[inside_N])
    return scores_NC


def _fitted(choice: _Choice, splits: Splits, *, in_folds: bool) -> Rival:
    """On train."""
    rows = len(splits.train)
    targets_NC, wanted_NC = (flags(part.labels, splits.labels) for part in (splits.train, splits.validation))
    fitted = linear.fit(choice.features[:rows], targets_NC, splits.kind, **choice.how)
    scores_NC = fitted.scores(choice.features[rows:])
    thresholds_C = _thresholds(scores_NC, wanted_NC, splits.kind)
    settings = {
        "features": FEATURES[choice.counter.kinds],
        "idf": choice.counter.idf,
        "C": choice.how["c"],
        "held_out_score": metrics.micro_f1(wanted_NC, _decisions(scores_NC, thresholds_C, splits.kind)),
    }
    alone = choice.alone if in_folds else None
    return Rival(splits.labels, splits.kind, choice.counter, fitted, thresholds_C, settings, 0.0, alone)


def _tried(best: _Choice | None) -> Sequence[float]:
    """Which C: all of words; few with characters, as on GoEmotions each takes a minute."""
    if best is None:
        return CHOICES_OF_C
    at = CHOICES_OF_C.index(best.how["c"])
    return CHOICES_OF_C[max(0, at - STEPS_DOWN) : at + 1]


def kinds_read(texts: Sequence[str]) -> list[tuple[NgramKind, ...]]:
    """Words, and if they don't take too long, words and characters."""
    few = sum(map(len, texts)) <= linear.MOST_CHARACTERS
    return [kinds for kinds in FEATURES if few or "characters" not in kinds]


def count(texts: Sequence[str], kinds: Sequence[NgramKind], config: TrainingConfig, *, classes: int) -> Counter:
    """The n-grams of these texts, of these kinds."""
    characters, most = CHARACTERS_PER_TOKEN * config.max_tokens, linear.most_features(classes)
    return Counter(texts, kinds, characters, most=most)


def refit(rival: Rival, splits: Splits, config: TrainingConfig) -> Rival:
    """The same kinds of n-grams, IDF or none, C and thresholds, fitted on the train rows of other splits; `seconds` are
    of both fits.
    """
    started = time.perf_counter()
    targets_NC = flags(splits.train.labels, rival.labels)
    fitted = _refitted(rival, rival.counter.kinds, splits.train.texts, targets_NC, config)
    return replace(fitted, seconds=round(rival.seconds + time.perf_counter() - started, 1))


def taught(rival: Rival, splits: Splits, config: TrainingConfig, lessons: Lessons) -> Rival:
    """The same, fitted on what teachers say too, without characters where these would take too long. It is no rival any
    more, which learns from labels alone; and what it is worth by itself no folds have said.
    """
    targets_NC = flags(splits.train.labels, rival.labels)
    answers_NC = lessons.taught(splits.train.texts, targets_NC, share=config.teacher_weight)
    texts = [*splits.train.texts, *lessons.texts]
    # By the lessons alone: in each fold, and where all rows are learnt from, it is the same.
    kinds = rival.counter.kinds if rival.counter.kinds in kinds_read(lessons.texts) else kinds_read(lessons.texts)[-1]
    return replace(_refitted(rival, kinds, texts, answers_NC, config), alone=None)


def _refitted(
    rival: Rival,
    kinds: Sequence[NgramKind],
    texts: Sequence[str],
    answers_NC: Flags | Floats,
    config: TrainingConfig,
) -> Rival:
    counter = count(texts, kinds, config, classes=len(rival.labels))
    counter = counter if rival.counter.idf else counter.without_idf()
    fitted = linear.fit(counter.matrix(texts), answers_NC, rival.kind, c=rival.settings["C"], seed=config.seed)
    return replace(rival, counter=counter, linear=fitted)


def compare(rival: Rival, answers: Answers, texts: Sequence[str], *, split: str, seed: int) -> dict[str, Any]:
    """The rival beside the classifier's answers to the same texts; `difference` is its figure less the rival's.

    The figure is the accuracy, or micro-F1 in multi-label data; the interval, and that of the difference of macro-F1
    too, is the middle 95 % over resampled rows, the same rows for both (paired percentile bootstrap, Efron & Tibshirani
    1993, section 13.3; 1000 times).
    """
    targets_NC, decided_NC = answers.targets_NC, rival.decide(texts)
    ours, theirs = (metrics.micro_f1(targets_NC, found) for found in (answers.decided_NC, decided_NC))
    (low, high), (macro_low, macro_high) = _intervals(targets_NC, answers.decided_NC, decided_NC, seed=seed)
    classifier = "LSTM with n-grams" if answers.config.ngrams else "LSTM"
    told = {
        "name": NAME,
        "classifier": classifier,
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
        "macro_low": macro_low,
        "macro_high": macro_high,
    }
    ours_macro = metrics.macro_f1(targets_NC, answers.decided_NC)
    return {**told, "verdict": _verdict(told, ours, ours_macro, len(texts))}


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


def _intervals(targets_NC: Flags, ours_NC: Flags, theirs_NC: Flags, *, seed: int) -> tuple[Interval, Interval]:
    """Of the differences of micro-F1, which is the accuracy where each text has one label, and of macro-F1 over the
    labels that occur.
    """
    occurring_C = np.asarray(targets_NC.any(axis=0))
    counts = [
        (sparse.csr_array(targets_NC & found), sparse.csr_array(found.astype(np.int8) + targets_NC))
        for found in (ours_NC, theirs_NC)
    ]
    rng = np.random.default_rng(seed)
    rows = len(targets_NC)
    differences = []
    for _ in range(RESAMPLES):
        drawn_N = np.bincount(rng.integers(rows, size=rows), minlength=rows)
        ours, theirs = (_f1s(drawn_N @ true_NC, drawn_N @ both_NC, occurring_C) for true_NC, both_NC in counts)
        differences.append(np.subtract(ours, theirs))
    low_2, high_2 = np.quantile(differences, (0.025, 0.975), axis=0)
    micro, macro = zip(low_2.tolist(), high_2.tolist(), strict=True)
    return micro, macro


def _f1s(true_C: Doubles, both_C: Doubles, occurring_C: Flags) -> tuple[float, float]:
    """Micro-F1, and macro-F1 over these labels, by how often each was told rightly, and told and true together."""
    micro = 2 * true_C.sum() / max(both_C.sum(), 1)
    f1_C = 2 * true_C / np.maximum(both_C, 1)
    return float(micro), float(f1_C[occurring_C].mean()) if occurring_C.any() else 0.0


def _verdict(told: Mapping[str, Any], ours: float, ours_macro: float, rows: int) -> str:
    """Which of the two to take, by what was `told` of the rival beside the classifier's own figures."""
    classifier, low, high = told["classifier"], told["low"], told["high"]
    figure = "accuracy" if told["metric"] == "accuracy" else "micro-F1"
    what = (
        f"{figure} on {told['split']} {told['micro_f1']:.2%} against {ours:.2%} of the {classifier} "
        f"(difference {100 * told['difference']:+.2f} points, 95 % interval {100 * low:+.2f} to {100 * high:+.2f}), "
        f"macro-F1 {told['macro_f1']:.2%} against {ours_macro:.2%}"
    )
    if told["split"] == "valid":
        what += "; both were also chosen by these rows"
    if low > 0:
        by = f" by {figure}, and worse by macro-F1" if told["macro_high"] < 0 else ""
        return f"The {classifier} is better than the linear model{by}: {what}."
    by = f" by {figure}, and worse by macro-F1" if told["macro_low"] > 0 else ""
    cost = f"it costs {told['seconds']:g} s"
    if high < 0:
        return f"The linear model alone is better{by}: {what}; {cost}."
    if high <= AS_GOOD:
        return f"The linear model alone is as good{by}: {what}; {cost}."
    return f"Not decided: on {rows:,} rows the linear model alone may be as good; {what}; {cost}."
