"""Fit a network: steps, epochs, moving average of the weights, early stop, and going on after a break."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from model import collate
from model.calibration import Calibration, Flags, Floats, probabilities
from model.classifier import BATCH_TOKENS
from model.collate import Batch, Row
from model.config import Kind
from model.network import Network
from model.tokenization import Ids
from training import batches, checkpoint, metrics, objective
from training.config import TrainingConfig
from training.errors import ConfigError, TrainingError
from training.metrics import Selection


@dataclass(frozen=True, slots=True)
class Encoded:
    """A split as the network reads it."""

    rows: list[Ids]
    targets_NC: Flags
    kind: Kind

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What an epoch came to. `loss` is the mean over training rows; the rest is on validation rows, and `score` is by
    what the settings select.
    """

    epoch: int
    loss: float
    validation_loss: float
    score: float
    tokens_per_s: float
    best: bool


@dataclass(frozen=True, slots=True)
class Fitted:
    """The best epoch's averaged weights, and how it went."""

    weights: dict[str, torch.Tensor]
    epochs: list[EpochResult]

    @property
    def history(self) -> list[dict[str, Any]]:
        return [asdict(epoch) for epoch in self.epochs]

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
    plan = _plan(train, config)
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
        place = learner.restore(kept)
    progress.start(steps=learner.steps, done=learner.step_number)
    while not place.is_over(len(plan), config.patience):
        for group in plan[place.epoch][place.group :]:
            _step(learner, train, group, place, progress)
            if stopped():
                _keep(keeper, learner, place)
                raise Interrupted(Fitted(place.weights, place.results))
            if keeper is not None and keeper.is_due():
                _keep(keeper, learner, place)
        _end_epoch(learner, validation, place, rows=len(train), selection=config.selection)
        progress.epoch(place.results[-1])
        _keep(keeper, learner, place)
    return Fitted(place.weights, place.results)


def _step(learner: Learner, train: Encoded, group: list[int], place: Place, progress: Progress) -> None:
    started = time.perf_counter()
    batch = collate.collate(train.rows, group)
    loss = learner.step(batch, train.targets_NC[group])
    if not math.isfinite(loss):
        raise TrainingError(f"the loss became {loss}; a lower learning_rate or adversarial_norm may help")
    place.group += 1
    place.loss += loss * len(group)
    place.tokens += int(batch.lengths_B.sum())
    place.seconds += time.perf_counter() - started
    progress.step(loss=loss, tokens_per_s=place.tokens / place.seconds)


def _criterion(train: Encoded, network: Network, config: TrainingConfig) -> objective.Criterion:
    rows_C = torch.from_numpy(train.targets_NC.sum(axis=0)).float()
    weights_C = objective.class_weights(rows_C, rows=len(train), kind=train.kind, config=config)
    if weights_C is not None:
        weights_C = weights_C.to(next(network.parameters()).device)
    return objective.criterion(train.kind, weights_C=weights_C, label_smoothing=config.label_smoothing)


def _end_epoch(learner: Learner, validation: Encoded, place: Place, *, rows: int, selection: Selection) -> None:
    loss, score = judge(learner.average, validation, selection=selection)
    improved = (score, -loss) > place.best
    if improved:
        place.weights = {name: value.detach().cpu().clone() for name, value in learner.average.state_dict().items()}
    place.epoch += 1
    speed = place.tokens / place.seconds
    place.results.append(EpochResult(place.epoch, place.loss / rows, loss, score, speed, improved))
    place.group, place.loss, place.tokens, place.seconds = 0, 0.0, 0, 0.0


def _keep(keeper: Keeper | None, learner: Learner, place: Place) -> None:
    if keeper is not None:
        keeper.save(learner.state(place))


