"""The network in C, for CPUs with AVX2, AVX-512 or AMX: what serves there if the package was built with a compiler.

model/native/lstm.c says how it computes; here its arrays are made. No torch, no onnxruntime.

V tokens, E embedding, H hidden units a direction, D directions, C classes; U blocks of L units, the kernel's lanes,
in which there is room for H; G rows that are computed together.
"""

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from model.calibration import Floats
from model.collate import Batch
from model.config import WEIGHTS, NetworkConfig
from model.errors import BundleError
from model.tokenization import Ids

FOLDER = Path(__file__).parent / "native"
# The fastest first.
LIBRARIES = ("liblembra_amx.so", "liblembra_avx512_int8.so", "liblembra_avx512.so", "liblembra_avx2.so")
INTERFACE = 4
GATES = 4
Bits = Literal[8, 16]
# A hidden state of 1 as an integer. What it leaves of the 31 bits of a sum is for the weights: with 16 bits, at 2,048
# and at 16,384, the answers were twice as far from float32's.
STATE_SCALE: dict[Bits, int] = {8: 127, 16: 4096}
LARGEST_WEIGHT: dict[Bits, int] = {8: 127, 16: 2**15 - 1}
# Of a probability, from float32's, on thousands of real texts: 0.0055, and 2e-4.
TOLERANCE: dict[Bits, float] = {8: 1e-2, 16: 1e-3}
LARGEST_SUM = 2**31 - 1
LARGEST_INPUT = 2**15 - 1
LOG2_E = 1.4426950408889634  # the library's too, to which gates are powers of two
# What a library of 8 bits adds to a state's integer, as its products want one of them without a sign.
UNSIGNED = 128
# Of the table of input products, once every word has been met. Memory is taken as words are; at the default sizes all
# of them come to 123 MB.
LARGEST_TABLE = 2**30
# A network's units may be padded to so many times what a kernel of the same width has of them: with 64 for 8, tiles
# took four times as long, with 192 for 144 half as long again, and where nothing is padded they save a third.
MOST_PADDED = 9 / 8
# Of the looked-up input products, by a bound that is several times the truth; sentiment-en comes to 0.006. One word of
# a far larger vector, which may be in no probe, must not be answered wrongly.
COARSEST_INPUT = 0.02
# Of one direction: torch's names in the file, and the library's.
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
ARRAYS = ("recurrent", "start", "scale", "input", "bias", "table", "table_scale")

Array = npt.NDArray[Any]


class _Direction(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ARRAYS)


