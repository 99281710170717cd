"""What a classifier costs to hold and to ask, known from its settings before anything is learnt."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.torch

from model.calibration import Calibration
from model.classifier import Classifier
from model.engine import candidates
from model.network import Network
from model.ngrams import Ngrams
from model.tokenization import Tokenization
from training import build, data, export, rival, tokenizer
from training.config import TrainingConfig
from training.data import Splits
from training.errors import ConfigError
from training.evaluate import MOST_CLASSES_CONFUSED
from training.linear import Linear

# Texts that are timed, and how often: a hundred lone requests take a fraction of a second.
TEXTS = 100
REPEATS = 5
# The rest of a bundle is mostly its report and the page of it, whose tables grow with the classes: 107 kB for the 6 of
# TREC, 291 kB for the 77 of Banking77. This is more than that, as a long history and long texts add to it.
REST = 200_000
BYTES_A_CELL = 20
BYTES_A_CLASS = 1_500


@dataclass(frozen=True, slots=True)
class Cost:
    """Megabytes (10⁶) of the bundle, at most; microseconds a text, asked alone, on one thread's own time."""

    mb: float
    us_per_text: float


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a classifier may cost; None is no limit."""

    max_mb: float | None = None
    max_us_per_text: float | None = None

    def __post_init__(self) -> None:
        """Raises: ConfigError for a limit that nothing can keep."""
        for option, limit in (("--max-mb", self.max_mb), ("--max-us-per-text", self.max_us_per_text)):
            if limit is not None and not limit > 0:
                raise ConfigError(f"{option} is {limit:g}; it must be greater than 0")

    def excess(self, cost: Cost) -> dict[str, float]:
        """How far each limit is passed, as a share of it; at most 0 where it is kept."""
        found = {}
        if self.max_mb is not None:
            found["mb"] = cost.mb / self.max_mb - 1
        if self.max_us_per_text is not None:
            # Yes or no: how far is another figure at every measurement, and a search by it couldn't be repeated.
            found["us_per_text"] = 1.0 if cost.us_per_text > self.max_us_per_text else -1.0
        return found

    def __str__(self) -> str:
        limits = {"MB": self.max_mb, "µs a text": self.max_us_per_text}
        return " and ".join(f"{limit:g} {unit}" for unit, limit in limits.items() if limit is not None)


def cost(splits: Splits, config: TrainingConfig, ngrams: Ngrams | None) -> Cost:
    """Of the classifier that these settings make: neither figure depends on what its weights are."""
    tokenization = Tokenization(tokenizer.train(_learnt(splits, config), config), max_tokens=config.max_tokens)
    shape = build.shape_of(splits, tokenization, config)
    weights = safetensors.torch.save(Network(shape.network).state_dict())
    graph = export.to_onnx(shape.network, weights)
    engine = next(candidates("cpu", shape.network, weights=weights, graph=graph, threads=1))
    classifier = Classifier(shape, tokenization, engine, Calibration(), ngrams)
    classes = len(shape.labels)
    report = REST + classes * BYTES_A_CLASS + min(classes, MOST_CLASSES_CONFUSED) ** 2 * BYTES_A_CELL
    size = len(weights) + len(graph) + len(tokenization.to_json().encode()) + report
    size += len(ngrams.to_bytes()) if ngrams is not None else 0
    return Cost(size / 1e6, us_per_text(classifier, splits.validation.texts[:TEXTS]))


def largest_ngrams(splits: Splits, config: TrainingConfig) -> Ngrams:
    """An n-gram part that reads all that any may. Whether the classifier gets one is known after its training."""
    classes = len(splits.labels)
    # Which kinds may be read is by the first training's rows, how many of them there are by all that are learnt from.
    kinds = rival.kinds_read(splits.train.texts)[-1]
    counter = rival.count(_learnt(splits, config), kinds, config, classes=classes)
    return counter.served(Linear(np.zeros((len(counter), classes)), np.zeros(classes)))


def _learnt(splits: Splits, config: TrainingConfig) -> list[str]:
    """The texts that the classifier which is served has its words from: as many as the first training's, or more."""
    return (data.all_rows(splits, config) or splits).train.texts


def us_per_text(classifier: Classifier, texts: Sequence[str], clock: Callable[[], float] = time.process_time) -> float:
    """Microseconds a text from text to label, one text at a time; the median of several rounds over all.

    Of the processor's time: on a busy machine one and the same network took 905 by the wall's, and later 3,195.
    """
    classifier.predict(texts)  # the first one is slower
    rounds = []
    for _ in range(REPEATS):
        started = clock()
        for text in texts:
            classifier.predict([text])
        rounds.append((clock() - started) / len(texts) * 1e6)
    return statistics.median(rounds)
