"""Stop working for a client who has gone away."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from fastapi import Request

_Result = TypeVar("_Result")


class ClientGone(Exception):
    """Nobody is there any more to whom an answer could be sent."""


async def unless_gone(request: Request, work: Coroutine[None, None, _Result]) -> _Result:
    """What `work` returns; it is cancelled when the client closes the connection. The body must have been read.

    Raises:
        ClientGone: the client did.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        task.cancel()
        watch.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
