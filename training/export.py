"""The network as an ONNX graph, written operator by operator.

The embedding is most of a bundle's bytes, and stands in it once: the graph points into the safetensors file, by
ONNX's own external data, so that any ONNX tool can open `network.onnx` where it lies.

B rows, T tokens, E embedding, H hidden units a direction, D directions, C classes.

ONNX's LSTM takes the rows' lengths, so one operator reads both directions; the exporter of torch would trace our
reversals instead. Torch's gate order is input, forget, candidate, output; ONNX's is input, output, forget, candidate.
"""

import json
import struct
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from model.config import WEIGHTS, NetworkConfig

Array = npt.NDArray[np.float32]

OPSET = 17  # onnxruntime 1.12 and later
GATES = (0, 3, 1, 2)
# Tensors that the graph reads as they lie in the safetensors file, by their names in the graph.
SHARED = {"embedding": "embedding.weight", "head_weight": "head.weight", "head_bias": "head.bias"}


def to_onnx(config: NetworkConfig, weights: bytes) -> bytes:
    """The graph (ids int64 (B, T), lengths int64 (B)) -> logits float32 (B, C).

    All in float32, but for the table, which is read as it lies in `weights`: the bytes of the safetensors file that
    will be beside the graph.
    """
    arrays = safetensors.numpy.load(weights)
    graph = helper.make_graph(
        _nodes(config),
        "lembra",
        inputs=[
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["B", "T"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["B"]),
        ],
        outputs=[helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", config.classes])],
        initializer=[numpy_helper.from_array(value, name) for name, value in _initializers(config, arrays).items()],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="lembra")
    network.ir_version = 8  # the one of opset 17
    onnx.checker.check_model(network, full_check=True)
    _share(network, weights)
    return bytes(network.SerializeToString(deterministic=True))


def _initializers(config: NetworkConfig, weights: Mapping[str, Array]) -> dict[str, npt.NDArray[np.generic]]:
    directions = range(config.directions)

    def stack(name: str) -> Array:
        return np.stack([_onnx_gates(weights[f"lstm.{d}.{name}_l0"]) for d in directions])

    return {
        **{name: weights[tensor] for name, tensor in SHARED.items()},
        "W": stack("weight_ih"),
        "R": stack("weight_hh"),
        "bias": np.concatenate([stack("bias_ih"), stack("bias_hh")], axis=1),
        "merge_directions": np.asarray([0, 0, -1], dtype=np.int64),
        "merge_last": np.asarray([0, -1], dtype=np.int64),
        "axis_1": np.asarray([1], dtype=np.int64),
        "axes_last": np.asarray([2], dtype=np.int64),
        "zero": np.asarray(0, dtype=np.int64),
        "one": np.asarray(1, dtype=np.int64),
        "floor": np.asarray(-1, dtype=np.float32),
        "nothing": np.asarray(0, dtype=np.float32),
    }


def _share(network: onnx.ModelProto, weights: bytes) -> None:
    """Replace the values of SHARED by places in the safetensors file: 8 bytes of header length, header, tensors."""
    (header_size,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8 : 8 + header_size])
    for tensor in network.graph.initializer:
        if tensor.name in SHARED:
            start, end = header[SHARED[tensor.name]]["data_offsets"]
            place = {"location": WEIGHTS, "offset": 8 + header_size + start, "length": end - start}
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.extend(
                onnx.StringStringEntryProto(key=key, value=str(value)) for key, value in place.items()
            )


def _onnx_gates(value: Array) -> Array:
    gates = value.reshape(4, -1, *value.shape[1:])
    return gates[list(GATES)].reshape(value.shape)


def _nodes(config: NetworkConfig) -> list[onnx.NodeProto]:
    node = helper.make_node
    reads = "bidirectional" if config.bidirectional else "forward"
    return [
        # ONNX's LSTM is time-major.
        node("Transpose", ["ids"], ["ids_TB"], perm=[1, 0]),
        node("Gather", ["embedding", "ids_TB"], ["stored_TBE"]),
        node("Cast", ["stored_TBE"], ["vectors_TBE"], to=TensorProto.FLOAT),
        node("Cast", ["lengths"], ["lengths_int32"], to=TensorProto.INT32),
        node(
            "LSTM",
            ["vectors_TBE", "W", "R", "bias", "lengths_int32"],
            ["states_TDBH", "last_DBH"],
            hidden_size=config.hidden_size,
            direction=reads,
        ),
        node("Transpose", ["states_TDBH"], ["states_BTDH"], perm=[2, 0, 1, 3]),
        node("Reshape", ["states_BTDH", "merge_directions"], ["states_BTX"]),
        # Which positions are text: a mask (B, T, 1).
        node("Shape", ["ids"], ["T"], start=1, end=2),
        node("Squeeze", ["T"], ["T_scalar"]),
        node("Range", ["zero", "T_scalar", "one"], ["positions_T"]),
        node("Unsqueeze", ["lengths", "axis_1"], ["lengths_B1"]),
        node("Less", ["positions_T", "lengths_B1"], ["text_BT"]),
        node("Unsqueeze", ["text_BT", "axes_last"], ["text_BT1"]),
        node("Where", ["text_BT1", "states_BTX", "floor"], ["for_max"]),
        node("ReduceMax", ["for_max"], ["max_BX"], axes=[1], keepdims=0),
        node("Where", ["text_BT1", "states_BTX", "nothing"], ["for_mean"]),
        node("ReduceSum", ["for_mean", "axis_1"], ["sum_BX"], keepdims=0),
        node("Cast", ["lengths_B1"], ["lengths_float"], to=TensorProto.FLOAT),
        node("Div", ["sum_BX", "lengths_float"], ["mean_BX"]),
        node("Transpose", ["last_DBH"], ["last_BDH"], perm=[1, 0, 2]),
        node("Reshape", ["last_BDH", "merge_last"], ["last_BX"]),
        node("Concat", ["max_BX", "mean_BX", "last_BX"], ["pooled_BP"], axis=1),
        node("Gemm", ["pooled_BP", "head_weight", "head_bias"], ["logits"], transB=1),
    ]
