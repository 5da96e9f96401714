"""The client: what it sends, how long it waits, and what it makes of refusals."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.client import AsyncClient, Client, ClientError

URL = "http://service.test"
PROBLEM = {
    "type": "urn:x",
    "title": "Overloaded",
    "status": 503,
    "detail": "61 images wait already",
    "instance": "r7",
}
LINE = json.dumps({"name": "a.png", "problem": PROBLEM})


def client_of(*answers: httpx.Response | Exception, **options: Any) -> tuple[Client, list[httpx.Request]]:
    """A client of a service that gives these answers, and what it was asked."""
    asked: list[httpx.Request] = []
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    return Client(URL, transport=httpx.MockTransport(answer), **options), asked


def busy(retry_after: str = "3", *, status: int = 503) -> httpx.Response:
    return httpx.Response(status, json=PROBLEM, headers={"Retry-After": retry_after})


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it waited, without waiting."""
    pauses: list[float] = []
    monkeypatch.setattr("app.client.time.sleep", pauses.append)
    return pauses


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_service_is_asked_again_when_it_said(pauses: list[float], status: int) -> None:
    client, asked = client_of(busy("3", status=status), busy("2", status=status), busy(status=400))
    with client, pytest.raises(ClientError, match="61 images"):
        client.predict(b"image")
    assert pauses == [3.0, 2.0]
    assert asked[0].content == asked[1].content == asked[2].content


def test_who_does_not_say_when_to_come_again_is_not_asked_again(pauses: list[float]) -> None:
    client, asked = client_of(httpx.Response(503, json=PROBLEM))
    with client, pytest.raises(ClientError):
        client.predict(b"image")
    assert (pauses, len(asked)) == ([], 1)


def test_patience_ends_before_a_pause_that_is_too_long(pauses: list[float]) -> None:
    client, asked = client_of(busy("2"), busy("60"), patience_s=30)
    began_s = time.monotonic()
    with client, pytest.raises(ClientError) as caught:
        client.predict(b"image")
    assert (pauses, len(asked), caught.value.retry_after_s) == ([2.0], 2, 60.0)
    assert time.monotonic() - began_s < 10


def test_a_problem_becomes_an_error_with_its_fields() -> None:
    client, _ = client_of(httpx.Response(422, json=PROBLEM | {"status": 422}))
    with client, pytest.raises(ClientError, match="61 images wait already") as caught:
        client.predict(b"image")
    assert caught.value.status == 422
    assert caught.value.problem is not None
    assert (caught.value.problem.title, caught.value.problem.instance) == ("Overloaded", "r7")


def test_words_of_a_proxy_are_no_problem_of_the_service() -> None:
    client, _ = client_of(httpx.Response(502, text="<html>Bad Gateway"))
    with client, pytest.raises(ClientError, match="the answer is 502 Bad Gateway") as caught:
        client.model()
    assert (caught.value.status, caught.value.problem) == (502, None)


@pytest.mark.parametrize(
    "ask", [lambda one: one.predict(b"x"), lambda one: one.ready(), lambda one: one.model()]
)
def test_a_service_that_is_not_there_is_an_error_that_names_it(ask: Callable[[Client], Any]) -> None:
    client, _ = client_of(httpx.ConnectError("refused"))
    with client, pytest.raises(ClientError, match=r"http://service\.test/.*is the service running") as caught:
        ask(client)
    assert caught.value.status == 0


def test_wishes_become_the_query_and_the_key_a_header(tmp_path: Path) -> None:
    path = tmp_path / "tëil 1.png"
    path.write_bytes(b"content")
    client, asked = client_of(httpx.Response(400, json=PROBLEM), key="secret")
    with client, pytest.raises(ClientError):
        client.predict(path, recipe="in", mm_per_px=0.05, mask="rle", weights=(1, 0.5), min_area_px=7)
    assert dict(asked[0].url.params) == {
        "recipe": "in", "mm_per_px": "0.05", "mask": "rle", "weights": "1,0.5", "min_area_px": "7",
    }  # fmt: skip
    assert asked[0].headers["Authorization"] == "Bearer secret"
    assert b"content" in asked[0].content


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False)])
def test_ready_says_yes_or_no(status: int, ready: bool) -> None:
    client, _ = client_of(httpx.Response(status, json={}))
    with client:
        assert client.ready() is ready


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ('{"done": true, "images": 1, "errors": 1}\n', None),
        ('{"done": false, "images": 1, "errors": 1}\n', "archive breaks off"),
        ("", "the answer to the batch broke off"),
    ],
)
def test_a_batch_ends_properly_or_in_an_error(tmp_path: Path, end: str, error: str | None) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    client, _ = client_of(httpx.Response(200, text=f"{LINE}\n{end}"))
    with client:
        results = client.predict_batch([tmp_path / "a.png"])
        assert next(results).name == "a.png"
        if error is None:
            assert list(results) == []
        else:
            with pytest.raises(ClientError, match=error):
                next(results)


@pytest.mark.anyio
async def test_the_client_for_event_loops_does_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    end = '{"done": true, "images": 1, "errors": 1}\n'
    left = [busy("0"), httpx.Response(200, text=f"{LINE}\n{end}"), httpx.Response(422, json=PROBLEM), busy()]
    transport = httpx.MockTransport(lambda _: left.pop(0))
    async with AsyncClient(URL, transport=transport, patience_s=1) as client:
        assert [result.name async for result in client.predict_batch([tmp_path / "a.png"])] == ["a.png"]
        with pytest.raises(ClientError, match="61 images"):
            await client.predict(tmp_path / "a.png")
        assert await client.ready() is False


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
