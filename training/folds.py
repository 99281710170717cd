"""What is chosen by how a classifier answers rows, chosen by all of them: each fold is answered by one of the others.

Cross-fitting, as stacked generalisation does it (Wolpert 1992; Platt 1999, section 2.1, for calibration). Few held-out
rows that are all answered right would make a classifier as certain as it can be.

N rows, C classes.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from model.calibration import Calibration, Floats
from training import build, calibrate, data, evaluate, loop, mixture, rival
from training.build import Built, Setup
from training.config import TrainingConfig
from training.data import Rows, Splits
from training.loop import Keeper, Progress
from training.metrics import Doubles
from training.mixture import Mixture
from training.reading import Examples
from training.rival import Rival

# Five choose no better, and take twice as long: docs/experiments.md.
FOLDS = 3


@dataclass(frozen=True, slots=True)
class Chosen:
    """How the network and the n-grams are mixed, and the calibration of that."""

    mixture: Mixture | None
    calibration: Calibration


class _Answers(NamedTuple):
    """Of the rows of a fold: the network's logits (N, C), after how many steps."""

    steps: int
    logits_NC: Floats


class FoldKeeper:
    """Keeps the answers of the folds that are done with the state of the one that is being learnt, as one state."""

    def __init__(self, keeper: Keeper | None) -> None:
        self._keeper = keeper
        found = keeper.load() if keeper is not None else None
        self.done: list[_Answers] = []
        self._learner: dict[str, Any] | None = None
        if found is not None:
            self.done = [_Answers(steps, logits_NC.numpy()) for steps, logits_NC in found["done"]]
            self._learner = found["learner"]

    @property
    def steps(self) -> int:
        """Of the fold that is being learnt."""
        return int(self._learner["step"]) if self._learner is not None else 0

    def is_due(self) -> bool:
        return self._keeper is not None and self._keeper.is_due()

    def save(self, state: dict[str, Any] | None) -> None:
        self._learner = state
        if self._keeper is not None:
            done = [[steps, torch.from_numpy(logits_NC)] for steps, logits_NC in self.done]
            self._keeper.save({"done": done, "learner": state})

    def load(self) -> dict[str, Any] | None:
        return self._learner

    def add(self, answers: _Answers) -> None:
        """A fold is done."""
        self.done.append(answers)
        self.save(None)


def judged(splits: Splits | None, config: TrainingConfig) -> Splits | None:
    """What is judged in folds: the rows of a second training, where they are fewer than the settings say; None where
    most of them would be no evidence, as they are copies or their label is of one text alone.
    """
    if splits is None or len(splits.train) >= config.folds_below:
        return None
    fold_N = _folds(splits, config)
    readable = all(any(text.strip() for text in _rest(splits, fold_N, fold).train.texts) for fold in range(FOLDS))
    return splits if readable and 2 * len(_asked_once(splits, fold_N)) >= len(splits.train) else None