class _Network(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("embedding", "hidden", "directions", "classes")),
        ("state_scale", ctypes.c_float),
        ("direction", _Direction * 2),
        ("head", ctypes.c_void_p),
        ("head_bias", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Kernel:
    """What one library of lstm.c says of itself."""

    library: ctypes.CDLL
    name: str
    bits: Bits  # of the integers that it multiplies
    lanes: int
    whole: int  # what it pads a network's units to a multiple of
    group: int

    def units(self, config: NetworkConfig) -> int:
        """H, and what the kernel pads it with."""
        return -(-config.hidden_size // self.whole) * self.whole


@cache
def kernels() -> tuple[Kernel, ...]:
    """What build.py made of lstm.c and this CPU can run, the fastest first."""
    return tuple(kernel for name in LIBRARIES if (kernel := _kernel(FOLDER / name)))


def _kernel(file: Path) -> Kernel | None:
    """None where there is none, an older one, or this CPU can't run it."""
    try:
        found = ctypes.CDLL(str(file))
        if found.lembra_interface() != INTERFACE or not found.lembra_runs_here():
            return None
    except (OSError, AttributeError):
        return None
    found.lembra_name.restype = ctypes.c_char_p
    found.lembra_scores.argtypes = _types("network:p rows:i order:p ids:p stride:i lengths:p logits:p")
    found.lembra_fill.argtypes = _types("network:p count:i tokens:p vectors:p")
    name = found.lembra_name().decode()
    return Kernel(found, name, found.lembra_bits(), found.lembra_lanes(), found.lembra_whole(), found.lembra_group())


def kernels_for(config: NetworkConfig, bits: Bits) -> tuple[Kernel, ...]:
    """Those of `kernels` that take integers of so many bits, for which the network's table is not too large, and which
    don't pad it for nothing; the fastest first.
    """
    of_a_unit = 2 * config.vocabulary_size * config.directions * GATES
    least = {kernel.lanes: -(-config.hidden_size // kernel.lanes) * kernel.lanes for kernel in kernels()}
    return tuple(
        kernel
        for kernel in kernels()
        if kernel.bits >= bits
        and of_a_unit * kernel.units(config) <= LARGEST_TABLE
        and kernel.units(config) <= MOST_PADDED * least[kernel.lanes]
    )


class NativeEngine:
    """logits_BC of a batch, on the CPU, in integers. An answer is the same, to the bit, in any batch and kernel."""

    def __init__(self, config: NetworkConfig, weights: bytes, *, threads: int, kernel: Kernel, bits: Bits) -> None:
        """`weights` is the safetensors file; `threads` for one batch; `kernel` one of `kernels_for` the network and
        these `bits`, to which hidden states and recurrent weights are rounded.

        Raises: BundleError if the weights don't fit the network, or 16 bits might be too few for its input products.
        """
        self.tolerance = TOLERANCE[bits]
        self._kernel = kernel
        self._config = config
        self._arrays = _arrays(config, weights, kernel, bits)
        self._network = _network(config, self._arrays, bits)
        self._place = ctypes.addressof(self._network)
        self._filled_V = np.zeros(config.vocabulary_size, dtype=bool)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="native") if threads > 1 else None
        wider = f" as {kernel.bits}" if kernel.bits > bits else ""
        self.name = f"native ({kernel.name}, {bits}-bit integers{wider}) on cpu"

    def scores(self, batch: Batch) -> Floats:
        """Logits (B, C), float32, in the order of the batch's rows."""
        self._fill(batch.ids_BT)
        order_B = np.argsort(-batch.lengths_B, kind="stable")
        logits_BC = np.empty((len(order_B), self._config.classes), dtype=np.float32)
        group = self._kernel.group
        if self._pool is None or len(order_B) <= group:
            self._score(batch, order_B, logits_BC)
        else:
            groups = [order_B[start : start + group] for start in range(0, len(order_B), group)]
            list(self._pool.map(lambda order_G: self._score(batch, order_G, logits_BC), groups))
        return logits_BC

    def _score(self, batch: Batch, order_G: Ids, logits_BC: Floats) -> None:
        """Fill in the logits of these rows, from the longest to the shortest. Other threads may do others'."""
        ids_BT = batch.ids_BT
        places = [array.ctypes.data for array in (order_G, ids_BT, batch.lengths_B, logits_BC)]
        if self._kernel.library.lembra_scores(self._place, len(order_G), *places[:2], ids_BT.shape[1], *places[2:]):
            raise MemoryError("no memory for the states of a batch")

    def _fill(self, ids_BT: Ids) -> None:
        """Have the input products of tokens that were not met before."""
        if self._filled_V[ids_BT].all():
            return
        missing_N = np.unique(ids_BT[~self._filled_V[ids_BT]])
        vectors_NE = self._arrays["embedding"][missing_N].astype(np.float32)
        if self._kernel.library.lembra_fill(self._place, len(missing_N), missing_N.ctypes.data, vectors_NE.ctypes.data):
            raise MemoryError("no memory for input products")
        self._filled_V[missing_N] = True


def _types(signature: str) -> list[Any]:
    return [{"p": ctypes.c_void_p, "i": ctypes.c_int64}[part.partition(":")[2]] for part in signature.split()]


def _network(config: NetworkConfig, arrays: dict[str, Array], bits: Bits) -> _Network:
    network = _Network(
        embedding=config.embedding_size,
        hidden=config.hidden_size,
        directions=config.directions,
        classes=config.classes,
        state_scale=STATE_SCALE[bits],
        head=arrays["head"].ctypes.data,
        head_bias=arrays["head_bias"].ctypes.data,
    )
    for direction in range(config.directions):
        for name in ARRAYS:
            setattr(network.direction[direction], name, arrays[f"{name}.{direction}"].ctypes.data)
    return network


def _arrays(config: NetworkConfig, weights: bytes, kernel: Kernel, bits: Bits) -> dict[str, Array]:
    """All that the library reads, by name. Raises: BundleError."""
    try:
        found = safetensors.numpy.load(weights)
        _check(config, found)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise BundleError(f"{WEIGHTS} doesn't fit the network of config.json: {error!r}") from error
    if (step := _coarsest(config, found)) > COARSEST_INPUT:
        raise BundleError(f"{WEIGHTS}: input products may be in steps of {step:.2g}; {COARSEST_INPUT} is the limit")
    arrays: dict[str, Array] = {
        "embedding": found["embedding.weight"],
        "head": np.ascontiguousarray(found["head.weight"], dtype=np.float32),
        "head_bias": np.ascontiguousarray(found["head.bias"], dtype=np.float32),
    }
    for number in range(config.directions):
        parts = {name: found[f"lstm.{number}.{name}_l0"].astype(np.float32) for name in PARTS}
        arrays |= {f"{name}.{number}": array for name, array in _direction(config, parts, kernel, bits).items()}
    return arrays


def _check(config: NetworkConfig, found: dict[str, Array]) -> None:
    """Raises: KeyError, ValueError: the library trusts the shapes."""
    outputs, states = GATES * config.hidden_size, config.directions * config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (config.vocabulary_size, config.embedding_size),
        "head.weight": (config.classes, 3 * states),
        "head.bias": (config.classes,),
    }
    for number in range(config.directions):
        of_parts = ((outputs, config.embedding_size), (outputs, config.hidden_size), (outputs,), (outputs,))
        shapes |= {f"lstm.{number}.{name}_l0": shape for name, shape in zip(PARTS, of_parts, strict=True)}
    for name, shape in shapes.items():
        if found[name].shape != shape:
            raise ValueError(f"{name} has shape {found[name].shape}; {shape} was expected")
        if not np.isfinite(found[name]).all():
            raise ValueError(f"{name} has a value that is no number")


def _coarsest(config: NetworkConfig, found: dict[str, Array]) -> float:
    """What a step of an integer in the table may come to: by the longest vector and the longest row of weights."""
    longest = np.linalg.norm(found["embedding.weight"].astype(np.float64), axis=1).max()
    rows = max(
        np.linalg.norm(found[f"lstm.{d}.weight_ih_l0"].astype(np.float64), axis=1).max()
        for d in range(config.directions)
    )
    biases = max(
        np.abs(found[f"lstm.{d}.{name}_l0"].astype(np.float64)).max()
        for d in range(config.directions)
        for name in ("bias_ih", "bias_hh")
    )
    return float((longest * rows + 2 * biases) / LARGEST_INPUT)


def _direction(config: NetworkConfig, parts: dict[str, Floats], kernel: Kernel, bits: Bits) -> dict[str, Array]:
    """What one direction's weights are to the library: units in blocks, a block's units side by side, gate by gate."""
    units, lanes, products = kernel.units(config), kernel.lanes, 32 // kernel.bits
    biases = (parts["bias_ih"] + parts["bias_hh"])[:, None]
    recurrent, scale = _integers(parts["weight_hh"], bits)
    padded = np.pad(recurrent, ((0, 0), (0, units - config.hidden_size)))
    # Beside each other are the weights of a unit that are multiplied by neighbouring states at once.
    side_by_side = _in_blocks(padded, units, lanes).reshape(-1, GATES, lanes, units // products, products)
    start = -UNSIGNED * padded.sum(axis=1, keepdims=True) if kernel.bits == 8 else np.zeros_like(biases)
    return {
        "recurrent": _aligned(side_by_side.transpose(0, 3, 1, 2, 4), np.int8 if kernel.bits == 8 else np.int16),
        "start": _aligned(_in_blocks(start, units, lanes), np.int32),
        "scale": _aligned(_in_blocks(-LOG2_E * scale, units, lanes), np.float32),
        "input": _aligned(_in_blocks(parts["weight_ih"], units, lanes).transpose(3, 0, 1, 2), np.float32),
        "bias": _aligned(_in_blocks(biases, units, lanes), np.float32),
        "table": _aligned_empty((config.vocabulary_size, GATES * units), np.int16),
        "table_scale": _aligned_empty((config.vocabulary_size,), np.float32),
    }


def _in_blocks(values: Array, units: int, lanes: int) -> Array:
    """(GATES * H, X), as torch has it, to (U, GATES, L, X), with units of zeros behind."""
    gates = values.reshape(GATES, -1, values.shape[1])
    whole = np.pad(gates, ((0, 0), (0, units - gates.shape[1]), (0, 0)))
    return whole.reshape(GATES, -1, lanes, values.shape[1]).swapaxes(0, 1)


def _integers(weights: Floats, bits: Bits) -> tuple[Array, Array]:
    """Each row (N, X) as integers, and what a sum of their products with states is to be multiplied by (N, 1).

    No sum leaves 32 bits, whatever the states are.
    """
    exact = np.abs(weights.astype(np.float64))
    # Rounding may add half a step to each weight.
    room = LARGEST_SUM / STATE_SCALE[bits] - weights.shape[1]
    totals, largest = exact.sum(axis=1, keepdims=True), exact.max(axis=1, keepdims=True)
    tiny = np.finfo(np.float32).tiny
    steps = np.minimum(room / np.maximum(totals, tiny), LARGEST_WEIGHT[bits] / np.maximum(largest, tiny))
    return np.rint(weights * steps), 1 / (steps * STATE_SCALE[bits])


def _aligned(values: Array, kind: type[np.generic]) -> Array:
    """A copy that begins at a multiple of 64 bytes."""
    found = _aligned_empty(values.shape, kind)
    found[...] = values
    return found


def _aligned_empty(shape: Sequence[int], kind: type[np.generic]) -> Array:
    """Not written to, so that the system gives memory only to what will be."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    raw = np.empty(size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(kind).reshape(shape)
