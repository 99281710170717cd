"""How fast training is, and that nothing is lost by it: `python -m benchmarks.training`.

A step of `lembra train` on the recipe that the data gets, and the same step of the same network on PackedSequence, with
batches in random order as a tutorial has them: as many tokens a batch, the same objective and optimizer, in float32, as
PackedSequence is slower in bfloat16. In turn, round by round, on one thread; medians of tokens a second, padding not
counted. Then both are trained for equal epochs on a small set from the same starting values, and judged on its
validation rows.
"""

import argparse
import itertools
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks import machine, rivals
from model import collate
from training import batches, build, data, loop, objective, recipe
from training.config import TrainingConfig
from training.data import SAMPLE, Parts
from training.learner import Learner
from training.network import TrainedNetwork

SEED = 0
LEAST_EPOCH = 20  # steps: no recipe has fewer


class PackedNetwork(TrainedNetwork):
    """The network with `nn.LSTM` on a PackedSequence, as PyTorch's documentation has rows of different lengths."""

    def pool(self, vectors_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        self._lengths_B = lengths_B
        return super().pool(vectors_BTE, lengths_B)

    def run(self, direction: int, vectors_BTE: Tensor) -> Tensor:
        packed = pack_padded_sequence(vectors_BTE, self._lengths_B, batch_first=True, enforce_sorted=False)
        states, _ = self.lstm[direction](packed)
        states_BTH: Tensor = pad_packed_sequence(states, batch_first=True, total_length=vectors_BTE.shape[1])[0]
        return states_BTH


class Way:
    """One of the two, and its training: groups of rows in the order of its steps."""

    def __init__(self, network: type[TrainedNetwork], parts: Parts, config: TrainingConfig, *, epochs: int) -> None:
        if network is PackedNetwork:
            config = config.model_copy(update={"precision": "float32"})
        splits = data.split(parts, config)
        begun = build.start(splits, config, build.Setup(torch.device("cpu")))
        begun.network.__class__ = network  # the same starting values
        self.network, self._train = begun.network, begun.train
        self._validation = build.encode(splits.validation, begun.tokenization, splits.labels)
        plan = batches.plan(self._train.rows, config, epochs=epochs)
        most = max(sum(len(self._train.rows[row]) for row in group) for group in itertools.chain(*plan))
        order = self._in_arrival_order(most, epochs) if network is PackedNetwork else itertools.chain(*plan)
        self._groups: Iterator[list[int]] = iter(list(order))
        criterion = objective.criterion(splits.kind, label_smoothing=config.label_smoothing)
        steps = sum(map(len, plan))
        self._learner = Learner(self.network, criterion, config, steps=steps, kind=splits.kind)

    def _in_arrival_order(self, most: int, epochs: int) -> Iterator[list[int]]:
        """Rows in random order, in batches of as many tokens as the largest one of ours has."""
        rng = random.Random(SEED)
        for _ in range(epochs):
            order = rng.sample(range(len(self._train)), len(self._train))
            group: list[int] = []
            tokens = 0
            for row in order:
                tokens += len(self._train.rows[row])
                if group and tokens > most:
                    yield group
                    group, tokens = [], len(self._train.rows[row])
                group.append(row)
            yield group

    def steps(self, most: int | None = None) -> float:
        """So many steps more, or all that are left; tokens a second."""
        tokens, started = 0, time.perf_counter()
        for group in itertools.islice(self._groups, most):
            self._learner.step(collate.collate(self._train.rows, group), self._train.learnt_NC[group])
            tokens += sum(len(self._train.rows[row]) for row in group)
        return tokens / (time.perf_counter() - started)

    def accuracy(self) -> float:
        """Of the averaged weights, on validation rows."""
        self.network.load_state_dict(self._learner.averaged())
        return loop.judge(self.network, self._validation, selection="micro_f1")[1]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=machine.DATA / "sst2", help="what speed is measured on")
    parser.add_argument("--small", type=Path, default=machine.DATA / "trec6", help="what accuracy is compared on")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40, help="of a round, each way")
    parser.add_argument("--epochs", type=int, default=8, help="of the small set")
    given = parser.parse_args(arguments)
    figures = speed(given.data, rounds=given.rounds, steps=given.steps)
    figures |= accuracy(given.small, epochs=given.epochs)
    show(figures)
    print(json.dumps({"training": figures, **machine.describe()}))


def speed(source: Path, *, rounds: int, steps: int) -> dict[str, float]:
    """Tokens a second of either, and their ratio."""
    ours, packed = both(source, epochs=(rounds + 1) * steps // LEAST_EPOCH + 1)
    for way in (ours, packed):
        way.steps(steps // 4)  # what is made once is made
    found = [(ours.steps(steps), packed.steps(steps)) for _ in range(rounds)]
    medians = [statistics.median(column) for column in zip(*found, strict=True)]
    ratios = [one / other for one, other in found]
    return {
        "ours_tokens_s": medians[0],
        "packed_tokens_s": medians[1],
        "ratio": statistics.median(ratios),
        "least_ratio": min(ratios),
        "largest_ratio": max(ratios),
    }


def accuracy(source: Path, *, epochs: int) -> dict[str, float]:
    """On validation rows, in %, after equal epochs."""
    ways = both(source, epochs=epochs)
    for way in ways:
        way.steps()
    ours, packed = (100 * way.accuracy() for way in ways)
    return {"ours_accuracy": ours, "packed_accuracy": packed}


def both(source: Path, *, epochs: int) -> list[Way]:
    """Of a real set, or of the sample corpus where it isn't there."""
    parts = rivals.read(source if source.exists() else SAMPLE)
    _, config = recipe.load(recipe.AUTO, ["threads=1", f"epochs={epochs}"], parts, seed=SEED)
    return [Way(network, parts, config, epochs=epochs) for network in (TrainedNetwork, PackedNetwork)]


def show(figures: dict[str, float]) -> None:
    """For people, on stdout."""
    table = Table(
        "training", "ours", "PackedSequence, as they come, float32", "ratio", title="one thread", title_justify="left"
    )
    ratio = "{ratio:.2f} ({least_ratio:.2f} to {largest_ratio:.2f})".format(**figures)
    table.add_row("tokens/s", f"{figures['ours_tokens_s']:,.0f}", f"{figures['packed_tokens_s']:,.0f}", ratio)
    table.add_row("accuracy in %", f"{figures['ours_accuracy']:.1f}", f"{figures['packed_accuracy']:.1f}", "")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
