"""Fit a network: epochs, early stop, and going on after a break."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from model import collate
from model.calibration import Calibration, Flags, Floats, probabilities
from model.classifier import BATCH_TOKENS
from model.collate import Row
from model.config import Kind
from model.network import Network
from training import batches, metrics, objective
from training.batches import Plan
from training.config import TrainingConfig
from training.errors import ConfigError, Diverged
from training.learner import Learner
from training.metrics import Selection


@dataclass(frozen=True, slots=True)
class Encoded:
    """A split as the network reads it. What it learns of a row is its labels, or in their place `answers_NC`:
    probabilities that teachers gave.
    """

    rows: Sequence[Row]
    targets_NC: Flags
    kind: Kind
    answers_NC: Floats | None = None

    @property
    def learnt_NC(self) -> Flags | Floats:
        return self.targets_NC if self.answers_NC is None else self.answers_NC

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What an epoch came to. `loss` is the mean over training rows. `validation_loss` and `score`, by what the settings
    select, are on validation rows; NaN where none are held out.
    """

    epoch: int
    loss: float
    validation_loss: float
    score: float
    tokens_per_s: float
    best: bool


@dataclass(frozen=True, slots=True)
class Fitted:
    """The best epoch's averaged weights, and how it went. `planned` epochs there would have been without patience."""

    weights: dict[str, torch.Tensor]
    epochs: list[EpochResult]
    planned: int

    @property
    def history(self) -> list[dict[str, Any]]:
        return [asdict(epoch) for epoch in self.epochs]

    @property
    def best(self) -> EpochResult:
        """The epoch that the weights are of."""
        return [epoch for epoch in self.epochs if epoch.best][-1]

    @property
    def tokens_per_s(self) -> float:
        return sum(epoch.tokens_per_s for epoch in self.epochs) / len(self.epochs)


class Keeper(Protocol):
    """Where the loop puts its state, to be taken up again."""

    def is_due(self) -> bool: ...
    def save(self, state: dict[str, Any]) -> None: ...
    def load(self) -> dict[str, Any] | None: ...


class Interrupted(Exception):
    """The run was stopped on purpose; `fitted` is the best so far, without weights before the first epoch's end."""

    def __init__(self, fitted: Fitted) -> None:
        super().__init__("stopped")
        self.fitted = fitted


class Progress(Protocol):
    """Where the loop tells how far it is."""

    def start(self, *, steps: int, done: int) -> None: ...
    def step(self, *, loss: float, tokens_per_s: float) -> None: ...
    def epoch(self, result: EpochResult) -> None: ...


@dataclass(slots=True)
class Place:
    """Where a run stands in its plan, and what it has seen. With the learner's state, all that a checkpoint holds."""

    epoch: int = 0  # of the plan, from 0
    group: int = 0  # of that epoch's groups, the next to be trained on
    loss: float = 0.0  # sum over this epoch's rows so far
    tokens: int = 0  # this epoch's, so far
    seconds: float = 0.0  # this epoch's, so far
    results: list[EpochResult] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)  # the best epoch's

    @property
    def best(self) -> tuple[float, float]:
        """Score and negative loss of the best epoch; less than any before there is one."""
        scores = [(result.score, -result.validation_loss) for result in self.results if result.best]
        return scores[-1] if scores else (-math.inf, 0.0)

    def is_over(self, epochs: int, patience: int) -> bool:
        """Whether the plan is done, or nothing has got better for `patience` epochs."""
        best = max((result.epoch for result in self.results if result.best), default=0)
        return self.epoch >= epochs or self.epoch - best >= patience

    def next_epoch(self) -> None:
        """To the start of the next one."""
        self.epoch += 1
        self.group, self.loss, self.tokens, self.seconds = 0, 0.0, 0, 0.0

    def state(self) -> dict[str, Any]:
        """As tensors and plain values."""
        named = {name: getattr(self, name) for name in ("epoch", "group", "loss", "tokens", "seconds", "weights")}
        return {**named, "results": [asdict(result) for result in self.results]}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Place:
        """What `state` gave."""
        return cls(**{**state, "results": [EpochResult(**result) for result in state["results"]]})


