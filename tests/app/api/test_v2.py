"""`/v2` as the real client of Triton sees it, against a real server: the very numbers of the predictor, either way."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

from app.api_keys import append_key, new_key
from app.main import create_app
from app.settings import Settings
from data.images import encode_png
from model.artifact import open_artifact
from model.contract import METADATA_KEY, Decision
from model.predictor import Prediction, Predictor

OUTPUTS = ("labels", "confidence", "probabilities")
SIZES_HW = [
    pytest.param((1, 1), id="one pixel"),
    pytest.param((20, 27), id="padded to the stride"),
    pytest.param((64, 64), id="one tile"),
    pytest.param((150, 90), id="several tiles"),
]


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """A real server on a port of its own; gives host:port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="none", log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline_s = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline_s, "the server takes for ever"
            time.sleep(0.01)
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def model_7(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The model of the other tests (red is a scratch, blue a pit, tiles of 64 px), with the version 7."""
    stored = repository / "tests" / "promises" / "format_1.onnx"
    contract = open_artifact(stored).contract.model_copy(update={"version": "7"})
    proto = onnx.load(stored)
    (entry,) = (entry for entry in proto.metadata_props if entry.key == METADATA_KEY)
    entry.value = contract.model_dump_json()
    path = tmp_path_factory.mktemp("model") / "colours.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture(scope="module")
def predictor(model_7: Path) -> Predictor:
    return Predictor.open(model_7, device="cpu", threads=1)


@pytest.fixture(scope="module")
def url(model_7: Path) -> Iterator[str]:
    app = create_app(Settings(model=model_7, device="cpu", threads=1, max_pixels=50_000, max_bytes=500_000))
    with listening(app) as address:
        yield address


@pytest.fixture
def triton(url: str) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(url) as client:
        yield client


def batch_of(count: int, *, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Red, blue and every colour between, another image each time."""
    return np.random.default_rng(count).integers(0, 256, (count, *size_hw, 3), np.uint8)


def tensor(name: str, values: NDArray[Any], *, datatype: str = "UINT8", binary: bool = True) -> InferInput:
    return InferInput(name, list(values.shape), datatype).set_data_from_numpy(values, binary_data=binary)


def wanted(*names: str, binary: bool = True) -> list[InferRequestedOutput]:
    return [InferRequestedOutput(name, binary_data=binary) for name in names]


def assert_equal(
    result: InferResult, expected: Sequence[Prediction], *, names: Sequence[str] = OUTPUTS
) -> None:
    """Byte for byte, and of the same type and shape."""
    for name in names:
        said = result.as_numpy(name)
        meant = np.stack([getattr(prediction, name) for prediction in expected])
        assert said is not None, name
        assert (said.dtype, said.shape) == (meant.dtype, meant.shape)
        assert said.tobytes() == meant.tobytes(), name


@pytest.mark.parametrize("size_hw", SIZES_HW)
@pytest.mark.parametrize("count", [pytest.param(1, id="alone"), pytest.param(3, id="a batch")])
@pytest.mark.parametrize("binary", [pytest.param(True, id="binary"), pytest.param(False, id="JSON")])
def test_every_output_is_the_predictor_s_byte_for_byte(
    triton: InferenceServerClient, predictor: Predictor, size_hw: tuple[int, int], count: int, binary: bool
) -> None:
    images = batch_of(count, size_hw=size_hw)
    result = triton.infer(
        "colours", [tensor("image", images, binary=binary)], outputs=wanted(*OUTPUTS, binary=binary)
    )
    assert_equal(result, [predictor.predict(image, want_probabilities=True) for image in images])


def test_who_names_no_output_gets_all_in_the_form_he_asked_for(
    triton: InferenceServerClient, predictor: Predictor, url: str
) -> None:
    images = batch_of(2, size_hw=(20, 27))
    expected = [predictor.predict(image, want_probabilities=True) for image in images]
    result = triton.infer("colours", [tensor("image", images)])
    assert_equal(result, expected)
    assert all("data" not in output for output in result.get_response()["outputs"]), (
        "the client asked for bytes"
    )
    plain = {
        "inputs": [{"name": "image", "shape": images.shape, "datatype": "UINT8", "data": images.tolist()}]
    }
    answer = httpx.post(f"http://{url}/v2/models/colours/infer", json=plain)
    assert answer.headers["Content-Type"] == "application/json"
    assert "Inference-Header-Content-Length" not in answer.headers
    assert_equal(InferResult.from_response_body(answer.content), expected)


def test_only_the_outputs_asked_for_come_each_in_its_form_and_in_that_order(
    triton: InferenceServerClient, predictor: Predictor
) -> None:
    images = batch_of(2, size_hw=(20, 27))
    outputs = [*wanted("probabilities", "labels"), *wanted("confidence", binary=False)]
    result = triton.infer("colours", [tensor("image", images)], outputs=outputs)
    said = {output["name"]: "data" in output for output in result.get_response()["outputs"]}
    assert list(said.items()) == [("probabilities", False), ("labels", False), ("confidence", True)]
    assert_equal(result, [predictor.predict(image, want_probabilities=True) for image in images])
    (only,) = triton.infer("colours", [tensor("image", images)], outputs=wanted("confidence")).get_response()[
        "outputs"
    ]
    assert only["name"] == "confidence"


@pytest.mark.parametrize("binary", [pytest.param(True, id="binary"), pytest.param(False, id="JSON")])
def test_decision_weights_stand_in_for_the_model_s_own(
    triton: InferenceServerClient, predictor: Predictor, binary: bool
) -> None:
    images = batch_of(2, size_hw=(20, 27))
    weights = np.array([1, 0, 2.5], np.float32)
    inputs = [
        tensor("decision_weights", weights, datatype="FP32", binary=binary),
        tensor("image", images, binary=binary),
    ]
    result = triton.infer("colours", inputs, outputs=wanted("labels"))
    decision = Decision(weights=(1, 0, 2.5))
    assert_equal(result, [predictor.predict(image, decision=decision) for image in images], names=["labels"])
    own = np.stack([predictor.predict(image).labels for image in images])
    assert (own != result.as_numpy("labels")).any(), "a decision that changes nothing proves nothing"


def test_files_are_decoded_as_anywhere_in_the_service(
    triton: InferenceServerClient, predictor: Predictor
) -> None:
    images = batch_of(3, size_hw=(20, 27))
    files = np.array([encode_png(image) for image in images], dtype=np.object_)
    result = triton.infer("colours", [tensor("encoded_image", files, datatype="BYTES")])
    assert_equal(result, [predictor.predict(image, want_probabilities=True) for image in images])


def test_the_answer_tells_the_model_its_version_and_the_request_s_own_id(
    triton: InferenceServerClient,
) -> None:
    inputs = [tensor("image", batch_of(1, size_hw=(8, 8)))]
    response = triton.infer("colours", inputs, model_version="7", request_id="weld 42/ä").get_response()
    facts = {key: value for key, value in response.items() if key != "outputs"}
    assert facts == {"model_name": "colours", "model_version": "7", "id": "weld 42/ä"}
    assert "id" not in triton.infer("colours", inputs).get_response()


def test_a_client_s_own_time_limit_holds(triton: InferenceServerClient) -> None:
    inputs = [tensor("image", batch_of(1, size_hw=(8, 8)))]
    with pytest.raises(InferenceServerException, match="no answer within 1e-06 s") as refused:
        triton.infer("colours", inputs, timeout=1)
    assert refused.value.status() == "504"
    triton.infer("colours", inputs, timeout=30_000_000)


def test_server_and_model_say_what_they_are(triton: InferenceServerClient) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    server = triton.get_server_metadata()
    assert (server["name"], server["extensions"]) == ("segnet", ["binary_tensor_data"])
    assert server["version"]
    for version in ("", "7"):
        assert triton.is_model_ready("colours", version)
        assert triton.get_model_metadata("colours", version) == {
            "name": "colours",
            "versions": ["7"],
            "platform": "onnx_onnxv1",
            "inputs": [
                {
                    "name": "image",
                    "datatype": "UINT8",
                    "shape": [-1, -1, -1, 3],
                    "parameters": {"optional": False},
                },
                {
                    "name": "encoded_image",
                    "datatype": "BYTES",
                    "shape": [-1],
                    "parameters": {"optional": True},
                },
                {
                    "name": "decision_weights",
                    "datatype": "FP32",
                    "shape": [3],
                    "parameters": {"optional": True},
                },
            ],
            "outputs": [
                {"name": "labels", "datatype": "UINT8", "shape": [-1, -1, -1]},
                {"name": "confidence", "datatype": "UINT8", "shape": [-1, -1, -1]},
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3, -1, -1]},
            ],
        }


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        pytest.param("welds", "", "no model 'welds'; there is 'colours'", id="another name"),
        pytest.param(
            "colours", "8", "no version '8' of the model 'colours'; there is '7'", id="another version"
        ),
    ],
)
def test_another_model_is_not_found(
    triton: InferenceServerClient, name: str, version: str, said: str
) -> None:
    assert not triton.is_model_ready(name, version)
    inputs = [tensor("image", batch_of(1, size_hw=(8, 8)))]
    for call in (
        lambda: triton.get_model_metadata(name, version),
        lambda: triton.infer(name, inputs, model_version=version),
    ):
        with pytest.raises(InferenceServerException) as refused:
            call()
        assert (refused.value.status(), refused.value.message()) == ("404", said)


