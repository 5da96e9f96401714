"""`/v2` under attack, and in trouble: each refusal has its status and its reason in the protocol's member `error`."""

import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from app.errors import Overloaded
from app.service import Service
from app.worker import Judged
from data.images import encode_png

from .conftest import Serve

URL = "/v2/models/colours/infer"
PIXEL: dict[str, Any] = {"name": "image", "shape": [1, 1, 1, 3], "datatype": "UINT8", "data": [255, 0, 0]}
WEIGHTS: dict[str, Any] = {"name": "decision_weights", "shape": [3], "datatype": "FP32", "data": [1, 1, 1]}
BINARY: dict[str, Any] = {
    "name": "image",
    "shape": [1, 1, 1, 3],
    "datatype": "UINT8",
    "parameters": {"binary_data_size": 3},
}
FILES: dict[str, Any] = {"name": "encoded_image", "shape": [1], "datatype": "BYTES"}


def post(
    client: TestClient, message: object, *, behind: bytes = b"", url: str = URL, **headers: str
) -> httpx.Response:
    """Send a message as JSON, with binary data behind it if there is any."""
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    if behind:
        headers["Inference-Header-Content-Length"] = str(len(text))
    answer: httpx.Response = client.post(url, content=text + behind, headers=headers)
    return answer


def assert_refused(answer: httpx.Response, *, status: int, said: str) -> None:
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert said in problem["error"]
    assert (problem["detail"], problem["status"]) == (problem["error"], status)
    assert problem["instance"] == answer.headers["X-Request-ID"]


def an(entry: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"inputs": [entry | changes]}


def asking(**fields: Any) -> dict[str, Any]:
    return {"inputs": [PIXEL]} | fields


