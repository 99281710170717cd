"""In which precision the LSTM is computed. Parameters, optimizer and losses are float32 in any case."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from training.config import TrainingConfig
from training.errors import ConfigError


def autocast(device: torch.device, config: TrainingConfig) -> AbstractContextManager[Any]:
    """Inside, matrix products are computed in bfloat16 if `takes_bfloat16`, else in float32."""
    return torch.autocast(device.type, torch.bfloat16) if takes_bfloat16(device, config) else nullcontext()


def takes_bfloat16(device: torch.device, config: TrainingConfig) -> bool:
    """What `precision` comes to on this machine: "auto" is bfloat16 where the hardware multiplies it, else float32.

    On a CPU that is AMX's tiles or AVX-512's dot products, which halve the time of an LSTM's step on an EPYC. With
    plain AVX-512 bfloat16 is emulated, and slower than float32; below that torch has no LSTM in it.
    """
    if config.precision != "auto":
        return config.precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def has_bfloat16(device: torch.device) -> bool:
    """Whether torch has an LSTM in bfloat16 on this machine, fast or not."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def resolved(config: TrainingConfig, device: torch.device) -> TrainingConfig:
    """With what this machine makes of it, its threads too, so that the recipe that is kept repeats the run.

    Raises: ConfigError where bfloat16 is asked for, and isn't there.
    """
    if config.precision == "bfloat16" and not has_bfloat16(device):
        raise ConfigError("precision = bfloat16: this CPU has no AVX-512, without which torch has no LSTM in it")
    threads = config.threads or torch.get_num_threads()
    bfloat16 = takes_bfloat16(device, config)
    return config.model_copy(update={"threads": threads, "precision": "bfloat16" if bfloat16 else "float32"})
