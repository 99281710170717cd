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
from training.build import Built
from training.config import TrainingConfig
from training.data import Rows, Splits
from training.loop import Keeper, Progress
from training.metrics import Doubles
from training.mixture import Mixture
from training.pretraining.encoder import Encoder
from training.rival import Rival
from training.teacher import Lessons

# Five choose no better, and take half as long again: docs/experiments.md.
FOLDS = 3


@dataclass(frozen=True, slots=True)
class Chosen:
    """How the network and the n-grams are mixed, and the calibration of that."""

    mixture: Mixture | None
    calibration: Calibration


class _Answers(NamedTuple):
    """Of the rows of a fold: the network's logits (N, C), after how many steps, and the linear model's scores."""

    steps: int
    logits_NC: Floats
    scores_NC: Doubles


class FoldKeeper:
    """Keeps the answers of the folds that are done with the state of the one that is being learnt, as one state."""

    def __init__(self, keeper: Keeper | None) -> None:
        self._keeper = keeper
        found = keeper.load() if keeper is not None else None
        self.done: list[_Answers] = []
        self._learner: dict[str, Any] | None = None
        if found is not None:
            self.done = [_Answers(steps, *(part.numpy() for part in parts)) for steps, *parts in found["done"]]
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
            done = [[steps, *map(torch.from_numpy, parts)] for steps, *parts in self.done]
            self._keeper.save({"done": done, "learner": state})

    def load(self) -> dict[str, Any] | None:
        return self._learner

    def add(self, answers: _Answers) -> None:
        """A fold is done."""
        self.done.append(answers)
        self.save(None)


def whole(splits: Splits | None, config: TrainingConfig) -> Splits | None:
    """What is judged in folds: the rows of a second training, where they are fewer than the settings say and the rest
    of each fold has every label; else None.
    """
    if splits is None or len(splits.train) >= config.folds_below:
        return None
    fold_N = data.folds(splits.train, config.seed, count=FOLDS)
    rests = [_rest(splits, fold_N, fold).train for fold in range(FOLDS)]
    learnable = all(
        set(rest.rows_a_label) == set(splits.labels) and any(text.strip() for text in rest.texts) for rest in rests
    )
    return splits if learnable and all(np.any(fold_N == fold) for fold in range(FOLDS)) else None


def choose(
    first: Built,
    splits: Splits,
    config: TrainingConfig,
    listen: Callable[[int], AbstractContextManager[Progress]],
    *,
    device: torch.device,
    encoder: Encoder | None = None,
    linear: Rival | None = None,
    unlabelled: Sequence[str] = (),
    lessons: Lessons | None = None,
    keeper: Keeper | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Chosen:
    """By all rows of `splits.train`: each fold answered by a network that learnt as `first` did, and by `linear` with
    its settings, from the rows of the others. `listen` follows a fold's training by its number, from 0.

    Goes on from what `keeper` kept. Raises: loop.Interrupted when `stopped` turned true.
    """
    fold_N, kept = data.folds(splits.train, config.seed, count=FOLDS), FoldKeeper(keeper)
    for fold, answers in enumerate(kept.done):
        with listen(fold) as progress:
            progress.start(steps=answers.steps, done=answers.steps)
    for fold in range(len(kept.done), FOLDS):
        rest = _rest(splits, fold_N, fold)
        asked = splits.train.take(np.flatnonzero(fold_N == fold).tolist())
        read = _without(asked.texts, [*unlabelled, *rest.train.texts]) if unlabelled else ()
        begun = build.start(rest, config, device=device, encoder=encoder, unlabelled=read, lessons=lessons)
        with listen(fold) as progress:
            weights = loop.refit(
                begun.network,
                begun.train,
                config,
                progress,
                like=first.fitted,
                pretrained=encoder is not None,
                unlabelled=begun.unlabelled,
                keeper=kept,
                stopped=stopped,
            )
        begun.network.load_state_dict(weights)
        logits_NC = loop.logits(begun.network, build.encode(asked, begun.tokenization, splits.labels))
        fitted = rival.refit(linear, rest, config) if linear is not None else None
        scores_NC = fitted.scores(asked.texts) if fitted is not None else np.zeros(logits_NC.shape)
        kept.add(_Answers(kept.steps, logits_NC, scores_NC))
    return _by(kept.done, fold_N, splits, config, mixes=linear is not None)


def _rest(splits: Splits, fold_N: Rows, fold: int) -> Splits:
    """What the classifier that answers this fold learns from."""
    return replace(splits, train=splits.train.take(np.flatnonzero(fold_N != fold).tolist()))


def _without(asked: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Each text once, but for those that are asked."""
    unknown = set(asked)
    return [text for text in dict.fromkeys(texts) if text not in unknown]


def _by(done: Sequence[_Answers], fold_N: Rows, splits: Splits, config: TrainingConfig, *, mixes: bool) -> Chosen:
    """What the answers to all rows say; copies of a text count once."""
    order = np.concatenate([np.flatnonzero(fold_N == fold) for fold in range(FOLDS)])
    once = np.isin(order, data.first_copies(splits.train))
    logits_NC, scores_NC = (
        np.concatenate(parts)[once] for parts in zip(*(answers[1:] for answers in done), strict=True)
    )
    targets_NC = evaluate.flags(splits.train.labels, splits.labels)[order[once]]
    kind, found = splits.kind, None
    if mixes:
        found = mixture.fit(
            logits_NC, scores_NC, targets_NC, kind, alone=mixture.by_itself(scores_NC, targets_NC, kind)
        )
    mixed_NC = found.of(logits_NC, scores_NC) if found is not None else logits_NC
    calibration = calibrate.fit(mixed_NC, targets_NC, kind)
    return Chosen(found, build.told(calibration, mixed_NC, targets_NC, splits, config))
