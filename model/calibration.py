"""Logits to probabilities that mean what they say, and to decisions.

Applies a calibration; `training.calibrate` fits it.

N rows, C classes.
"""

from typing import Annotated, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from model.config import Kind

Floats: TypeAlias = npt.NDArray[np.float32]
Flags: TypeAlias = npt.NDArray[np.bool_]


Temperature = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Threshold = Annotated[float, Field(ge=0, le=1)]

# In multi-label answers, where nothing was fitted.
THRESHOLD = 0.5
# What a probability is divided by at least.
LEAST_THRESHOLD = 1e-6


class Calibration(BaseModel):
    """What was fitted, and on how much. `ece` is the expected calibration error on the rows it was fitted on.

    The temperature is one for all labels, or one each. `thresholds`, one a label, are what probabilities are measured
    by where labels are given: see `decisions`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    temperature: Temperature | Annotated[list[Temperature], Field(min_length=2)] = 1.0
    thresholds: list[Threshold] | None = None
    rows: Annotated[int, Field(ge=0)] = 0
    ece_before: float | None = None
    ece_after: float | None = None


def probabilities(logits_NC: Floats, calibration: Calibration, kind: Kind) -> Floats:
    """Softmax (one label a text) or sigmoid (any number) of the logits divided by the temperature.

    Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
    """
    scaled_NC = logits_NC / np.asarray(calibration.temperature, dtype=np.float32)
    if kind == "multi-label":
        # exp(-|x|) can't overflow
        small_NC: Floats = np.exp(-np.abs(scaled_NC))
        return np.where(scaled_NC >= 0, 1 / (1 + small_NC), small_NC / (1 + small_NC))
    powers_NC: Floats = np.exp(scaled_NC - scaled_NC.max(axis=1, keepdims=True))
    totals_N1: Floats = powers_NC.sum(axis=1, keepdims=True)
    return powers_NC / totals_N1


def decisions(probs_NC: Floats, calibration: Calibration, kind: Kind) -> Flags:
    """Which labels each row is given: every one that reaches its threshold, or, of a single-label classifier, the one
    whose probability is the largest multiple of its threshold. Without thresholds that is the most probable one.

    With thresholds that rise with how frequent a label is, rare labels are found that the most probable ones would
    hide: logit adjustment, Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, section 4.
    """
    if kind == "multi-label":
        thresholds = calibration.thresholds if calibration.thresholds is not None else THRESHOLD
        return np.asarray(probs_NC >= np.asarray(thresholds, dtype=np.float32))
    if calibration.thresholds is not None:
        probs_NC = probs_NC / np.maximum(calibration.thresholds, LEAST_THRESHOLD).astype(np.float32)
    return np.asarray(np.arange(probs_NC.shape[1]) == probs_NC.argmax(axis=1)[:, None])
