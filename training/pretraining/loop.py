"""Fit a language model: steps, epochs, what it comes to on held-out text, and going on after a break."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from training import checkpoint
from training.config import TrainingConfig
from training.errors import TrainingError
from training.learner import rate
from training.loop import EpochResult, Fitted, Interrupted, Keeper, Progress
from training.pretraining import stream
from training.pretraining.language_model import LanguageModel, State
from training.pretraining.stream import Row

# The softmax over the whole vocabulary takes B * T * V numbers: few streams at a time.
HELD_OUT_STREAMS = 8
HELD_OUT_CHUNK = 64
# The schedule's share of the rate never falls below it: by the line down to zero, the last hundredth of a long run's
# steps would have less, and change next to nothing.
LEAST_RATE = 0.01
# e to the power of more than 709.78 is no float.
MOST_NATS = 709.0


@dataclass(frozen=True, slots=True)
class Exact:
    """Mean negative log-likelihood of a word, in nats, by the softmax over the vocabulary. Unknown words aren't
    predicted. `backward` is None where the text is read from one end.
    """

    forward: float
    backward: float | None
    words: int

    @property
    def loss(self) -> float:
        return self.forward if self.backward is None else (self.forward + self.backward) / 2

    def document(self) -> dict[str, Any]:
        """For a report: perplexity is e to the mean loss, as far as a float goes."""
        return {**asdict(self), "loss": self.loss, "perplexity": math.exp(min(self.loss, MOST_NATS))}


@dataclass(slots=True)
class Place:
    """Where a run stands. With the learner's state, all that a checkpoint holds."""

    epoch: int = 0  # from 0
    chunk: int = 0  # of that epoch, the next to be trained on
    states: list[State] = field(default_factory=list)  # behind the last chunk, one a direction
    loss: float = 0.0  # sum over this epoch's chunks so far
    tokens: int = 0  # this epoch's, so far
    seconds: float = 0.0  # this epoch's, so far
    results: list[EpochResult] = field(default_factory=list)
    before: Exact | None = None
    after: Exact | None = None


@dataclass(frozen=True, slots=True)
class Learnt:
    """How it went: on held-out text before the first step and after the last, and an epoch at a time."""

    before: Exact
    after: Exact
    epochs: list[EpochResult]


