"""`POST /v1/predictions/batch`: every image gets its line, whatever the others are, and the end says that it is one."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydantic import TypeAdapter

from app.engine import Engine
from app.errors import Overloaded
from app.schemas import BatchLine
from data.images import encode_png

Serve = Callable[..., TestClient]
URL = "/v1/predictions/batch"


def zipped(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def tarred(files: Mapping[str, bytes], *, mode: Any = "w") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def ask(client: TestClient, **options: Any) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """(lines by name, the end) of a batch that was taken."""
    answer = client.post(URL, **options)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-ndjson"), answer.text
    *lines, end = [json.loads(line) for line in answer.text.splitlines()]
    by_name = {line["name"]: line for line in lines}
    assert len(by_name) == len(lines)
    return by_name, end


@pytest.fixture
def files(part: bytes, good_part: bytes) -> dict[str, bytes]:
    """A bad part, a good one, and what is no image."""
    return {"a/bad.png": part, "b/good.png": good_part, "notes.txt": b"no image"}


@pytest.mark.parametrize(
    "send",
    [
        lambda files: {"content": zipped(files)},
        lambda files: {"content": tarred(files)},
        lambda files: {"content": tarred(files, mode="w:gz")},
        lambda files: {"files": {"archive": ("parts.zip", zipped(files))}},
        lambda files: {"files": [("images", file) for file in files.items()]},
    ],
    ids=["zip", "tar", "tar.gz", "zip in a form", "files in a form"],
)
def test_each_image_has_a_line_with_its_verdict_or_its_problem(
    client: TestClient, files: dict[str, bytes], send: Callable[[dict[str, bytes]], dict[str, Any]]
) -> None:
    lines, end = ask(client, **send(files))
    assert end == {"done": True, "images": 3, "errors": 1}
    assert lines["a/bad.png"]["prediction"]["verdict"] == "NG"
    assert lines["b/good.png"]["prediction"]["verdict"] == "OK"
    assert lines["notes.txt"]["problem"]["status"] == 415
    assert lines["a/bad.png"]["prediction"]["image"]["name"] == "a/bad.png"


def test_a_line_is_what_a_single_request_gets_without_its_mask(client: TestClient, part: bytes) -> None:
    lines, _ = ask(client, content=zipped({"part.png": part}))
    single = client.post("/v1/predictions", files={"image": ("part.png", part)}).json()
    batch = lines["part.png"]["prediction"]
    changing = {"id", "mask", "timings_ms"}
    assert {key: batch[key] for key in batch.keys() - changing} == {
        key: single[key] for key in single.keys() - changing
    }
    assert batch["mask"] is None


def test_the_query_holds_for_every_image(client: TestClient, part: bytes, good_part: bytes) -> None:
    lines, _ = ask(
        client, content=zipped({"a": part, "b": good_part}), params={"mask": "rle", "mm_per_px": 0.5}
    )
    assert [len(lines[name]["prediction"]["mask"]["rles"]) for name in "ab"] == [2, 0]
    assert [lines[name]["prediction"]["mm_per_px"] for name in "ab"] == [0.5, 0.5]


def test_more_images_than_are_judged_at_a_time_all_get_their_lines(client: TestClient) -> None:
    greys = {f"{level}.png": encode_png(np.full((20, 30 + level, 3), level, np.uint8)) for level in range(50)}
    lines, end = ask(client, content=zipped(greys))
    assert end == {"done": True, "images": 50, "errors": 0}
    for level in range(50):
        assert lines[f"{level}.png"]["prediction"]["image"]["width_px"] == 30 + level


def test_an_archive_that_breaks_off_keeps_what_came_before(client: TestClient, part: bytes) -> None:
    whole = tarred({"a.png": part, "b.png": part, "c.png": part})
    lines, end = ask(client, content=whole[:1700])
    assert lines["a.png"]["prediction"]["verdict"] == "NG"
    assert lines[""]["problem"]["status"] == 400
    assert (end["done"], end["images"]) == (False, 1)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"content": b"no archive"}, 415),
        ({"content": zipped({})}, 400),
        ({"content": zipped({f"{number}": b"x" for number in range(4)})}, 413),
        ({"files": {"image": ("a.png", b"x")}}, 400),
        ({"content": zipped({"a": b"x"}), "params": {"mm_per_pixel": 1}}, 422),
        ({"content": zipped({"a": b"x"}), "params": {"recipe": "lax"}}, 404),
    ],
    ids=["no archive", "empty", "too many files", "wrong field", "wrong query", "no such recipe"],
)
def test_what_cannot_begin_is_refused_as_a_whole(serve: Serve, options: dict[str, Any], status: int) -> None:
    answer = serve(archive_max_files=3).post(URL, **options)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_a_file_over_the_limit_has_its_problem_and_the_others_are_judged(serve: Serve, part: bytes) -> None:
    files = {"large.png": bytes(5000), "part.png": part}
    client = serve(max_bytes=4000)
    for options in ({"content": zipped(files)}, {"files": [("images", file) for file in files.items()]}):
        lines, end = ask(client, **options)
        assert lines["large.png"]["problem"]["status"] == 413
        assert lines["part.png"]["prediction"]["verdict"] == "NG"
        assert end["errors"] == 1


def test_an_image_of_a_batch_waits_while_the_engine_is_busy(
    client: TestClient, part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter, refusals = Engine.enter, [1, 1]

    def busy_at_first(self: Engine, *args: Any, **options: Any) -> Any:
        if refusals:
            raise Overloaded("busy", retry_after_s=refusals.pop())
        return enter(self, *args, **options)

    monkeypatch.setattr(Engine, "enter", busy_at_first)
    lines, _ = ask(client, content=zipped({"part.png": part}))
    assert lines["part.png"]["prediction"]["verdict"] == "NG"
    assert refusals == []


def test_an_error_nobody_foresaw_costs_one_image_and_tells_nothing(
    client: TestClient, part: bytes, good_part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import app.predictions

    examine = app.predictions.examine

    def stumble(prediction: Any, **options: Any) -> Any:
        if prediction.labels.any():
            raise LookupError("a secret of the inside")
        return examine(prediction, **options)

    monkeypatch.setattr(app.predictions, "examine", stumble)
    lines, end = ask(client, content=zipped({"a": part, "b": good_part}))
    assert lines["a"]["problem"]["status"] == 500
    assert "secret" not in json.dumps(lines["a"])
    assert lines["b"]["prediction"]["verdict"] == "OK"
    assert end == {"done": True, "images": 2, "errors": 1}


def test_every_line_is_what_the_schema_says(client: TestClient, files: dict[str, bytes]) -> None:
    schema: TypeAdapter[BatchLine] = TypeAdapter(BatchLine)
    for line in client.post(URL, content=zipped(files)).text.splitlines():
        assert schema.dump_python(schema.validate_json(line), mode="json") == json.loads(line)
