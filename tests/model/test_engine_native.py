"""model.engine_native: our own engine agrees with onnxruntime's float32, whatever the shapes, and is safe to run."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.numpy

from model import collate
from model.calibration import Floats
from model.collate import Batch
from model.config import NetworkConfig
from model.engine import candidates
from model.engine_native import FOLDER, LIBRARIES, Bits, Kernel, NativeEngine, kernels, kernels_for
from model.engine_onnx import OnnxEngine
from model.errors import BundleError
from tests import tiny
from training.export import to_onnx

pytestmark = pytest.mark.skipif(not kernels(), reason="built without a C compiler, or this CPU has no AVX2")

VOCABULARY = 50
# Of logits of about 1. A state's integer is off by up to 1/8192, or 1/254, and so is each weight's share of a sum.
AGREEMENT = {16: 2e-3, 8: 1e-2}
SHAPES = [
    (1, 1, 1),
    (3, 5, 2),
    (8, 8, 2),
    (7, 33, 1),
    (24, 64, 2),
    (5, 100, 2),
    (3, 129, 1),
]  # embedding, hidden, directions
ROWS = [1, 2, 3, 4, 5, 6, 7, 15, 16, 17, 23, 24, 25, 60]


class Way(NamedTuple):
    """A library, and how coarsely it is to compute."""

    kernel: Kernel
    bits: Bits

    @property
    def agreement(self) -> float:
        return AGREEMENT[self.bits]


CPUINFO = Path("/proc/cpuinfo")
FLAGS = set(CPUINFO.read_text(encoding="utf-8").split()) if CPUINFO.exists() else set()
EVERY: tuple[Bits, ...] = (16, 8)
WAYS = [Way(kernel, bits) for bits in EVERY for kernel in kernels() if kernel.bits >= bits]
on_each_way = pytest.mark.parametrize(
    "way", WAYS, ids=lambda way: f"{way.kernel.name}, products of {way.kernel.bits}, {way.bits} bits"
)


def config(embedding: int, hidden: int, directions: int, *, classes: int = 3) -> NetworkConfig:
    """A small vocabulary, so that tokens come again."""
    return NetworkConfig(
        vocabulary_size=VOCABULARY,
        embedding_size=embedding,
        hidden_size=hidden,
        bidirectional=directions == 2,
        classes=classes,
    )


def tensors(shape: NetworkConfig) -> dict[str, Floats]:
    """Weights of about the size of trained ones."""
    draw = np.random.default_rng(0)
    return {
        name: (draw.normal(size=size) / np.sqrt(size[-1])).astype(np.float32)
        for name, size in tiny.shapes(shape).items()
    }


def engines(
    shape: NetworkConfig, found: dict[str, Floats], way: Way, *, threads: int = 1
) -> tuple[NativeEngine, OnnxEngine]:
    """Both, on the same weights."""
    weights = safetensors.numpy.save(found)
    native = NativeEngine(shape, weights, threads=threads, **way._asdict())
    return native, OnnxEngine(to_onnx(shape, weights), weights, threads=1)


def batch(lengths: Sequence[int], *, seed: int = 0) -> Batch:
    """Random tokens; padding is none that may be read."""
    draw = np.random.default_rng(seed)
    return collate.collate([draw.integers(1, VOCABULARY, length) for length in lengths], range(len(lengths)))


@on_each_way
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", ROWS)
def test_it_agrees_with_float32(shape: tuple[int, int, int], rows: int, way: Way) -> None:
    """On batches that fill its groups and tiles and that don't, of lengths in any order."""
    native, onnx = engines(config(*shape), tensors(config(*shape)), way)
    lengths = np.random.default_rng(rows).integers(1, 40, rows)
    given = batch(lengths.tolist())
    assert np.allclose(native.scores(given), onnx.scores(given), rtol=0, atol=way.agreement)


@pytest.mark.skipif(len(kernels()) < 3, reason="this CPU, or the compiler that was there, has no AVX-512 VNNI")
@pytest.mark.parametrize("bits", EVERY)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", ROWS)
def test_every_library_gives_the_same_answer(shape: tuple[int, int, int], rows: int, bits: Bits) -> None:
    """To the bit: which one a machine has is nobody's concern."""
    weights = safetensors.numpy.save(tensors(config(*shape)))
    given = batch(np.random.default_rng(rows).integers(1, 40, rows).tolist())
    first, *others = (
        NativeEngine(config(*shape), weights, threads=1, kernel=way.kernel, bits=bits).scores(given)
        for way in WAYS
        if way.bits == bits
    )
    assert others
    assert all((first == other).all() for other in others)


@on_each_way
def test_an_answer_is_the_same_alone_and_in_any_batch(way: Way) -> None:
    """To the bit: its scale is fixed, and its order of summation too."""
    shape = config(8, 40, 2)
    native, _ = engines(shape, tensors(shape), way)
    whole = batch([5, 17, 1, 30, 9] * 11)
    together = native.scores(whole)
    for row in range(len(together)):
        length = int(whole.lengths_B[row])
        alone = collate.collate([whole.ids_BT[row, :length]], [0])
        assert (native.scores(alone)[0] == together[row]).all()


@on_each_way
def test_threads_change_no_answer(way: Way) -> None:
    """Groups of rows are computed apart."""
    shape = config(8, 40, 2)
    one, three = (engines(shape, tensors(shape), way, threads=threads)[0] for threads in (1, 3))
    given = batch(list(range(1, 101)))
    assert (one.scores(given) == three.scores(given)).all()


