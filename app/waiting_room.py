"""Where requests wait for the one thread that computes: bounded in pixels, first come, first served.

The event loop lets them in and out, the worker takes them in batches; a lock that is never held for long stands
between the two. Nothing here computes, so all of it can be tested without a model.
"""

import math
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.errors import NotReady, Overloaded
from app.flood import Flood
from model.contract import Decision

_MEMORY: Final = 0.8
"""Weight of what was measured before, against one new batch."""
_FLOOD_TIMES, _FLOOD_S = 1.5, 0.02
"""In a flood nobody waits for longer than so many times what he or the last batch takes, or so long."""


@dataclass(frozen=True, eq=False)
class Ticket:
    """One image that waits for its answer.

    Attributes:
        image: RGB, uint8 [height, width, 3].
        decision: in place of the model's own, or None.
        want_probabilities: whether they are computed too.
        answer: the worker's promise; who cancels it before it runs has left.
        entered_s: on the clock of `time.perf_counter`.
    """

    image: NDArray[np.uint8]
    decision: Decision | None = None
    want_probabilities: bool = False
    answer: "Future[Any]" = field(default_factory=Future)
    entered_s: float = field(default_factory=time.perf_counter)

    @property
    def pixels(self) -> int:
        """Height x width."""
        height, width = self.image.shape[:2]
        return int(height * width)

    def goes_with(self, other: "Ticket") -> bool:
        """Whether one call of the model can serve both."""
        return self.want_probabilities == other.want_probabilities and self.decision == other.decision


@dataclass(frozen=True)
class Depth:
    """What waits, without what is being computed."""

    requests: int
    pixels: int


