"""Fit a network: steps, epochs, moving average of the weights, early stop."""

import copy
import math
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from model import collate
from model.classifier import BATCH_TOKENS
from model.collate import Batch
from model.network import Network
from model.tokenization import Ids
from training import batches, objective
from training.config import TrainingConfig
from training.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Encoded:
    """A split as the network reads it."""

    rows: list[Ids]
    targets: list[int]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What an epoch came to. `loss` is the objective's mean over training rows; the rest is on validation rows."""

    epoch: int
    loss: float
    validation_loss: float
    validation_accuracy: float
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


class Progress(Protocol):
    """Where the loop tells how far it is."""

    def start(self, *, steps: int) -> None: ...
    def step(self, *, loss: float, tokens_per_s: float) -> None: ...
    def epoch(self, result: EpochResult) -> None: ...


def fit(network: Network, train: Encoded, validation: Encoded, config: TrainingConfig, progress: Progress) -> Fitted:
    """Train until the epochs are done or validation accuracy stops rising; ties go to the lower validation loss."""
    plan = _plan(train, config)
    learner = Learner(network, config, steps=sum(map(len, plan)))
    progress.start(steps=learner.steps)
    results: list[EpochResult] = []
    best: tuple[float, float] = (-1.0, 0.0)
    weights: dict[str, torch.Tensor] = {}
    for number, groups in enumerate(plan, start=1):
        train_loss, tokens_per_s = _epoch(learner, train, groups, progress)
        loss, accuracy = judge(learner.average, validation)
        improved = (accuracy, -loss) > best
        results.append(EpochResult(number, train_loss, loss, accuracy, tokens_per_s, improved))
        progress.epoch(results[-1])
        if improved:
            best = (accuracy, -loss)
            weights = {name: value.detach().cpu().clone() for name, value in learner.average.state_dict().items()}
        elif number - max(result.epoch for result in results if result.best) >= config.patience:
            break
    return Fitted(weights, results)


class Learner:
    """A network being trained: its optimizer, its schedule, and the moving average of its weights."""

    def __init__(self, network: Network, config: TrainingConfig, *, steps: int) -> None:
        self.steps = steps
        self.average = copy.deepcopy(network).requires_grad_(False).eval()
        self._network = network
        self._config = config
        self._optimizer = make_optimizer(network, config)
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: rate(step, steps, config))
        self._step = 0
        self._device = next(network.parameters()).device

    def step(self, batch: Batch, targets: list[int]) -> float:
        """One step of the optimizer; returns the batch's mean loss."""
        self._network.train()
        self._optimizer.zero_grad()
        ids_BT, lengths_B = (torch.from_numpy(part).to(self._device) for part in (batch.ids_BT, batch.lengths_B))
        targets_B = torch.tensor(targets, device=self._device)
        loss = objective.backward(self._network, ids_BT, lengths_B, targets_B, self._config)
        nn.utils.clip_grad_norm_(self._network.parameters(), self._config.clip)
        self._optimizer.step()
        self._scheduler.step()
        self._step += 1
        # A young average follows closely, or it would be made of the starting weights.
        decay = min(self._config.average_decay, (1 + self._step) / (10 + self._step))
        move_average(self.average, self._network, decay=decay)
        return loss


def _plan(train: Encoded, config: TrainingConfig) -> list[list[list[int]]]:
    """The groups of rows of every epoch."""
    rng = random.Random(config.seed)
    lengths = [len(row) for row in train.rows]
    batch_tokens = min(config.batch_tokens, max(1, sum(lengths) // config.epoch_steps))
    plan: list[list[list[int]]] = []
    while len(plan) < config.epochs or sum(map(len, plan)) < config.least_steps:
        plan.append(batches.epoch(lengths, max_tokens=batch_tokens, rng=rng))
    return plan


def _epoch(learner: Learner, train: Encoded, groups: list[list[int]], progress: Progress) -> tuple[float, float]:
    """One pass; returns the mean loss of a row, and tokens a second."""
    started, tokens, total = time.perf_counter(), 0, 0.0
    for group in groups:
        batch = collate.collate(train.rows, group)
        loss = learner.step(batch, [train.targets[index] for index in group])
        if not math.isfinite(loss):
            raise TrainingError(f"the loss became {loss}; a lower learning_rate or adversarial_norm may help")
        tokens += int(batch.lengths_B.sum())
        total += loss * len(group)
        tokens_per_s = tokens / (time.perf_counter() - started)
        progress.step(loss=loss, tokens_per_s=tokens_per_s)
    return total / len(train), tokens_per_s


def make_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW; biases aren't decayed, nor is the embedding, whose rare rows would only shrink."""
    decayed = [p for name, p in network.named_parameters() if p.ndim > 1 and not name.startswith("embedding")]
    chosen = {id(parameter) for parameter in decayed}
    others = [parameter for parameter in network.parameters() if id(parameter) not in chosen]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    # Fused is four times as fast on a CPU: 38 ms a step against 157 for 9 million parameters.
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def rate(step: int, steps: int, config: TrainingConfig) -> float:
    """The share of the learning rate at a step: up in a line over the warm-up, then down in a line to zero."""
    warmup = max(1, round(steps * config.warmup_share))
    return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup + 1))


def move_average(average: nn.Module, network: nn.Module, *, decay: float) -> None:
    """average ← decay · average + (1 − decay) · network."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)


def judge(network: Network, data: Encoded) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    device = next(network.parameters()).device
    targets = torch.tensor(data.targets)
    logits = torch.empty(len(data), network.head.out_features)
    network.eval()
    with torch.inference_mode():
        for batch in collate.by_length(data.rows, max_tokens=BATCH_TOKENS):
            ids_BT, lengths_B = (torch.from_numpy(part).to(device) for part in (batch.ids_BT, batch.lengths_B))
            logits[batch.indices] = network(ids_BT, lengths_B).cpu()
    loss = nn.functional.cross_entropy(logits, targets)
    return float(loss), float((logits.argmax(dim=1) == targets).float().mean())


def seed_everything(seed: int) -> None:
    """Fix every generator that training draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def targets_of(labels: Sequence[str], names: Sequence[str]) -> list[int]:
    index = {name: number for number, name in enumerate(names)}
    return [index[label] for label in labels]
