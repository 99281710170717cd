"""What computes logits, and which one this machine gets."""

import ctypes
import importlib.util
from typing import Literal, Protocol

from model.calibration import Floats
from model.collate import Batch
from model.config import NetworkConfig
from model.errors import DeviceError

Device = Literal["auto", "cpu", "cuda"]


class Engine(Protocol):
    """A network in memory. `scores` may be called from any one thread at a time."""

    name: str

    def scores(self, batch: Batch) -> Floats:
        """Logits (B, C), float32, in the order of the batch's rows."""
        ...


def choose(device: Device, config: NetworkConfig, *, weights: bytes, graph: bytes, threads: int = 0) -> Engine:
    """torch where CUDA is wanted and there, else onnxruntime.

    Raises: DeviceError if `device` is "cuda" and there is none, or no torch to drive it.
    """
    if device == "cuda" or (device == "auto" and cuda_is_here()):
        if importlib.util.find_spec("torch") is None:
            raise DeviceError("device 'cuda' was asked for, but torch is not installed: pip install 'lembra[gpu]'")
        from model.engine_torch import TorchEngine

        return TorchEngine(config, weights, device="cuda")
    from model.engine_onnx import OnnxEngine

    return OnnxEngine(graph, weights, threads=threads)


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
