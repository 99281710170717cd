"""What computes logits, and which one this machine gets."""

import ctypes
import importlib.util
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

from model.calibration import Floats
from model.collate import Batch
from model.config import NetworkConfig
from model.errors import BundleError, DeviceError

Device = Literal["auto", "cpu", "cuda"]
CGROUP = Path("/sys/fs/cgroup")
NO_QUOTA = 1e9


class Engine(Protocol):
    """A network in memory. `scores` may be called from any one thread at a time."""

    name: str
    tolerance: float  # how far a probability may be from the recorded one, for its arithmetic

    def scores(self, batch: Batch) -> Floats:
        """Logits (B, C), float32, in the order of the batch's rows."""
        ...


def candidates(
    device: Device,
    config: NetworkConfig,
    *,
    weights: bytes,
    graph: bytes,
    threads: int = 0,
    eight_bits: bool = False,
) -> Iterator[Engine]:
    """What can serve here, the fastest first: torch where CUDA is wanted and there; else our own, then onnxruntime.

    `threads` for one batch, 0 takes one a core. Our own is tried with `eight_bits` first where these were shown to be
    enough for the network. None of them is made before it is asked for.
    Raises: DeviceError if `device` is "cuda" and there is none, or no torch to drive it.
    """
    if device == "cuda" or (device == "auto" and cuda_is_here()):
        if importlib.util.find_spec("torch") is None:
            raise DeviceError("device 'cuda' was asked for, but torch is not installed: pip install 'lembra[gpu]'")
        from model.engine_torch import TorchEngine

        yield TorchEngine(config, weights, device="cuda")
        return
    from model import engine_native

    threads = threads or cores()
    tried: tuple[engine_native.Bits, ...] = (8, 16) if eight_bits else (16,)
    for bits in tried:
        for kernel in engine_native.kernels_for(config, bits)[:1]:
            # Weights that it can't take are left to the next one, which says what is wrong with them, if anything.
            with suppress(BundleError):
                yield engine_native.NativeEngine(config, weights, threads=threads, kernel=kernel, bits=bits)
    yield portable(weights=weights, graph=graph, threads=threads)


def portable(*, weights: bytes, graph: bytes, threads: int = 0) -> Engine:
    """onnxruntime, which every CPU can run. Raises: BundleError."""
    from model.engine_onnx import OnnxEngine

    return OnnxEngine(graph, weights, threads=threads)


def cores(cgroup: Path = CGROUP) -> int:
    """How many this process may use: those that it may run on, and no more than its container's quota pays for."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(found, int(_quota(cgroup))))


def _quota(cgroup: Path) -> float:
    """Cores' worth of time in each period, by version 2 of Linux' control groups, or by version 1."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
        except (OSError, ValueError):
            continue
        if quota.isdecimal() and period.isdecimal() and int(period):  # "max", or -1, is none
            return int(quota) / int(period)
    return NO_QUOTA


def cuda_is_here() -> bool:
    """Whether torch is installed and finds a GPU. Asks the driver first: importing torch takes seconds and 200 MB."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
