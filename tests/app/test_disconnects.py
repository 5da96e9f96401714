"""Work for a client who has gone stops; all other work is done."""

import asyncio
from typing import Any

import pytest
from fastapi import Request

from app.disconnects import ClientGone, unless_gone

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def request_of(gone: asyncio.Event) -> Request:
    """Of a client who goes when the event is set."""

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http"}, receive)


async def test_work_is_cancelled_when_the_client_goes() -> None:
    gone, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        gone.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(ClientGone):
        await unless_gone(request_of(gone), work())
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_client_who_stays_gets_what_comes_of_it() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    before = asyncio.all_tasks()
    assert await unless_gone(request_of(asyncio.Event()), work()) == 7
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_an_error_of_the_work_is_raised() -> None:
    async def work() -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        await unless_gone(request_of(asyncio.Event()), work())