@pytest.mark.parametrize(
    ("message", "said"),
    [
        pytest.param(b"{", "the JSON object: Invalid JSON", id="no JSON"),
        pytest.param(b"\xff", "the JSON object: Invalid JSON", id="no text"),
        pytest.param(b"[" * 100_000, "the JSON object: Invalid JSON", id="a deep hole"),
        pytest.param([], "the JSON object: ", id="a list"),
        pytest.param({}, "inputs: Field required", id="nothing"),
        pytest.param({"inputs": []}, "either the input image or encoded_image", id="no input"),
        pytest.param({"inputs": [WEIGHTS]}, "either the input image or encoded_image", id="no image"),
        pytest.param({"inputs": [PIXEL, PIXEL]}, "inputs image, image: each", id="an image twice"),
        pytest.param(an(PIXEL, name="pixels"), "unknown input 'pixels'; there are image", id="unknown input"),
        pytest.param(an(PIXEL, name=7), "inputs.0.name", id="a number for a name"),
        pytest.param(an(PIXEL, datatype="INT64"), "datatype 'INT64'; expected one of UINT8", id="datatype"),
        pytest.param(an(PIXEL, datatype="FP32"), "expected UINT8 [-1, -1, -1, 3]", id="another datatype"),
        pytest.param(an(PIXEL, shape=[1, 3]), "UINT8 [1, 3]; expected UINT8 [-1, -1, -1, 3]", id="rank"),
        pytest.param(an(PIXEL, shape=[1, 1, 3, 1]), "UINT8 [1, 1, 3, 1]; expected", id="grey"),
        pytest.param(an(PIXEL, shape=[1, 1, 2, 3]), "has 6 values; got 3 values", id="too few values"),
        pytest.param(an(PIXEL, shape=[1, 0, 1, 3]), "inputs.0.shape.1", id="no height"),
        pytest.param(an(PIXEL, shape=[1, -1, -1, 3]), "inputs.0.shape.1", id="a negative height"),
        pytest.param(an(PIXEL, shape=[1, 1.0, 1, 3]), "inputs.0.shape.1", id="a broken height"),
        pytest.param(an(PIXEL, shape=[10**30, 1, 1, 3]), "has 3", id="a number beyond all integers"),
        pytest.param(an(PIXEL, shape=[1] * 70), "inputs.0.shape", id="70 axes"),
        pytest.param(an(PIXEL, data=[0, 0, 256]), "whole numbers of 0 to 255", id="256"),
        pytest.param(an(PIXEL, data=[0, 0, -1]), "whole numbers of 0 to 255", id="-1"),
        pytest.param(an(PIXEL, data=[0, 0, 10**30]), "whole numbers of 0 to 255", id="far too large"),
        pytest.param(an(PIXEL, data=[0, 0, 0.5]), "whole numbers of 0 to 255", id="a half"),
        pytest.param(an(PIXEL, data=["1", "2", "3"]), "whole numbers of 0 to 255", id="text"),
        pytest.param(an(PIXEL, data=[True, False, True]), "whole numbers of 0 to 255", id="truths"),
        pytest.param(an(PIXEL, data=[None, 1, 2]), "whole numbers of 0 to 255", id="null"),
        pytest.param(an(PIXEL, data=[{}, 1, 2]), "whole numbers of 0 to 255", id="an object"),
        pytest.param(an(PIXEL, data=[[1, 2], [3]]), "no array", id="ragged"),
        pytest.param(an(PIXEL, data=[]), "got 0 values", id="no values"),
        pytest.param(an(PIXEL, data=7), "inputs.0.data", id="a bare number"),
        pytest.param(an(PIXEL, data=None), "either data or the parameter", id="no data"),
        pytest.param(
            an(PIXEL, parameters={"binary_data_size": 3}), "either data or the parameter", id="data twice"
        ),
        pytest.param(an(BINARY), "has 3 values; got 0 bytes", id="binary data that is not there"),
        pytest.param(
            an(BINARY, parameters={"binary_data_size": -3}), "binary_data_size", id="a negative size"
        ),
        pytest.param(
            an(BINARY, parameters={"shared_memory_region": "r"}), "not known here", id="shared memory"
        ),
        pytest.param(an(FILES, data=["abc"]), "send them as binary data", id="files in JSON"),
        pytest.param(asking(outputs=[{"name": "mask"}]), "unknown output 'mask'; there are", id="output"),
        pytest.param(
            asking(outputs=[{"name": "labels"}] * 2), "outputs labels, labels: each", id="an output twice"
        ),
        pytest.param(
            asking(outputs=[{"name": "labels", "parameters": {"classification": 2}}]),
            "outputs.0.parameters.classification: not known here",
            id="top-k",
        ),
        pytest.param(asking(parameters={"timeout": 0}), "parameters.timeout", id="no time"),
        pytest.param(asking(parameters={"binary_data_output": "no"}), "binary_data_output", id="no truth"),
        pytest.param(asking(id=42), "id: ", id="a number for an id"),
        pytest.param(
            {"inputs": [PIXEL, WEIGHTS | {"shape": [1, 3]}]}, "expected FP32 [-1]", id="weights in two axes"
        ),
        pytest.param({"inputs": [PIXEL, WEIGHTS | {"data": ["1", 1, 1]}]}, "expected numbers", id="weights"),
    ],
)
def test_what_is_not_of_the_protocol_s_form_is_a_bad_request(
    client: TestClient, message: object, said: str
) -> None:
    assert_refused(post(client, message), status=400, said=said)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        pytest.param([0, 0, 0], "every decision weight is 0", id="zeros"),
        pytest.param([1, -1, 1], "greater than or equal to 0", id="negative"),
        pytest.param([1, 1e300, 1], "finite number", id="beyond a float32"),
        pytest.param([1, 1], "2 weights for a model of 3 classes", id="too few"),
    ],
)
def test_weights_that_decide_nothing_are_unprocessable(
    client: TestClient, weights: Sequence[float], said: str
) -> None:
    given = WEIGHTS | {"data": weights, "shape": [len(weights)]}
    assert_refused(post(client, {"inputs": [PIXEL, given]}), status=422, said=said)


@pytest.mark.parametrize("header", ["", "-1", "1e3", "²", "999", "9" * 5000, "0"])
def test_a_length_of_the_json_that_cannot_be_is_a_bad_request(client: TestClient, header: str) -> None:
    headers = {"Inference-Header-Content-Length": header.encode()}
    answer = client.post(URL, content=b'{"inputs": []}', headers=headers)
    assert_refused(answer, status=400, said="JSON")


def elements(*contents: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(content)) + content for content in contents)


