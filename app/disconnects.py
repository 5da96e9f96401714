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
    task = asyncio.current_task()
    assert task is not None
    is_over = False

    def stop(watch: asyncio.Future[None]) -> None:
        if not (is_over or watch.cancelled()):
            task.cancel()

    # The work goes on in this very task: one of its own would cost more than all the rest of this.
    watch = asyncio.ensure_future(_until_gone(request))
    watch.add_done_callback(stop)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.done() and not task.uncancel():
            raise ClientGone from None
        raise
    finally:
        is_over = True
        watch.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