def test_the_client_reads_every_refusal(triton: InferenceServerClient) -> None:
    """Of the model, of the limits, and of extensions that are not here."""
    inputs = [tensor("image", batch_of(1, size_hw=(8, 8)))]
    weights = tensor("decision_weights", np.ones(2, np.float32), datatype="FP32")
    shared = wanted("labels")
    shared[0].set_shared_memory("region", 64)
    cases = [
        ("422", "2 weights for a model of 3 classes", lambda: triton.infer("colours", [*inputs, weights])),
        (
            "413",
            "2 images of 160 x 160 px",
            lambda: triton.infer("colours", [tensor("image", batch_of(2, size_hw=(160, 160)))]),
        ),
        (
            "413",
            "more than the limit of 0.5 MB",
            lambda: triton.infer("colours", [tensor("image", batch_of(1, size_hw=(410, 410)))]),
        ),
        (
            "400",
            "outputs.0.parameters.shared_memory_region: not known here",
            lambda: triton.infer("colours", inputs, outputs=shared),
        ),
        (
            "415",
            "Content-Encoding 'gzip'",
            lambda: triton.infer("colours", inputs, request_compression_algorithm="gzip"),
        ),
        ("404", "only binary_tensor_data is here", lambda: triton.get_model_config("colours")),
        ("404", "only binary_tensor_data is here", lambda: triton.get_model_repository_index()),
    ]
    for status, said, call in cases:
        with pytest.raises(InferenceServerException, match=said) as refused:
            call()
        assert refused.value.status() == status, said