@pytest.mark.parametrize(
    ("count", "behind", "status", "said"),
    [
        pytest.param(1, b"\x01", 400, "end within one of them", id="half a length"),
        pytest.param(1, elements(b"abc")[:-1], 400, "end within one of them", id="cut off"),
        pytest.param(2, elements(b"abc"), 400, "end within one of them", id="one too few"),
        pytest.param(1, elements(b"abc", b"d"), 400, "5 bytes beyond them", id="one too many"),
        pytest.param(1, struct.pack("<I", 2**32 - 1), 400, "end within one of them", id="four gigabytes"),
        pytest.param(1025, elements(*[b""] * 1025), 413, "more than the limit of 1024", id="too many"),
        pytest.param(10**18, b"\0\0\0\0", 413, "more than the limit of 1024", id="far too many"),
        pytest.param(1, elements(b""), 422, "an empty file", id="an empty file"),
        pytest.param(1, elements(b"%PDF-1.7"), 415, "", id="no image"),
        pytest.param(
            2,
            elements(*(encode_png(np.zeros((5, side, 3), np.uint8)) for side in (4, 6))),
            422,
            "image 2 is 6 x 5 px, the first 4 x 5 px",
            id="of two sizes",
        ),
        pytest.param(
            1,
            elements(encode_png(np.zeros((5, 4, 3), np.uint8))[:-30]),
            422,
            "",
            id="a damaged file",
        ),
    ],
)
def test_files_that_are_none_are_refused(
    client: TestClient, count: int, behind: bytes, status: int, said: str
) -> None:
    message = an(FILES, shape=[count], parameters={"binary_data_size": len(behind)})
    assert_refused(post(client, message, behind=behind), status=status, said=said)


def test_an_image_comes_as_numbers_or_as_a_file_not_as_both(client: TestClient) -> None:
    behind = elements(encode_png(np.zeros((5, 4, 3), np.uint8)))
    file = FILES | {"parameters": {"binary_data_size": len(behind)}}
    answer = post(client, {"inputs": [PIXEL, file]}, behind=behind)
    assert_refused(answer, status=400, said="either the input image or encoded_image")


def test_bytes_that_belong_to_no_input_are_a_bad_request(client: TestClient) -> None:
    assert_refused(post(client, an(BINARY), behind=b"1234"), status=400, said="1 bytes at the end")
    assert_refused(post(client, an(BINARY), behind=b"12"), status=400, said="got 2 bytes, not 3")


@pytest.mark.parametrize(
    ("shape", "limits", "said"),
    [
        pytest.param([1, 11, 10, 3], {}, "more than the limit of 0.0001 megapixels", id="one image"),
        pytest.param([3, 5, 10, 3], {}, "3 images of 10 x 5 px are more than the limit", id="several"),
        pytest.param(
            [2, 5, 10, 3], {"waiting_pixels": 99}, "limit of 9.9e-05 megapixels", id="never any room"
        ),
        pytest.param([1025, 1, 1, 3], {"max_pixels": 10_000}, "or of 1024 images", id="many small ones"),
    ],
)
def test_more_pixels_than_the_limit_are_too_large(
    serve: Serve, shape: list[int], limits: dict[str, int], said: str
) -> None:
    client = serve(**({"max_pixels": 100} | limits))
    size = int(np.prod(shape))
    message = an(BINARY, shape=shape, parameters={"binary_data_size": size})
    assert_refused(post(client, message, behind=bytes(size)), status=413, said=said)


def test_a_file_is_refused_by_its_header_and_a_batch_of_files_by_its_pixels(serve: Serve) -> None:
    client = serve(max_pixels=100)
    for side, count in ((11, 1), (8, 2)):
        behind = elements(*[encode_png(np.zeros((side, side, 3), np.uint8))] * count)
        message = an(FILES, shape=[count], parameters={"binary_data_size": len(behind)})
        assert_refused(post(client, message, behind=behind), status=413, said="0.0001 megapixels")


def test_more_bytes_than_the_limit_are_too_large_announced_or_not(serve: Serve) -> None:
    client = serve(max_bytes=1000)
    announced = post(client, an(BINARY), behind=bytes(1000))
    streamed = client.post(URL, content=iter([bytes(600), bytes(600)]))
    for answer in (announced, streamed):
        assert_refused(answer, status=413, said="more than the limit of 0.001 MB")


