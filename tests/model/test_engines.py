"""model.engine: which engine a machine gets; and the GPU, where there is one."""

from pathlib import Path

import numpy as np
import pytest

from model.bundle import Bundle
from model.engine import cuda_is_here
from model.errors import DeviceError

# float32 on a GPU may use TF32 and other orders of summation.
GPU_AGREEMENT = 1e-4
TEXTS = ["good", "a much longer text with many words in it", "x y z"] * 20


def test_a_cpu_is_served_by_onnxruntime(tiny_bundle: Path) -> None:
    """Device "cpu" never takes torch."""
    assert Bundle.open(tiny_bundle).classifier(device="cpu").engine.name.startswith("onnxruntime")


@pytest.mark.skipif(cuda_is_here(), reason="there is a CUDA device")
def test_a_missing_gpu_is_said(tiny_bundle: Path) -> None:
    """Device "cuda" on a machine without one is an error, not a slower answer."""
    with pytest.raises(DeviceError, match="cuda"):
        Bundle.open(tiny_bundle).classifier(device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not cuda_is_here(), reason="no CUDA device with a torch that drives it")
def test_the_gpu_gives_the_same_scores(tiny_bundle: Path) -> None:
    """Device "auto" takes the GPU, and its answers are the CPU's."""
    bundle = Bundle.open(tiny_bundle)
    on_gpu, on_cpu = bundle.classifier(device="auto"), bundle.classifier(device="cpu")
    assert "cuda" in on_gpu.engine.name
    gpu, cpu = ([found.probs for found in classifier.predict(TEXTS)] for classifier in (on_gpu, on_cpu))
    assert np.allclose(gpu, cpu, rtol=0, atol=GPU_AGREEMENT)
