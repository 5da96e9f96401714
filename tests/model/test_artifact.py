"""A model file is opened, named by its content, and anything else is refused with a reason."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from model.artifact import ArtifactError, graph_digest, open_artifact
from model.contract import METADATA_KEY, Contract, Decision

MakeModel = Callable[..., bytes]
MakeContract = Callable[..., Contract]


def test_a_model_file_opens_with_its_contract(
    color_model: MakeModel, color_contract: MakeContract, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(color_model())
    artifact = open_artifact(path)
    assert artifact.path == path
    assert artifact.contract.model_copy(update={"graph_sha256": ""}) == color_contract()
    assert artifact.contract.graph_sha256 == artifact.digest
    assert artifact.model_bytes == path.read_bytes()


def test_the_digest_is_that_of_the_file_without_metadata(color_model: MakeModel) -> None:
    contents = color_model()
    model = onnx.load_model_from_string(contents)
    del model.metadata_props[:]
    assert open_artifact(contents).digest == hashlib.sha256(model.SerializeToString()).hexdigest()


def test_the_digest_knows_the_decision_but_not_the_notes(color_model: MakeModel) -> None:
    plain = open_artifact(color_model())
    noted = open_artifact(color_model(notes="for line 3", name="other"))
    decided = open_artifact(color_model(decision=Decision(weights=(0.5, 1.0, 1.0))))
    assert plain.digest == noted.digest
    assert plain.digest != decided.digest
    assert plain.short_digest == plain.digest[:12]


def _without_contract(contents: bytes) -> bytes:
    model = onnx.load_model_from_string(contents)
    del model.metadata_props[:]
    return bytes(model.SerializeToString())


def _with_contract(contents: bytes, text: str) -> bytes:
    model = onnx.load_model_from_string(contents)
    helper.set_model_props(model, {METADATA_KEY: text})
    return bytes(model.SerializeToString())


def _with_other_weights(contents: bytes) -> bytes:
    model = onnx.load_model_from_string(contents)
    kernel = model.graph.initializer[0]
    kernel.raw_data = bytes(len(kernel.raw_data))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(lambda _: b"", "no ONNX file", id="empty"),
        pytest.param(lambda _: b"accuracy = 0.99\n" * 9, "no ONNX file", id="text"),
        pytest.param(lambda _: b"\x89PNG\r\n\x1a\n" + bytes(99), "no ONNX file", id="png"),
        pytest.param(lambda good: good[: len(good) // 2], "cut off", id="half a file"),
        pytest.param(lambda good: good[:-1], "cut off", id="one byte short"),
        pytest.param(_without_contract, "without a contract", id="foreign onnx"),
        pytest.param(
            lambda good: _with_contract(good, '{"format": 2}'), "format 2, this program reads", id="format"
        ),
        pytest.param(lambda good: _with_contract(good, '{"format": 1}'), "hold together", id="parts missing"),
        pytest.param(lambda good: _with_contract(good, "no json"), "hold together", id="no json"),
        pytest.param(_with_other_weights, "damaged or edited", id="weights edited"),
    ],
)
def test_what_is_no_model_is_refused_with_its_name_and_a_reason(
    color_model: MakeModel, tmp_path: Path, spoil: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(spoil(color_model()))
    with pytest.raises(ArtifactError, match=said) as caught:
        open_artifact(path)
    assert str(path) in str(caught.value)


@given(st.data())
def test_a_file_cut_anywhere_is_refused(color_model: MakeModel, data: st.DataObject) -> None:
    contents = color_model()
    length = data.draw(st.integers(0, len(contents) - 1))
    with pytest.raises(ArtifactError):
        open_artifact(contents[:length])


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(contents: bytes) -> None:
    with pytest.raises(ArtifactError):
        open_artifact(contents)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_artifact(tmp_path / "none.onnx")


def test_the_digest_of_no_graph_is_refused() -> None:
    with pytest.raises(ArtifactError, match="holds no graph"):
        graph_digest(b"")