def choose(
    first: Built,
    splits: Splits,
    config: TrainingConfig,
    setup: Setup,
    listen: Callable[[int], AbstractContextManager[Progress]],
    *,
    linear: Rival | None = None,
    keeper: Keeper | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Chosen:
    """By all rows of `splits.train`: each fold answered by a network that learnt as `first` did, and by `linear` with
    its settings, from the rows of the others. `listen` follows a fold's training by its number, from 0.

    Goes on from what `keeper` kept. Raises: loop.Interrupted when `stopped` turned true.
    """
    fold_N, kept = _folds(splits, config), FoldKeeper(keeper)
    for fold, answers in enumerate(kept.done):
        with listen(fold) as progress:
            progress.start(steps=answers.steps, done=answers.steps)
    for fold in range(len(kept.done), FOLDS):
        asked, rest = _asked(splits, fold_N, fold), _rest(splits, fold_N, fold)
        with listen(fold) as progress:
            begun = build.refit(
                rest,
                config,
                progress,
                _unknowing(setup, asked.texts, rest),
                like=first.fitted,
                keeper=kept,
                stopped=stopped,
            )
        logits_NC = loop.logits(begun.network, build.encode(asked, begun.tokenization, splits.labels))
        kept.add(_Answers(kept.steps, logits_NC))
    return _by([answers.logits_NC for answers in kept.done], fold_N, splits, config, setup, linear)


def _unknowing(setup: Setup, asked: Sequence[str], rest: Splits) -> Setup:
    """The same for a network that learns from the `rest`, but for the texts that it will be asked."""
    lessons = setup.lessons
    taught = replace(lessons, texts=without(asked, lessons.texts)) if lessons is not None else None
    read = without(asked, [*setup.unlabelled, *rest.train.texts]) if setup.unlabelled else ()
    return replace(setup, unlabelled=read, lessons=taught)


def without(asked: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Each text once, but for those that are asked, in whatever case, spaces and punctuation."""
    unknown = set(map(data.words_of, asked))
    return [text for text in dict.fromkeys(texts) if data.words_of(text) not in unknown]


def _folds(splits: Splits, config: TrainingConfig) -> Rows:
    """In which fold each row is asked (N,); -1 for the rows of a label that a single fold has, which all learn from."""
    fold_N = data.folds(splits.train, config.seed, count=FOLDS)
    for label in splits.labels:
        has_N = np.array([label in labels for labels in splits.train.labels])
        if len(set(fold_N[has_N].tolist()) - {-1}) == 1:
            fold_N[has_N] = -1
    return fold_N


def _asked_once(splits: Splits, fold_N: Rows) -> Rows:
    """The numbers of the rows that are asked, fold by fold; of copies of a text the first one's."""
    first_N = data.first_copies(splits.train)
    return np.array([row for fold in range(FOLDS) for row in np.flatnonzero(fold_N == fold) if first_N[row] == row])


def _asked(splits: Splits, fold_N: Rows, fold: int) -> Examples:
    rows = _asked_once(splits, fold_N)
    return splits.train.take(rows[fold_N[rows] == fold].tolist())


def _rest(splits: Splits, fold_N: Rows, fold: int) -> Splits:
    """What the classifier that answers this fold learns from."""
    return replace(splits, train=splits.train.take(np.flatnonzero(fold_N != fold).tolist()))


def _by(
    logits: Sequence[Floats],
    fold_N: Rows,
    splits: Splits,
    config: TrainingConfig,
    setup: Setup,
    linear: Rival | None,
) -> Chosen:
    """What the networks' answers to all rows say, beside the linear model's."""
    network_NC, kind, found = np.concatenate(logits), splits.kind, None
    targets_NC = evaluate.flags(splits.train.labels, splits.labels)[_asked_once(splits, fold_N)]
    if linear is not None:
        linear_NC = np.concatenate([_scores(linear, splits, fold_N, fold, config, setup) for fold in range(FOLDS)])
        # Many rows prove by themselves what it is worth.
        few = len(targets_NC) < rival.FEW_HELD_OUT
        alone = mixture.by_itself(linear_NC, targets_NC, kind) if few else None
        found = mixture.fit(network_NC, linear_NC, targets_NC, kind, alone=alone)
    mixed_NC = found.of(network_NC, linear_NC) if found is not None else network_NC
    calibration = calibrate.fit(mixed_NC, targets_NC, kind)
    return Chosen(found, build.told(calibration, mixed_NC, targets_NC, splits, config))


def _scores(linear: Rival, splits: Splits, fold_N: Rows, fold: int, config: TrainingConfig, setup: Setup) -> Doubles:
    """What a linear model that learnt from all other folds, and what the network did, says of this one's rows."""
    asked, rest = _asked(splits, fold_N, fold), _rest(splits, fold_N, fold)
    lessons = _unknowing(setup, asked.texts, rest).lessons
    fitted = rival.taught(linear, rest, config, lessons) if lessons is not None else rival.refit(linear, rest, config)
    return fitted.scores(asked.texts)
