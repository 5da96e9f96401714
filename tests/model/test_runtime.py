"""The session says what it really runs on, computes what is asked, and takes a decision per call."""

import importlib.util
import logging
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from model import runtime
from model.artifact import ArtifactError, open_artifact
from model.contract import METADATA_KEY, Contract, Decision
from model.runtime import DeviceError, open_runtime

MakeModel = Callable[..., bytes]

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="the extra `openvino` is not installed"
)


@pytest.fixture
def batch() -> np.ndarray:
    """uint8 [2, 16, 24, 3]: grey, with red from column 12 on in the first image and blue in the second."""
    images = np.full((2, 16, 24, 3), 128, np.uint8)
    images[0, :, 12:] = (255, 0, 0)
    images[1, :, 12:] = (0, 0, 255)
    return images


def test_the_cpu_gives_labels_confidence_and_probabilities(color_model: MakeModel, batch: np.ndarray) -> None:
    session = open_runtime(open_artifact(color_model()), device="cpu", require=True, threads=1)
    outputs = session.run(batch, want=("probabilities", "labels", "confidence"))
    assert session.provider == "CPUExecutionProvider"
    assert not session.is_gpu
    assert {name: (value.dtype.name, value.shape) for name, value in outputs.items()} == {
        "labels": ("uint8", (2, 16, 24)),
        "confidence": ("uint8", (2, 16, 24)),
        "probabilities": ("float32", (2, 3, 16, 24)),
    }
    assert outputs["labels"][:, 8, 4].tolist() == [0, 0]
    assert outputs["labels"][:, 8, 20].tolist() == [1, 2]


def test_only_what_is_wanted_comes_back(color_model: MakeModel, batch: np.ndarray) -> None:
    session = open_runtime(open_artifact(color_model()), device="cpu", threads=1)
    assert session.run(batch, want=("labels",)).keys() == {"labels"}
    assert session.run(batch).keys() == {"labels", "confidence"}


def test_decision_weights_act_on_the_call_they_come_with(color_model: MakeModel, batch: np.ndarray) -> None:
    session = open_runtime(open_artifact(color_model()), device="cpu", threads=1)
    muted = session.run(batch, decision_weights=(1.0, 0.0, 1.0))["labels"]
    assert muted[:, 8, 20].tolist() == [0, 2]
    assert session.run(batch)["labels"][:, 8, 20].tolist() == [1, 2]


def test_the_decision_in_the_file_is_the_default(color_model: MakeModel, batch: np.ndarray) -> None:
    decision = Decision(weights=(1.0, 1.0, 0.0))
    session = open_runtime(open_artifact(color_model(decision=decision)), device="cpu", threads=1)
    assert session.run(batch)["labels"][:, 8, 20].tolist() == [1, 0]


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which ONNX Runtime can use the CPU alone."""
    monkeypatch.setattr(runtime, "_available", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(runtime, "has_nvidia_gpu", lambda: False)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_required_device_that_is_not_there_is_an_error(
    color_model: MakeModel, device: runtime.Device
) -> None:
    with pytest.raises(
        DeviceError, match=f"asked for {device}, but the session runs on CPUExecutionProvider"
    ):
        open_runtime(open_artifact(color_model()), device=device, require=True)


@pytest.mark.usefixtures("no_gpu")
def test_a_device_that_is_not_required_falls_back_aloud(
    color_model: MakeModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        session = open_runtime(open_artifact(color_model()), device="cuda", threads=1)
    assert session.provider == "CPUExecutionProvider"
    assert "asked for cuda" in caplog.text


@pytest.mark.usefixtures("no_gpu")
def test_auto_takes_the_cpu_where_there_is_no_gpu_and_does_not_complain(
    color_model: MakeModel, caplog: pytest.LogCaptureFixture
) -> None:
    session = open_runtime(open_artifact(color_model()), device="auto", require=True, threads=1)
    assert session.provider == "CPUExecutionProvider"
    assert not caplog.text


def test_no_thread_is_an_error(color_model: MakeModel) -> None:
    with pytest.raises(DeviceError, match="threads is 0"):
        open_runtime(open_artifact(color_model()), device="cpu", threads=0)


@pytest.mark.parametrize("device", ["cpu", pytest.param("openvino", marks=needs_openvino)])
def test_a_graph_that_does_not_load_is_named_as_such(
    color_graph: Callable[[], onnx.ModelProto],
    color_contract: Callable[..., Contract],
    device: runtime.Device,
) -> None:
    model = color_graph()
    model.graph.node[2].op_type = "Convolute"
    helper.set_model_props(model, {METADATA_KEY: color_contract().model_dump_json()})
    with pytest.raises(ArtifactError, match="the graph does not load"):
        open_runtime(open_artifact(model.SerializeToString()), device=device, threads=1)


@needs_openvino
def test_openvino_agrees_with_the_cpu(color_model: MakeModel, batch: np.ndarray) -> None:
    artifact = open_artifact(color_model())
    session = open_runtime(artifact, device="openvino", threads=1)
    want: tuple[runtime.Output, ...] = ("labels", "confidence", "probabilities")
    expected = open_runtime(artifact, device="cpu", threads=1).run(batch, want=want)
    said = session.run(batch, want=want)
    assert session.provider == "OpenVINO CPU"
    assert said.keys() == expected.keys()
    np.testing.assert_array_equal(said["labels"], expected["labels"])
    np.testing.assert_allclose(said["probabilities"], expected["probabilities"], atol=1e-5)
    np.testing.assert_allclose(said["confidence"].astype(int), expected["confidence"].astype(int), atol=1)


@needs_openvino
def test_openvino_keeps_what_it_gave_when_it_runs_again(color_model: MakeModel, batch: np.ndarray) -> None:
    session = open_runtime(open_artifact(color_model()), device="openvino", threads=1)
    first = session.run(batch[:1])["labels"]
    session.run(batch[1:])
    assert first[0, 8, 20] == 1


@needs_openvino
def test_openvino_says_that_it_cannot_change_the_decision(color_model: MakeModel, batch: np.ndarray) -> None:
    session = open_runtime(open_artifact(color_model()), device="openvino", threads=1)
    assert session.run(batch, decision_weights=(1.0, 1.0, 1.0))["labels"][0, 8, 20] == 1
    with pytest.raises(DeviceError, match="cannot change decision weights per call"):
        session.run(batch, decision_weights=(1.0, 0.0, 1.0))