def test_much_json_is_refused_either_way_and_told_of_binary_data(client: TestClient) -> None:
    """A megapixel of numbers as text would stall every other request."""
    assert_refused(post(client, b" " * 4_000_001), status=413, said="send tensors as binary data")
    size = 1025 * 1024 * 3
    message = an(BINARY, shape=[1, 1025, 1024, 3], parameters={"binary_data_size": size})
    message["outputs"] = [{"name": "labels"}]
    assert_refused(post(client, message, behind=bytes(size)), status=413, said="ask for binary data")


def test_an_answer_of_too_many_bytes_is_refused_before_it_is_computed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pixel: a label, its confidence, and three probabilities of 4 bytes."""
    monkeypatch.setattr("app.inference.ANSWER_BYTES", 14)
    assert post(client, asking()).status_code == 200
    monkeypatch.setattr("app.inference.ANSWER_BYTES", 13)
    assert_refused(post(client, asking()), status=413, said="ask for fewer outputs")
    assert post(client, asking(outputs=[{"name": "labels"}])).status_code == 200


def test_what_is_nowhere_is_not_found(client: TestClient) -> None:
    for answer in (client.get("/v2/models"), client.post("/v2/repository/index"), client.get("/v2/health/x")):
        assert_refused(answer, status=404, said="nothing at /v2/")
    answer = post(client, asking(), url="/v2/models/colours/versions/1/infer")
    assert_refused(answer, status=404, said="no version '1' of the model 'colours'; it has no versions")
    assert "versions" not in client.get("/v2/models/colours").json()
    assert "model_version" not in post(client, asking()).json()


def service_of(client: TestClient) -> Service:
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    return service


def test_while_there_is_no_model_it_lives_and_is_not_ready(client: TestClient) -> None:
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/colours/ready").json() == {"name": "colours", "ready": True}
    assert client.portal is not None
    client.portal.call(lambda: service_of(client).engine.stop(drain_s=1))
    assert client.get("/v2/health/live").json() == {"live": True}
    for path in ("/v2/health/ready", "/v2/models/colours/ready", "/v2/models/colours"):
        assert_refused(client.get(path), status=503, said="the service is stopping")
    assert_refused(post(client, asking()), status=503, said="the service is stopping")


def test_a_full_waiting_room_says_when_to_come_again_before_the_body_is_read(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pixels: int) -> None:
        raise Overloaded("61 images wait already", retry_after_s=2)

    monkeypatch.setattr(service_of(client).engine, "check_room", refuse)
    answer = post(client, b"no JSON")
    assert_refused(answer, status=503, said="61 images wait already")
    assert answer.headers["Retry-After"] == "2"


def test_the_room_for_a_whole_batch_is_asked_for_before_any_of_it_is_judged(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(service_of(client).engine, "check_room", asked.append)
    message = an(BINARY, shape=[4, 5, 10, 3], parameters={"binary_data_size": 600})
    assert post(client, message, behind=bytes(600)).status_code == 200
    assert asked == [1, 200]


def test_an_error_of_our_own_tells_nothing_of_the_inside(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(image: NDArray[np.uint8], **_: object) -> Judged:
        raise RuntimeError("CUDA error 719 at /usr/lib/libcuda.so")

    monkeypatch.setattr(service_of(client).engine, "predict", fail)
    answer = post(client, asking())
    assert_refused(answer, status=500, said="the service failed at this")
    assert "CUDA" not in answer.text
    assert "CUDA error 719" in caplog.text


def test_an_answer_is_never_that_of_another_model_than_was_asked_for(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of another name takes over while the image waits."""
    engine = service_of(client).engine
    predict = engine.predict

    async def predict_by_another(image: NDArray[np.uint8], **options: Any) -> Judged:
        judged = await predict(image, **options)
        contract = judged.model.contract.model_copy(update={"name": "welds"})
        return replace(judged, model=replace(judged.model, contract=contract))

    monkeypatch.setattr(engine, "predict", predict_by_another)
    assert_refused(post(client, asking()), status=404, said="no model 'colours'; there is 'welds'")