def test_with_keys_the_model_is_for_who_has_one_and_the_server_s_health_for_all(
    model_7: Path, tmp_path: Path
) -> None:
    secrets = {}
    for scope in ("predict", "metrics"):
        secrets[scope], key = new_key(scope, scopes=[scope])
        append_key(tmp_path / "keys", key)
    app = create_app(Settings(model=model_7, device="cpu", threads=1, keys_file=tmp_path / "keys"))
    inputs = [tensor("image", batch_of(1, size_hw=(8, 8)))]
    with ExitStack() as stack:
        triton = stack.enter_context(InferenceServerClient(stack.enter_context(listening(app))))
        assert triton.is_server_live()
        assert triton.is_server_ready()
        assert not triton.is_model_ready("colours"), "its name is nobody's business"
        statuses = {None: "401", "segnet_wrong": "401", secrets["metrics"]: "403"}
        for secret, status in statuses.items():
            headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
            for call in (
                lambda headers=headers: triton.infer("colours", inputs, headers=headers),
                lambda headers=headers: triton.get_model_metadata("colours", headers=headers),
            ):
                with pytest.raises(InferenceServerException) as refused:
                    call()
                assert refused.value.status() == status
        good = {"X-API-Key": secrets["predict"]}
        assert triton.is_model_ready("colours", headers=good)
        assert triton.get_model_metadata("colours", headers=good)["name"] == "colours"
        assert triton.infer("colours", inputs, headers=good).as_numpy("labels").shape == (1, 8, 8)
