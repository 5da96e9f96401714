"""Another model is noticed once; one that was refused is left alone until it changes."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.errors import Unprocessable
from app.model_source import Offer
from app.model_watch import watch_source
from model.store import StoreError

pytestmark = pytest.mark.anyio

LOOKS = 5


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Script:
    """A source that offers one mark after the other, then the last for ever; an error is raised instead."""

    def __init__(self, *marks: object) -> None:
        self.marks = list(marks)
        self.looks = 0

    def look(self) -> Offer:
        mark = self.marks[min(self.looks, len(self.marks) - 1)]
        self.looks += 1
        if isinstance(mark, Exception):
            raise mark
        return Offer(Path("model.onnx"), mark=mark)

    def stand_in(self, offer: Offer) -> None:
        raise AssertionError("not for whoever watches")

    def reject(self, offer: Offer, *, reason: str) -> None:
        raise AssertionError("not for whoever watches")


async def taken(script: Script, *, served: object, on_change: Callable[[], Awaitable[object]]) -> None:
    """Watch for some looks more than the script has."""
    offer = None if served is None else Offer(Path("model.onnx"), mark=served)
    watching = asyncio.create_task(
        watch_source(script, every_s=0.0, served=lambda: offer, on_change=on_change)
    )
    async with asyncio.timeout(30):
        while script.looks < len(script.marks) + LOOKS:
            assert not watching.done(), "it ended"
            await asyncio.sleep(0.001)
    watching.cancel()


@pytest.mark.parametrize(
    ("marks", "served", "times"),
    [
        pytest.param(["a"], "a", 0, id="what serves already"),
        pytest.param(["b"], "a", 1, id="promoted before the first look"),
        pytest.param(["a", "b", "b"], "a", 1, id="another one, once"),
        pytest.param(["a", "b", "a"], "a", 1, id="rolled back to what still serves"),
        pytest.param(["b", "a", "b"], "a", 2, id="promoted again"),
        pytest.param(["a", FileNotFoundError(), StoreError("damaged"), "b"], "a", 1, id="gone for a while"),
        pytest.param([StoreError("no champion"), "a"], None, 1, id="the first ever"),
    ],
)
async def test_a_change_is_noticed_once(marks: list[object], served: object, times: int) -> None:
    calls: list[None] = []

    async def refuse() -> None:
        calls.append(None)
        raise Unprocessable("no good")

    await taken(Script(*marks), served=served, on_change=refuse)
    assert len(calls) == times


async def test_what_could_not_be_read_is_tried_again() -> None:
    calls: list[None] = []

    async def stumble() -> None:
        calls.append(None)
        raise Unprocessable("no good") from OSError(5, "Input/output error")

    await taken(Script("b"), served="a", on_change=stumble)
    assert len(calls) >= LOOKS
