"""The network on torch: CUDA where it is served on a GPU, the CPU as the reference that others must agree with."""

import numpy as np
import safetensors.torch
import torch

from model.calibration import Floats
from model.collate import Batch
from model.config import NetworkConfig
from model.errors import BundleError, DeviceError
from model.network import Network


class TorchEngine:
    """logits_BC of a batch; `device` is "cpu" or "cuda"."""

    tolerance = 1e-4  # as onnxruntime's; TF32 on a GPU

    def __init__(self, config: NetworkConfig, weights: bytes, *, device: str) -> None:
        """Raises: BundleError if the weights don't fit the network, DeviceError if there is no such device."""
        if device == "cuda" and not torch.cuda.is_available():
            raise DeviceError("device 'cuda' was asked for, but torch finds no CUDA device here")
        self.name = f"torch {torch.__version__} on {device}"
        self._device = torch.device(device)
        self._network = Network(config)
        try:
            self._network.load_state_dict(safetensors.torch.load(weights))
        except (RuntimeError, ValueError) as error:
            raise BundleError(f"weights.safetensors doesn't fit the network of config.json: {error}") from error
        self._network.to(self._device).eval()

    def scores(self, batch: Batch) -> Floats:
        """Logits (B, C), float32, in the order of the batch's rows."""
        with torch.inference_mode():
            ids_BT = torch.from_numpy(batch.ids_BT).to(self._device, non_blocking=True)
            lengths_B = torch.from_numpy(batch.lengths_B).to(self._device, non_blocking=True)
            logits_BC: Floats = self._network(ids_BT, lengths_B).cpu().numpy().astype(np.float32)
        return logits_BC
