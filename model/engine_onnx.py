"""The network on onnxruntime: what serves on a CPU, with no torch installed."""

import os

# The wheel reports usage, and writes files under HOME, from the moment it is imported; only this keeps it from both.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

from model.calibration import Floats
from model.collate import Batch
from model.config import WEIGHTS
from model.errors import BundleError

# For versions that don't know the variable.
onnxruntime.disable_telemetry_events()


class OnnxEngine:
    """logits_BC of a batch, on the CPU. Inputs of the graph: `ids` int64 (B, T), `lengths` int64 (B)."""

    tolerance = 1e-4  # sums in another order, on another machine: 1e-6

    def __init__(self, graph: bytes, weights: bytes, *, threads: int = 0) -> None:
        """`graph` points into `weights`, the safetensors file; `threads` for one batch, 0 takes one a core.

        Raises: BundleError if the graph can't be loaded.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # A spinning pool holds every core of an idle server.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_external_initializers_from_files_in_memory([WEIGHTS], [weights], [len(weights)])
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no public base
            raise BundleError(f"network.onnx can't be loaded: {error}") from error
        self.name = f"onnxruntime {onnxruntime.__version__} on cpu"

    def scores(self, batch: Batch) -> Floats:
        """Logits (B, C), float32, in the order of the batch's rows."""
        logits_BC: Floats = self._session.run(["logits"], {"ids": batch.ids_BT, "lengths": batch.lengths_B})[0]
        return logits_BC