class Learner:
    """A network being trained: its optimizer, its schedule, and the moving average of its weights."""

    def __init__(
        self,
        network: Network,
        criterion: objective.Criterion,
        config: TrainingConfig,
        *,
        steps: int,
        kind: Kind,
        pretrained: bool = False,
        unlabelled: batches.Cycle | None = None,
    ) -> None:
        self.steps = steps
        self.average = copy.deepcopy(network).requires_grad_(False).eval()
        self._network = network
        self._criterion = criterion
        self._config = config
        self._kind = kind
        self._unlabelled = unlabelled
        self._optimizer = make_optimizer(network, config, pretrained=pretrained)
        schedules = {"rate": rate, "thawing_rate": thawing_rate}
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer,
            [
                partial(schedules[group["schedule"]], steps=steps, config=config)
                for group in self._optimizer.param_groups
            ],
        )
        self.step_number = 0
        self._device = next(network.parameters()).device

    def step(self, batch: Batch, targets_BC: Flags) -> float:
        """One step of the optimizer; returns the batch's mean loss."""
        self._network.train()
        self._optimizer.zero_grad()
        targets = torch.from_numpy(targets_BC).to(self._device, torch.float32)
        loss = objective.backward(self._network, *self._tensors(batch), targets, self._criterion, self._config)
        if self._unlabelled is not None:
            read = self._tensors(self._unlabelled.batch(self.step_number))
            objective.backward_unlabelled(self._network, *read, self._kind, self._config)
        nn.utils.clip_grad_norm_(self._network.parameters(), self._config.clip)
        self._optimizer.step()
        self._scheduler.step()
        self.step_number += 1
        # A young average follows closely, or it would be made of the starting weights.
        decay = min(self._config.average_decay, (1 + self.step_number) / (10 + self.step_number))
        move_average(self.average, self._network, decay=decay)
        return loss

    def _tensors(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Its ids_BT and lengths_B, where the network is."""
        return torch.from_numpy(batch.ids_BT).to(self._device), torch.from_numpy(batch.lengths_B).to(self._device)

    def state(self, place: Place) -> dict[str, Any]:
        """All that decides the next step, as tensors and plain values."""
        return {
            "network": self._network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict(),
            "step": self.step_number,
            "generators": checkpoint.generators(),
            "place": {
                **{name: getattr(place, name) for name in ("epoch", "group", "loss", "tokens", "seconds", "weights")},
                "results": [asdict(result) for result in place.results],
            },
        }

    def restore(self, state: dict[str, Any]) -> Place:
        """Take up what `state` gave, here and in torch's generators; returns the place."""
        self._network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
        self.step_number = state["step"]
        checkpoint.restore_generators(state["generators"])
        place = dict(state["place"])
        place["results"] = [EpochResult(**result) for result in place["results"]]
        return Place(**place)


def _plan(train: Encoded, config: TrainingConfig) -> list[list[list[int]]]:
    """The groups of rows of every epoch."""
    rng = random.Random(config.seed)
    lengths = [len(row) for row in train.rows]
    batch_tokens = min(config.batch_tokens, max(1, sum(lengths) // config.epoch_steps))
    plan: list[list[list[int]]] = []
    while len(plan) < config.epochs or sum(map(len, plan)) < config.least_steps:
        plan.append(batches.epoch(lengths, max_tokens=batch_tokens, rng=rng))
    return plan


def _cycle(unlabelled: Sequence[Row], config: TrainingConfig, *, steps: int) -> batches.Cycle | None:
    """The unlabelled rows of every step, where the settings have a weight for them."""
    if not config.reads_unlabelled:
        return None
    if not unlabelled:
        raise ConfigError("virtual_weight or entropy_weight is above 0, and there is no text without labels to read")
    return batches.Cycle(unlabelled, max_tokens=config.unlabelled_tokens, steps=steps, seed=config.seed)


def make_optimizer(network: nn.Module, config: TrainingConfig, *, pretrained: bool = False) -> torch.optim.AdamW:
    """AdamW; biases aren't decayed, nor is the embedding, whose rare rows would only shrink.

    What was pretrained has groups of its own (discriminative rates, Howard and Ruder 2018).
    """
    named: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        decays = parameter.ndim > 1 and not name.startswith("embedding")
        named.setdefault((pretrained and not name.startswith("head"), decays), []).append(parameter)
    groups = [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if decays else 0.0,
            "lr": config.learning_rate * (config.encoder_rate if thaws else 1.0),
            "schedule": "thawing_rate" if thaws else "rate",
        }
        for (thaws, decays), parameters in sorted(named.items(), key=lambda item: item[0], reverse=True)
    ]
    # Fused is four times as fast on a CPU: 38 ms a step against 157 for 9 million parameters.
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def rate(step: int, steps: int, config: TrainingConfig) -> float:
    """The share of the learning rate at a step: up in a line over the warm-up, then down in a line to zero."""
    warmup = max(1, round(steps * config.warmup_share))
    return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup + 1))


def thawing_rate(step: int, steps: int, config: TrainingConfig) -> float:
    """The same of what was pretrained: zero over the frozen share of the steps, then a warm-up of its own."""
    frozen = round(steps * config.frozen_share)
    if step < frozen:
        return 0.0
    warmup = max(1, round(steps * config.warmup_share))
    return min(rate(step, steps, config), (step - frozen + 1) / warmup)


def move_average(average: nn.Module, network: nn.Module, *, decay: float) -> None:
    """average ← decay · average + (1 − decay) · network."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)


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