def fit(
    network: Network,
    train: Encoded,
    validation: Encoded,
    config: TrainingConfig,
    progress: Progress,
    *,
    pretrained: bool = False,
    unlabelled: Sequence[Row] = (),
    keeper: Keeper | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Fitted:
    """Train until the epochs are done or the validation score stops rising; ties go to the lower validation loss.

    What was `pretrained`, the embedding and the LSTM, learns later and more slowly than the head.
    A step reads some of the `unlabelled` rows too, where the settings have a weight for them.
    With a `keeper`, goes on from what it kept, to the same weights as if there had been no break.
    Raises: Interrupted after the step in which `stopped` turns true, with the state kept; ConfigError where there is a
    weight for unlabelled rows, and none of them.
    """
    plan = batches.plan(train.rows, config)
    learner, place = _begin(
        network, train, plan, config, progress, pretrained=pretrained, unlabelled=unlabelled, keeper=keeper
    )
    while not place.is_over(len(plan), config.patience):
        _pass(learner, train, plan, place, progress, keeper=keeper, stopped=stopped)
        _end_epoch(learner, validation, place, rows=len(train), selection=config.selection)
        progress.epoch(place.results[-1])
        _keep(keeper, learner, place)
    return Fitted(place.weights, place.results, planned=len(plan))


def refit(
    network: Network,
    train: Encoded,
    config: TrainingConfig,
    progress: Progress,
    *,
    like: Fitted,
    pretrained: bool = False,
    unlabelled: Sequence[Row] = (),
    keeper: Keeper | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, torch.Tensor]:
    """Train as `like` was, on other rows, to the end of its best epoch: the averaged weights there.

    The rate falls as if all of its planned epochs were to come, as it had fallen there. Nothing is held out, so a
    result has no figures of validation. `pretrained`, `unlabelled`, `keeper`, `stopped` and Raises: as of `fit`.
    """
    plan = batches.plan(train.rows, config, epochs=like.planned)
    learner, place = _begin(
        network, train, plan, config, progress, pretrained=pretrained, unlabelled=unlabelled, keeper=keeper
    )
    while place.epoch < like.best.epoch:
        _pass(learner, train, plan, place, progress, keeper=keeper, stopped=stopped)
        speed = place.tokens / place.seconds
        progress.epoch(EpochResult(place.epoch + 1, place.loss / len(train), math.nan, math.nan, speed, best=False))
        place.next_epoch()
        _keep(keeper, learner, place)
    return learner.averaged()


def _begin(
    network: Network,
    train: Encoded,
    plan: Plan,
    config: TrainingConfig,
    progress: Progress,
    *,
    pretrained: bool,
    unlabelled: Sequence[Row],
    keeper: Keeper | None,
) -> tuple[Learner, Place]:
    """The learner, and its place in the plan: the first, or the one that was kept."""
    steps = sum(map(len, plan))
    learner = Learner(
        network,
        _criterion(train, network, config),
        config,
        steps=steps,
        pretrained=pretrained,
        kind=train.kind,
        unlabelled=_cycle(unlabelled, config, steps=steps),
    )
    place = Place()
    if keeper is not None and (kept := keeper.load()) is not None:
        learner.restore(kept)
        place = Place.restored(kept["place"])
    progress.start(steps=learner.steps, done=learner.step_number)
    return learner, place


def _cycle(unlabelled: Sequence[Row], config: TrainingConfig, *, steps: int) -> batches.Cycle | None:
    """The unlabelled rows of every step, where the settings have a weight for them."""
    if not config.reads_unlabelled:
        return None
    if not unlabelled:
        raise ConfigError("virtual_weight or entropy_weight is above 0, and there is no text without labels to read")
    return batches.Cycle(unlabelled, max_tokens=config.unlabelled_tokens, steps=steps, seed=config.seed)


def _pass(
    learner: Learner,
    train: Encoded,
    plan: Plan,
    place: Place,
    progress: Progress,
    *,
    keeper: Keeper | None,
    stopped: Callable[[], bool],
) -> None:
    """The steps of an epoch, from where its place is to the end. Raises: Interrupted."""
    for group in plan[place.epoch][place.group :]:
        _step(learner, train, group, place, progress)
        if stopped():
            _keep(keeper, learner, place)
            raise Interrupted(Fitted(place.weights, place.results, planned=len(plan)))
        if keeper is not None and keeper.is_due():
            _keep(keeper, learner, place)


def _step(learner: Learner, train: Encoded, group: list[int], place: Place, progress: Progress) -> None:
    started = time.perf_counter()
    batch = collate.collate(train.rows, group)
    loss = learner.step(batch, train.learnt_NC[group])
    if not math.isfinite(loss):
        raise Diverged(f"the loss became {loss}; a lower learning_rate, adversarial_norm or virtual_weight may help")
    place.group += 1
    place.loss += loss * len(group)
    place.tokens += int(batch.lengths_B.sum())
    place.seconds += time.perf_counter() - started
    progress.step(loss=loss, tokens_per_s=place.tokens / place.seconds)


def _criterion(train: Encoded, network: Network, config: TrainingConfig) -> objective.Criterion:
    rows_C = torch.from_numpy(train.learnt_NC.sum(axis=0)).float()
    weights_C = objective.class_weights(rows_C, rows=len(train), kind=train.kind, config=config)
    if weights_C is not None:
        weights_C = weights_C.to(next(network.parameters()).device)
    return objective.criterion(train.kind, weights_C=weights_C, label_smoothing=config.label_smoothing)


def _end_epoch(learner: Learner, validation: Encoded, place: Place, *, rows: int, selection: Selection) -> None:
    loss, score = judge(learner.average, validation, selection=selection)
    improved = (score, -loss) > place.best
    if improved:
        place.weights = learner.averaged()
    speed = place.tokens / place.seconds
    place.results.append(EpochResult(place.epoch + 1, place.loss / rows, loss, score, speed, improved))
    place.next_epoch()


def _keep(keeper: Keeper | None, learner: Learner, place: Place) -> None:
    if keeper is not None:
        keeper.save({**learner.state(), "place": place.state()})


def judge(network: Network, data: Encoded, *, selection: Selection) -> tuple[float, float]:
    """Mean loss without weights or smoothing, and the score by `selection`."""
    logits_NC = logits(network, data)
    loss = float(objective.criterion(data.kind)(torch.from_numpy(logits_NC), torch.from_numpy(data.targets_NC).float()))
    if selection == "loss":
        return loss, -loss
    probs_NC = probabilities(logits_NC, Calibration(), data.kind)
    return loss, metrics.selection_score(probs_NC, data.targets_NC, selection=selection, kind=data.kind)


def logits(network: Network, data: Encoded) -> Floats:
    """Of each row (N, C), before calibration."""
    device = next(network.parameters()).device
    logits_NC = np.empty((len(data), network.head.out_features), dtype=np.float32)
    network.eval()
    with torch.inference_mode():
        for batch in collate.by_length(data.rows, max_tokens=BATCH_TOKENS):
            ids_BT, lengths_B = (torch.from_numpy(part).to(device) for part in (batch.ids_BT, batch.lengths_B))
            logits_NC[batch.indices] = network(ids_BT, lengths_B).cpu().numpy()
    return logits_NC


def seed_everything(seed: int) -> None:
    """Fix every generator that training draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # With that torch also fills all new memory before it is written to, a seventh of a step; nothing here reads it so.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # made at run time
