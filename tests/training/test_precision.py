"""training.precision: settings as this machine takes them."""

import pytest
import torch

from tests.training.fakes import NEEDS_BFLOAT16
from training import precision
from training.config import TrainingConfig
from training.errors import ConfigError

CPU = torch.device("cpu")


def test_what_is_kept_names_a_precision_and_threads() -> None:
    """So that the recipe repeats the run on a machine that would choose otherwise."""
    found = precision.resolved(TrainingConfig(precision="auto", threads=0), CPU)
    assert found.precision == ("bfloat16" if precision.takes_bfloat16(CPU, TrainingConfig()) else "float32")
    assert found.threads == torch.get_num_threads()


@pytest.mark.skipif(precision.has_bfloat16(CPU), reason="this CPU has an LSTM in bfloat16")
def test_bfloat16_is_refused_where_there_is_none() -> None:
    """By name, before anything is read."""
    with pytest.raises(ConfigError, match="precision = bfloat16: this CPU has no AVX-512"):
        precision.resolved(TrainingConfig(precision="bfloat16"), CPU)


@NEEDS_BFLOAT16
def test_bfloat16_that_is_asked_for_is_taken() -> None:
    """Fast or not."""
    assert precision.resolved(TrainingConfig(precision="bfloat16"), CPU).precision == "bfloat16"