def fit(
    model: LanguageModel,
    train: Sequence[Row],
    held_out: Sequence[Row],
    config: TrainingConfig,
    progress: Progress,
    *,
    keeper: Keeper | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Learnt:
    """Train for `pretrain_epochs` passes over the text; the weights are left in `model`.

    With a `keeper`, goes on from what it kept, to the same weights as if there had been no break.
    Raises: Interrupted after the step in which `stopped` turns true, with the state kept.
    """
    length = stream.tokens(train)
    count = stream.streams(length, config)
    steps_an_epoch = stream.chunks(stream.lay_out(train, count), config.pretrain_chunk)
    learner = Learner(model, config, steps=config.pretrain_epochs * steps_an_epoch)
    place = Place(states=model.fresh())
    if keeper is not None and (kept := keeper.load()) is not None:
        place = learner.restore(kept)
    if place.before is None:
        place.before = exact(model, held_out)
    progress.start(steps=learner.steps, done=place.epoch * steps_an_epoch + place.chunk)
    while place.epoch < config.pretrain_epochs:
        # Drawn anew each epoch, from the seed and the epoch alone: a run that goes on has the same order.
        ids_BL = stream.lay_out(train, count, rng=random.Random(f"{config.seed} {place.epoch}")).to(model.device)
        while place.chunk < steps_an_epoch:
            _step(learner, ids_BL, place, config, progress)
            if stopped():
                _keep(keeper, learner, place)
                raise Interrupted(Fitted({}, place.results, planned=config.pretrain_epochs))
            if keeper is not None and keeper.is_due():
                _keep(keeper, learner, place)
        _end_epoch(model, held_out, place)
        progress.epoch(place.results[-1])
        _keep(keeper, learner, place)
    assert place.after is not None, "there is an epoch at least"
    return Learnt(place.before, place.after, place.results)


def exact(model: LanguageModel, rows: Sequence[Row]) -> Exact:
    """What the model comes to on these texts."""
    ids_BL = stream.lay_out(rows, min(HELD_OUT_STREAMS, len(rows))).to(model.device)
    directions = len(model.lstm)
    states, sums, words = model.fresh(), [0.0] * directions, 0
    model.eval()
    with torch.inference_mode():
        table_VE = model.table()
        for index in range(stream.chunks(ids_BL, HELD_OUT_CHUNK)):
            chunks_D = stream.chunk(ids_BL, index, HELD_OUT_CHUNK, directions=directions)
            losses, found, states = model.exact(chunks_D, states, table_VE)
            sums = [total + loss for total, loss in zip(sums, losses, strict=True)]
            words += found
    forward, *backward = (total / max(1, words) for total in sums)
    return Exact(forward, backward[0] if backward else None, words)


def _step(learner: Learner, ids_BL: torch.Tensor, place: Place, config: TrainingConfig, progress: Progress) -> None:
    started = time.perf_counter()
    chunks_D = stream.chunk(ids_BL, place.chunk, config.pretrain_chunk, directions=len(place.states))
    loss, place.states = learner.step(chunks_D, place.states)
    if not math.isfinite(loss):
        raise TrainingError(f"the language model's loss became {loss}; a lower pretrain_rate may help")
    place.chunk += 1
    place.loss += loss
    place.tokens += chunks_D[0][:, 1:].numel()
    place.seconds += time.perf_counter() - started
    progress.step(loss=loss, tokens_per_s=place.tokens / place.seconds)


def _end_epoch(model: LanguageModel, held_out: Sequence[Row], place: Place) -> None:
    place.after = exact(model, held_out)
    score = -place.after.loss
    best = score > max((result.score for result in place.results), default=-math.inf)
    speed = place.tokens / place.seconds
    result = EpochResult(place.epoch + 1, place.loss / place.chunk, place.after.loss, score, speed, best)
    place.results.append(result)
    place.epoch += 1
    place.chunk, place.states, place.loss, place.tokens, place.seconds = 0, model.fresh(), 0.0, 0, 0.0


def _keep(keeper: Keeper | None, learner: Learner, place: Place) -> None:
    if keeper is not None:
        keeper.save(learner.state(place))


class Learner:
    """A language model being trained, with its optimizer and its schedule."""

    def __init__(self, model: LanguageModel, config: TrainingConfig, *, steps: int) -> None:
        self.steps = steps
        self._model = model
        self._clip = config.clip
        # No decay: the table is normalised, and a language model of a pass or four over its text doesn't overfit.
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.pretrain_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: max(LEAST_RATE, rate(step, steps, config))
        )

    def step(self, chunks_D: Sequence[torch.Tensor], states_D: list[State]) -> tuple[float, list[State]]:
        """One step of the optimizer; the mean loss of the directions, and their states."""
        self._model.train()
        self._optimizer.zero_grad()
        losses, states = self._model.loss(chunks_D, states_D)
        total = torch.stack(losses).sum()
        total.backward()  # type: ignore[no-untyped-call]  # torch's own gap
        nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)
        self._optimizer.step()
        self._scheduler.step()
        return float(total.detach()) / len(losses), states

    def state(self, place: Place) -> dict[str, Any]:
        """All that decides the next step, as tensors and plain values."""
        return {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict(),
            "generators": checkpoint.generators(),
            "place": {
                **{name: getattr(place, name) for name in ("epoch", "chunk", "states", "loss", "tokens", "seconds")},
                "results": [asdict(result) for result in place.results],
                **{name: found and asdict(found) for name, found in (("before", place.before), ("after", place.after))},
            },
        }

    def restore(self, state: dict[str, Any]) -> Place:
        """Take up what `state` gave, here and in torch's generators; returns the place."""
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
        checkpoint.restore_generators(state["generators"])
        place = dict(state["place"])
        place["results"] = [EpochResult(**result) for result in place["results"]]
        for name in ("before", "after"):
            place[name] = place[name] and Exact(**place[name])
        states = [
            state and (state[0].to(self._model.device), state[1].to(self._model.device)) for state in place["states"]
        ]
        return Place(**{**place, "states": states})
