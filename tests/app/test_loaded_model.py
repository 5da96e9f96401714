"""A model is tested and warm before anybody may use it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.loaded_model import load_model, why
from model.artifact import Artifact, open_artifact
from model.predictor import Predictor
from model.runtime import DEFAULT_OUTPUTS, Output, open_runtime


@pytest.fixture
def artifact(repository: Path) -> Artifact:
    return open_artifact(repository / "tests" / "promises" / "format_1.onnx")


class Recorder:
    """The CPU under any name, noting the shapes it was given."""

    def __init__(self, artifact: Artifact, *, provider: str) -> None:
        self._cpu = open_runtime(artifact, device="cpu", threads=1)
        self.provider = provider
        self.is_gpu = "CPU" not in provider
        self.shapes: list[tuple[int, ...]] = []

    def run(
        self,
        image_batch: NDArray[np.uint8],
        *,
        decision_weights: Sequence[float] | None = None,
        want: Sequence[Output] = DEFAULT_OUTPUTS,
    ) -> dict[str, NDArray[Any]]:
        self.shapes.append(image_batch.shape)
        return self._cpu.run(image_batch, decision_weights=decision_weights, want=want)


def test_a_gpu_is_warm_in_every_batch_size_after_its_self_test(artifact: Artifact) -> None:
    gpu = Recorder(artifact, provider="CUDAExecutionProvider")
    loaded = load_model(lambda: Predictor(gpu, contract=artifact.contract, digest=artifact.digest))
    golden, *tiles = gpu.shapes
    assert golden == (1, 40, 48, 3)
    assert tiles == 2 * [(size, 64, 64, 3) for size in (8, 4, 2, 1)]
    assert loaded.is_gpu
    assert loaded.warm_pixels == 15 * 64 * 64
    assert loaded.warm_s > 0


@pytest.mark.parametrize("provider", ["CPUExecutionProvider", "OpenVINO CPU"])
def test_a_processor_is_warm_in_one_tile(artifact: Artifact, provider: str) -> None:
    cpu = Recorder(artifact, provider=provider)
    loaded = load_model(lambda: Predictor(cpu, contract=artifact.contract, digest=artifact.digest))
    assert cpu.shapes[1:] == 2 * [(1, 64, 64, 3)]
    assert not loaded.is_gpu
    assert (loaded.facts.provider, loaded.facts.digest) == (provider, artifact.digest)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(ValueError("the graph is another"), "the graph is another", id="meant for people"),
        pytest.param(
            FileNotFoundError(2, "No such file or directory", "/secret/place"),
            "No such file or directory",
            id="no path",
        ),
        pytest.param(
            RuntimeError("/usr/lib/libcudnn.so.9: out of memory"),
            "it failed at work (RuntimeError); the log tells more",
            id="nothing of a library's internals",
        ),
    ],
)
def test_a_reason_tells_no_secrets(error: Exception, said: str) -> None:
    assert why(error) == said