@on_each_way
def test_the_largest_states_and_weights_overflow_no_sum(way: Way) -> None:
    """Every gate saturates and every state is near 1, so that sums are as large as they can be: all of one sign."""
    shape = config(4, 64, 2)
    found = {name: np.full_like(array, 3.0) for name, array in tensors(shape).items()}
    found["head.weight"] = tensors(shape)["head.weight"]
    native, onnx = engines(shape, found, way)
    given = batch([30, 2, 11])
    assert np.allclose(native.scores(given), onnx.scores(given), rtol=0, atol=way.agreement)


@on_each_way
def test_weights_of_zero_and_tiny_ones_are_no_division_by_zero(way: Way) -> None:
    """A row of weights without a scale of its own."""
    shape = config(4, 9, 2)
    found = tensors(shape)
    found["lstm.0.weight_hh_l0"][:] = 0
    found["lstm.1.weight_hh_l0"][:] = 1e-41
    native, onnx = engines(shape, found, way)
    given = batch([30, 2, 11])
    assert np.allclose(native.scores(given), onnx.scores(given), rtol=0, atol=way.agreement)


@on_each_way
@pytest.mark.parametrize("bias", [-200.0, -60.0, 60.0, 200.0])
@pytest.mark.parametrize("gate", range(4))
def test_gates_far_beyond_where_they_saturate_agree(gate: int, bias: float, way: Way) -> None:
    """Open or shut: an exponential that overflowed would show."""
    shape = config(4, 16, 2)
    found = tensors(shape)
    found["lstm.0.bias_ih_l0"].reshape(4, -1)[gate] = bias
    native, onnx = engines(shape, found, way)
    given = batch([30, 2, 11])
    assert np.allclose(native.scores(given), onnx.scores(given), rtol=0, atol=way.agreement)


@pytest.mark.parametrize("factor", [1e3, 1e20])
def test_a_word_whose_vector_is_far_larger_is_left_to_onnxruntime(factor: float) -> None:
    """Its input product would be in steps too coarse, or no number, whether a probe has that word or not."""
    shape = config(4, 16, 2)
    found = tensors(shape)
    found["embedding.weight"][7] *= factor
    weights = safetensors.numpy.save(found)
    with pytest.raises(BundleError, match="input products may be in steps of"):
        NativeEngine(shape, weights, threads=1, **WAYS[0]._asdict())
    assert "onnxruntime" in next(candidates("cpu", shape, weights=weights, graph=to_onnx(shape, weights))).name


@pytest.mark.parametrize("name", ["embedding.weight", "head.bias", "lstm.1.weight_hh_l0", "lstm.0.bias_ih_l0"])
def test_weights_that_do_not_fit_are_refused(name: str) -> None:
    """By name: the library reads what the shapes say, and would read beyond."""
    shape = config(4, 9, 2)
    found = tensors(shape)
    found[name] = found[name][:-1].copy()
    with pytest.raises(BundleError, match=name):
        NativeEngine(shape, safetensors.numpy.save(found), threads=1, **WAYS[0]._asdict())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_refused(value: float) -> None:
    """It would become an integer without a word."""
    shape = config(4, 9, 2)
    found = tensors(shape)
    found["lstm.0.weight_hh_l0"][2, 3] = value
    with pytest.raises(BundleError, match=r"lstm.0.weight_hh_l0.*no number"):
        NativeEngine(shape, safetensors.numpy.save(found), threads=1, **WAYS[0]._asdict())


def test_a_table_that_would_be_too_large_is_left_to_onnxruntime() -> None:
    """A gigabyte of input products is the limit. A width that pads the units less may be the only one that fits."""
    assert kernels_for(config(4, 64, 2), 8) == kernels()
    assert kernels_for(config(4, 64, 2), 16) == tuple(kernel for kernel in kernels() if kernel.bits == 16)
    large = config(4, 9, 2).model_copy(update={"vocabulary_size": 900_000})
    assert not kernels_for(large.model_copy(update={"hidden_size": 256}), 8)
    of_nine_blocks = large.model_copy(update={"hidden_size": 72})
    assert kernels_for(of_nine_blocks, 8) == tuple(kernel for kernel in kernels() if kernel.lanes == 8)


@pytest.mark.parametrize(
    ("hidden", "tiles"), [(8, False), (48, False), (64, True), (144, False), (192, True), (250, True)]
)
def test_tiles_are_for_networks_that_fill_them(hidden: int, tiles: bool) -> None:
    """They want units by the 64, and what is padded is computed."""
    if not any(kernel.whole == 64 for kernel in kernels()):
        pytest.skip("this CPU, or the compiler that was there, has no AMX")
    assert (kernels_for(config(4, hidden, 2), 8)[0].whole == 64) is tiles


@pytest.mark.skipif(
    "amx_int8" not in FLAGS or not (FOLDER / LIBRARIES[0]).exists(),
    reason="this CPU, or the compiler that was there, has no AMX",
)
def test_where_the_cpu_has_tiles_they_are_there() -> None:
    """A library that can't be loaded any more would be missed by nobody."""
    assert kernels()[0].name == "AMX"


def test_it_is_the_first_candidate_on_a_cpu() -> None:
    """And onnxruntime the second, which isn't made before it is asked for."""
    shape = config(4, 9, 2)
    weights = safetensors.numpy.save(tensors(shape))
    found = candidates("cpu", shape, weights=weights, graph=b"no graph")
    assert "16-bit" in next(found).name
    with pytest.raises(BundleError, match=r"network\.onnx"):
        next(found)


def test_8_bits_are_tried_before_16_where_they_are_allowed() -> None:
    """With a tolerance of their own; what has more bits is still behind them."""
    shape = config(4, 9, 2)
    weights = safetensors.numpy.save(tensors(shape))
    found = candidates("cpu", shape, weights=weights, graph=b"no graph", eight_bits=True)
    coarse, fine = next(found), next(found)
    assert "8-bit" in coarse.name
    assert "16-bit" in fine.name
    assert fine.tolerance < coarse.tolerance
