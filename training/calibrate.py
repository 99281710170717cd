"""Fit the temperature that makes probabilities mean what they say."""

import numpy as np
import numpy.typing as npt
import scipy.optimize

from model.calibration import Calibration, Floats, probabilities
from training.evaluate import expected_calibration_error

# A temperature outside makes every answer certain, or none; the fit ends at these when the rows say so.
LOWEST, HIGHEST = 0.05, 20.0


def fit(logits_NC: Floats, targets_N: npt.NDArray[np.int64]) -> Calibration:
    """The temperature of least negative log-likelihood (Guo et al. 2017, section 4.2); 1 where there are no rows."""
    if not len(targets_N):
        return Calibration()

    def loss(log_temperature: float) -> float:
        scaled_NC = logits_NC.astype(np.float64) / np.exp(log_temperature)
        highest_N1 = scaled_NC.max(axis=1, keepdims=True)
        totals_N = np.log(np.exp(scaled_NC - highest_N1).sum(axis=1)) + highest_N1[:, 0]
        return float((totals_N - scaled_NC[np.arange(len(targets_N)), targets_N]).mean())

    found = scipy.optimize.minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    fitted = Calibration(temperature=float(np.exp(found.x)), rows=len(targets_N))
    before, after = (
        expected_calibration_error(probabilities(logits_NC, calibration, "single-label"), targets_N)
        for calibration in (Calibration(), fitted)
    )
    return fitted.model_copy(update={"ece_before": before, "ece_after": after})
