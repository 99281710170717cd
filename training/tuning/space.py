"""What a search may change: a range a setting, drawn around the base recipe's own value, which is always inside."""

from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from training.config import TrainingConfig

# Widths are whole vectors of the processor.
WIDTH_STEP = 16
# Digits of a setting that has no grid: more would only be noise in the recipe.
DIGITS = 3


def distributions(base: TrainingConfig) -> dict[str, BaseDistribution]:
    """By setting, in the order of the recipe.

    Dropouts and smoothing have the ranges that papers on LSTM classifiers use; widths, rates and batches lie within a
    small factor of the base, so that a trial costs no more than a few times the base's.
    """
    return {
        "lowercase": CategoricalDistribution([True, False]),
        "min_count": _whole(base.min_count, 1, 4),
        "max_vocabulary": _whole(base.max_vocabulary, max(2, base.max_vocabulary // 8), base.max_vocabulary, log=True),
        "embedding_size": _width(base.embedding_size),
        "hidden_size": _width(base.hidden_size),
        "embedding_dropout": _share(base.embedding_dropout, 0.1, 0.7),
        "pooled_dropout": _share(base.pooled_dropout, 0.1, 0.7),
        "word_dropout": _share(base.word_dropout, 0.0, 0.15),
        "label_smoothing": _share(base.label_smoothing, 0.0, 0.15),
        "class_weight": CategoricalDistribution(["none", "sqrt", "balanced"]),
        "adversarial_weight": _share(base.adversarial_weight, 0.0, 2.0),
        "adversarial_norm": _around(base.adversarial_norm, 4, 3),
        "batch_tokens": _whole(base.batch_tokens, max(1, base.batch_tokens // 2), base.batch_tokens * 4, log=True),
        # The batch of small data is by the steps of an epoch, not by its tokens.
        "epoch_steps": _whole(base.epoch_steps, max(1, base.epoch_steps // 2), base.epoch_steps * 2, log=True),
        "learning_rate": _around(base.learning_rate, 3, 4, high=0.5),
    }


def values(base: TrainingConfig) -> dict[str, Any]:
    """The base's own values of what is searched."""
    return {name: getattr(base, name) for name in distributions(base)}


def settings(base: TrainingConfig, found: dict[str, Any]) -> TrainingConfig:
    """The base with the values that were found; numbers without a grid are rounded. Raises: ValidationError."""
    changed = {}
    for name, value in found.items():
        free = isinstance(value, float) and value != getattr(base, name)
        changed[name] = float(f"{value:.{DIGITS}g}") if free else value
    return TrainingConfig.model_validate(base.model_dump() | changed)


def changes(base: TrainingConfig, config: TrainingConfig) -> dict[str, Any]:
    """The settings that differ from the base's."""
    return {name: value for name, value in config.model_dump().items() if value != getattr(base, name)}


def shown(base: TrainingConfig, config: TrainingConfig) -> str:
    """The same for people; of the base itself that it is the base."""
    return " ".join(f"{name}={value}" for name, value in changes(base, config).items()) or "the base recipe"


def _whole(base: int, low: int, high: int, *, log: bool = False) -> IntDistribution:
    return IntDistribution(min(low, base), max(high, base), log=log)


def _width(base: int) -> IntDistribution:
    """From a third of the base's to twice it."""
    step = WIDTH_STEP if base % WIDTH_STEP == 0 else 1
    return IntDistribution(max(step, base // 3 // step * step), min(base * 2, 4096), step=step)


def _share(base: float, low: float, high: float) -> FloatDistribution:
    return FloatDistribution(min(low, base), max(high, base))


def _around(base: float, down: float, up: float, *, high: float = float("inf")) -> FloatDistribution:
    return FloatDistribution(base / down, max(base, min(base * up, high)), log=True)
