"""model.engine: which engine a machine gets; and the GPU, where there is one."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from model import bundle
from model.bundle import Bundle
from model.engine import cores, cuda_is_here
from model.engine_native import kernels
from model.errors import DeviceError
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
# float32 on a GPU may use TF32 and other orders of summation.
GPU_AGREEMENT = 1e-4
TEXTS = ["good", "a much longer text with many words in it", "x y z"] * 20


def test_a_cpu_is_served_by_our_own_engine_or_onnxruntime(tiny_bundle: Path) -> None:
    """Device "cpu" never takes torch; onnxruntime serves where our own engine wasn't built."""
    name = Bundle.open(tiny_bundle).classifier(device="cpu").engine.name
    assert name.startswith("native" if kernels() else "onnxruntime")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system binds no process to cores")
@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "max 100000\n"}, 99),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "broken"}, 99),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 99),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({}, 99),
    ],
)
def test_a_containers_quota_bounds_the_cores(files: dict[str, str], quota: int, tmp_path: Path) -> None:
    """By either version of control groups; without a quota they are those that the process may run on."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == min(quota, len(os.sched_getaffinity(0)))


@pytest.mark.skipif(not kernels(), reason="our own engine isn't built here, or can't run")
@pytest.mark.parametrize(
    ("said", "allowed", "bits"),
    [(True, True, 8), (True, False, 16), (False, True, 16), (None, True, 16)],
)
def test_8_bits_serve_where_the_report_says_so(said: bool | None, allowed: bool, bits: int, tmp_path: Path) -> None:
    """And where they aren't refused; a bundle of before there were any says nothing of them."""
    report = tiny.REPORT | ({"eight_bits": {"agree": said, "rows": 6}} if said is not None else {})
    bundle.write(tmp_path / "it", replace(tiny.parts(), report=report), created=tiny.CREATED, commit=None)
    name = Bundle.open(tmp_path / "it").classifier(device="cpu", eight_bits=allowed).engine.name
    assert f"{bits}-bit" in name


@pytest.mark.skipif(not kernels(), reason="our own engine isn't built here, or can't run")
def test_where_16_bits_are_too_few_onnxruntime_serves(tmp_path: Path) -> None:
    """Beside one huge weight, of a state that is always zero, a row's others would all round to nothing."""
    found = safetensors.numpy.load(tiny.weights())
    hidden = tiny.NETWORK.hidden_size
    for direction in range(tiny.NETWORK.directions):
        gates = found[f"lstm.{direction}.bias_ih_l0"].reshape(4, hidden)
        gates[3, 0] = -1000.0  # the output gate of unit 0
        found[f"lstm.{direction}.weight_hh_l0"][:, 0] = 1e9
    weights = safetensors.numpy.save(found)
    parts = replace(tiny.parts_of(weights), report=tiny.REPORT | {"eight_bits": {"agree": True}})
    bundle.write(tmp_path / "extreme", parts, created=tiny.CREATED, commit=None)
    assert Bundle.open(tmp_path / "extreme").classifier(device="cpu").engine.name.startswith("onnxruntime")


@pytest.mark.skipif(cuda_is_here(), reason="there is a CUDA device")
def test_a_missing_gpu_is_said(tiny_bundle: Path) -> None:
    """Device "cuda" on a machine without one is an error, not a slower answer."""
    with pytest.raises(DeviceError, match="cuda"):
        Bundle.open(tiny_bundle).classifier(device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not cuda_is_here(), reason="no CUDA device with a torch that drives it")
def test_the_gpu_gives_the_same_scores(tiny_bundle: Path) -> None:
    """Device "auto" takes the GPU, and its answers are the CPU's."""
    opened = Bundle.open(tiny_bundle)
    on_gpu, on_cpu = opened.classifier(device="auto"), opened.classifier(device="cpu")
    assert "cuda" in on_gpu.engine.name
    gpu, cpu = ([found.probs for found in classifier.predict(TEXTS)] for classifier in (on_gpu, on_cpu))
    assert np.allclose(gpu, cpu, rtol=0, atol=GPU_AGREEMENT)


def test_onnxruntime_writes_and_reports_nothing(tmp_path: Path) -> None:
    """Its wheel leaves a device id under HOME where its telemetry is on; our engine turns it off before the import."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", "import model.engine_onnx"], env=environment, check=True, cwd=ROOT)
    assert list(tmp_path.rglob("*")) == []
