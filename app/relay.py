"""One image, handed from thread to thread: decoded, judged, answered, and only then back to the event loop.

Were the loop woken between the stages only to pass the image on, that would cost more of its time than all the rest of
a request. Decoding and answering have threads of their own, two lots of them: who is nearly done must not wait behind
those who just came.
"""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Final

from app.engine import Engine, timed_out
from app.predictions import Decoded
from app.waiting_room import Ticket
from app.worker import Judged
from model.contract import Decision

_THREADS: Final = max(1, (os.cpu_count() or 1) // 2)
"""Of each kind, so that both together are as many as there are cores: more would fight for the interpreter's lock."""


class Relay:
    """The threads around an engine. They bound how many images are decoded at once, and with it their memory."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.decoding = ThreadPoolExecutor(_THREADS, "decode")
        self.finishing = ThreadPoolExecutor(_THREADS, "finish")

    async def run(
        self,
        decode: Callable[[], Decoded],
        *,
        decision: Decision | None,
        finish: Callable[[Decoded, Judged], bytes],
    ) -> bytes:
        """What `finish` makes of an image that `decode` gives; both are called in threads.

        Who is cancelled before his batch begins costs nothing more.

        Raises:
            NotReady, Overloaded, TimedOut, Unprocessable: as `Engine.predict`.
            Exception: what `decode` and `finish` raise.
        """
        run = _Run(self, decode, decision, finish)
        try:
            return await run.answer
        finally:
            run.give_up()

    def close(self) -> None:
        """Let the threads end."""
        self.decoding.shutdown(wait=False)
        self.finishing.shutdown(wait=False)


class _Run:
    """An image on its way, and the answer that the loop waits for."""

    def __init__(
        self,
        relay: Relay,
        decode: Callable[[], Decoded],
        decision: Decision | None,
        finish: Callable[[Decoded, Judged], bytes],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[bytes] = self._loop.create_future()
        self._relay, self._decode, self._decision, self._finish = relay, decode, decision, finish
        self._ticket: Ticket | None = None
        self._given_up = False
        self._timer = self._loop.call_later(relay.engine.timeout_s, self._look_at_clock)
        relay.decoding.submit(copy_context().run, self._begin)

    def give_up(self) -> None:
        """Nobody waits for the answer any more, or it is there."""
        self._given_up = True
        self._timer.cancel()
        if self._ticket is not None:
            self._relay.engine.leave(self._ticket)

    def _begin(self) -> None:
        """In a decoding thread."""
        if self._given_up:
            return
        try:
            decoded = self._decode()
            ticket = self._relay.engine.enter(decoded.image, decision=self._decision)
        except Exception as error:  # the edge of this thread
            self._end(error=error)
            return
        self._ticket = ticket
        if self._given_up:
            self._relay.engine.leave(ticket)
        context = copy_context()
        ticket.answer.add_done_callback(lambda answer: self._go_on(decoded, answer, context.run))

    def _go_on(self, decoded: Decoded, answer: "Future[Judged]", run: Callable[..., Any]) -> None:
        """In the engine's thread, which has images to judge; or where somebody gave up."""
        if not answer.cancelled():
            self._relay.finishing.submit(run, self._complete, decoded, answer)

    def _complete(self, decoded: Decoded, answer: "Future[Judged]") -> None:
        """In a finishing thread."""
        if self._given_up:
            return
        try:
            self._end(self._finish(decoded, answer.result()))
        except Exception as error:  # the edge of this thread
            self._end(error=error)

    def _end(self, answer: bytes = b"", *, error: Exception | None = None) -> None:
        self._loop.call_soon_threadsafe(self._settle, answer, error)

    def _settle(self, answer: bytes, error: Exception | None) -> None:
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(answer)
        else:
            self.answer.set_exception(error)

    def _look_at_clock(self) -> None:
        """Time is up, unless the image came to the engine later than the request to us."""
        ticket, timeout_s = self._ticket, self._relay.engine.timeout_s
        if ticket is not None and ticket.answer.done():
            return
        rest_s = timeout_s if ticket is None else ticket.entered_s + timeout_s - time.perf_counter()
        if rest_s > 0:
            self._timer = self._loop.call_later(rest_s, self._look_at_clock)
        else:
            self._settle(b"", timed_out(timeout_s))