class WaitingRoom:
    """Tickets in the order they came.

    Args:
        waiting_pixels: how many may wait; an image larger than that is let in where nothing waits.
        max_wait_s: who would wait longer, by the speed so far, is refused at once. In a flood that is 1.5 times what
            an image takes, and who has waited longer than that is sent away.
    """

    def __init__(self, *, waiting_pixels: int, max_wait_s: float) -> None:
        self._waiting_pixels, self._max_wait_s = waiting_pixels, max_wait_s
        self._line: deque[Ticket] = deque()
        self._line_px = 0
        self._running_px, self._last_px, self._last_images = 0, 0, 0
        self._flood = Flood()
        self._speed_px, self._speed_s = 0.0, 0.0
        self._closed = False
        self._changed = threading.Condition()

    @property
    def depth(self) -> Depth:
        """What waits now."""
        with self._changed:
            return Depth(requests=len(self._line), pixels=self._line_px)

    @property
    def px_per_s(self) -> float:
        """Pixels computed per second of late; 0 before the first measurement."""
        return self._speed_px / self._speed_s if self._speed_s else 0.0

    @property
    def closed(self) -> bool:
        """Whether nobody is let in any more."""
        return self._closed

    def check(self, pixels: int, *, max_wait_s: float | None = None) -> None:
        """Raise what `enter` would for an image of so many pixels, who waits at most `max_wait_s`. Once a request.

        Raises:
            NotReady: the room is closed.
            Overloaded: too much waits; its Retry-After is when there should be room, by the speed so far.
        """
        with self._changed:
            self._flood.note_came(now_s=time.perf_counter())
            self._check(pixels, max_wait_s=max_wait_s)

    def enter(self, ticket: Ticket, *, max_wait_s: float | None = None) -> None:
        """Take a place at the end of the line, or raise as `check` does."""
        with self._changed:
            self._check(ticket.pixels, max_wait_s=max_wait_s)
            self._line.append(ticket)
            self._line_px += ticket.pixels
            self._changed.notify()

    def leave(self, ticket: Ticket) -> None:
        """Give up a place; nothing happens where the ticket was taken already."""
        with self._changed:
            if ticket in self._line:
                self._line.remove(ticket)
                self._line_px -= ticket.pixels

    def wait(self) -> bool:
        """Block until a ticket waits (True), or the room is closed and empty (False). For the worker."""
        with self._changed:
            self._changed.wait_for(lambda: self._line or self._closed)
            return bool(self._line)

    def take(self, *, budget_px: int, gather_s: float) -> list[Ticket]:
        """The first ticket and those that go with it, up to `budget_px`; empty where all have left meanwhile.

        Until the first has waited for `gather_s`, more may come. Whoever does not go with the first keeps his place
        before all that came later, so that nobody is passed over twice.
        """
        self._send_away()
        with self._changed:
            self._gather(budget_px, gather_s=gather_s)
            batch, passed_over = list[Ticket](), list[Ticket]()
            batch_px = 0
            while self._line:
                ticket = self._line[0]
                if batch and batch_px + ticket.pixels > budget_px:
                    break
                self._line.popleft()
                if batch and not ticket.goes_with(batch[0]):
                    passed_over.append(ticket)
                    continue
                self._line_px -= ticket.pixels
                if ticket.answer.set_running_or_notify_cancel():
                    batch.append(ticket)
                    batch_px += ticket.pixels
            self._line.extendleft(reversed(passed_over))
            self._running_px = self._last_px = batch_px
            self._last_images = len(batch)
            return batch

    def finish(self) -> None:
        """What was taken last is done."""
        with self._changed:
            self._running_px = 0
            if self._last_images:
                self._flood.note_went(self._last_images, now_s=time.perf_counter())

    def note_speed(self, pixels: int, *, busy_s: float, afresh: bool = False) -> None:
        """Learn from a measurement; `afresh`: forget those before, since another model computes now."""
        with self._changed:
            memory = 0.0 if afresh else _MEMORY
            self._speed_px = memory * self._speed_px + pixels
            self._speed_s = memory * self._speed_s + busy_s

    def close(self) -> None:
        """Let nobody in any more; who waits is still served."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def clear(self) -> list[Ticket]:
        """Send everybody away; returns those who still want an answer."""
        with self._changed:
            left = [ticket for ticket in self._line if ticket.answer.set_running_or_notify_cancel()]
            self._line.clear()
            self._line_px = 0
            return left

    def _check(self, pixels: int, *, max_wait_s: float | None) -> None:
        if self._closed:
            raise NotReady("the service is stopping; ask again once it has started anew")
        max_wait_s = self._patience_s(pixels, most_s=max_wait_s)
        # Of two reasons to refuse, the one that lasts longer tells when to come again.
        too_many_px = self._line_px + pixels - self._waiting_pixels if self._line else 0
        too_late_px = self._line_px + self._running_px - max_wait_s * self.px_per_s if self.px_per_s else 0
        too_much_px = max(too_many_px, too_late_px)
        if too_much_px > 0:
            raise self._refusal(too_much_px)

    def _patience_s(self, pixels: int, *, most_s: float | None = None) -> float:
        """Seconds that somebody with so many pixels may have to wait."""
        most_s = self._max_wait_s if most_s is None else min(most_s, self._max_wait_s)
        if not (self._flood.is_on and self.px_per_s):
            return most_s
        return min(most_s, max(_FLOOD_S, _FLOOD_TIMES * max(pixels, self._last_px) / self.px_per_s))

    def _refusal(self, too_much_px: float) -> Overloaded:
        retry_after_s = max(1, math.ceil(too_much_px / self.px_per_s)) if self.px_per_s else 1
        return Overloaded(
            f"{len(self._line)} images of {self._line_px / 1e6:.1f} megapixels wait already, "
            f"as much as the service can bear; come again in {retry_after_s} s",
            retry_after_s=retry_after_s,
        )

    def _send_away(self) -> None:
        """In a flood, those whose answers would come too late; the last one stays, so that somebody is served."""
        late = list[Ticket]()
        with self._changed:
            while self._flood.is_on and len(self._line) > 1:
                first = self._line[0]
                if time.perf_counter() - first.entered_s <= self._patience_s(first.pixels):
                    break
                late.append(self._line.popleft())
                self._line_px -= first.pixels
            refusals = [self._refusal(self._line_px) for _ in late]
        for ticket, refusal in zip(late, refusals, strict=True):
            if ticket.answer.set_running_or_notify_cancel():
                ticket.answer.set_exception(refusal)

    def _gather(self, budget_px: int, *, gather_s: float) -> None:
        """Hold on until a batch is full, its first ticket has waited long enough, or the room closes."""
        while self._line and self._line_px < budget_px and not self._closed:
            rest_s = self._line[0].entered_s + gather_s - time.perf_counter()
            if rest_s <= 0:
                return
            self._changed.wait(rest_s)
