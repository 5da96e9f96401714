"""The model at work: what the event loop sends is judged by one thread, in batches, from a bounded waiting room.

A new model is opened and tested beside the old one and takes over between two batches, so that no request is lost, and
none is answered by a model that failed its self-test. The old one stands by while the new one judges its first images.
The rooms: `app.waiting_room`, `app.worker`, `app.loaded_model`.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import NotReady, TimedOut
from app.loaded_model import LoadedModel, ModelFacts, Probation, refusal, why
from app.model_source import NoModelYet, Offer
from app.waiting_room import Depth, Ticket, WaitingRoom
from app.worker import BatchFacts, FallBack, Judged, Worker
from model.contract import Decision
from model.predictor import GoldenError

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineLimits:
    """How much the engine takes on; the fields of `app.settings.Settings` of the same names tell each."""

    batch_pixels: int = 4_000_000
    batch_wait_ms: float = 5.0
    waiting_pixels: int = 64_000_000
    max_wait_s: float = 10.0
    request_timeout_s: float = 30.0
    probation_images: int = 0
    probation_s: float = 0.0


@dataclass(frozen=True)
class Readiness:
    """Whether the engine judges; if not, why. `provider` is what runs the model, None before one is loaded."""

    ready: bool
    reason: str
    provider: str | None


def timed_out(timeout_s: float) -> TimedOut:
    """What is said to who waited for so long."""
    return TimedOut(f"no answer within {timeout_s:g} s; send the image again, or a smaller one")


def _ignore(_: object) -> None:
    """For who wants to hear of nothing."""


class Engine:
    """A model that many requests share. Its methods belong to one event loop, but for `enter` and `leave`.

    Args:
        load: loads the model (`app.loaded_model.load_model`); called in a thread, at the start and at each reload. Its
            errors are shown to whoever asks for a reload: open bytes rather than a path that is nobody's business.
        limits: how much it takes on.
        on_batch: told of each batch, in the worker's thread.
        on_fall_back: told, in the worker's thread, when a new model failed at work and the old one judges again.
    """

    def __init__(
        self,
        load: Callable[[], LoadedModel],
        *,
        limits: EngineLimits,
        on_batch: Callable[[BatchFacts], None] = _ignore,
        on_fall_back: Callable[[FallBack], None] = _ignore,
    ) -> None:
        self._load = load
        self._limits = limits
        self._timeout_s = limits.request_timeout_s
        self._room = WaitingRoom(waiting_pixels=limits.waiting_pixels, max_wait_s=limits.max_wait_s)
        self._worker = Worker(
            self._room,
            batch_pixels=limits.batch_pixels,
            batch_wait_s=limits.batch_wait_ms / 1000,
            on_batch=on_batch,
            on_fall_back=on_fall_back,
        )
        # Told only as long as there is none.
        self._why_no_model = "the model is not loaded yet"
        self._one_reload = asyncio.Lock()

    @property
    def model(self) -> ModelFacts:
        """The model that judges what comes now. Raises NotReady where there is none."""
        return self._ready().facts

    @property
    def offer(self) -> Offer | None:
        """Where the model that was put in last is from; None without one."""
        loaded = self._worker.loaded
        return None if loaded is None else loaded.facts.offer

    @property
    def timeout_s(self) -> float:
        """Seconds that a request is given where it does not say."""
        return self._timeout_s

    @property
    def depth(self) -> Depth:
        """What waits."""
        return self._room.depth

    def readiness(self) -> Readiness:
        """Whether there is a model that works and an image may come, however many wait."""
        loaded = self._worker.loaded
        reason = self._why_no_model if loaded is None else loaded.trouble
        if self._room.closed:
            reason = "the service is stopping"
        return Readiness(not reason, reason, provider=None if loaded is None else loaded.facts.provider)

    async def start(self) -> None:
        """Open the model, test it on the very device and warm it up.

        A failed self-test is no exception, nor that there is no model yet: the engine stays not ready, says why, and
        may be rescued by a reload.

        Raises:
            ArtifactError, DeviceError, OSError: as opening the model does.
        """
        try:
            self._use(await asyncio.to_thread(self._load))
        except (GoldenError, NoModelYet) as error:
            _log.error("not ready: %s", error)
            self._why_no_model = str(error)
        self._worker.start()

    async def stop(self, *, drain_s: float) -> None:
        """Take nothing new, finish what waits, end the worker; what is not begun after `drain_s` gets NotReady."""
        self._room.close()
        await asyncio.to_thread(self._worker.join, drain_s)
        for ticket in self._room.clear():
            ticket.answer.set_exception(
                NotReady("the service stopped before it came to this image; send it again")
            )

    async def predict(
        self,
        image: NDArray[np.uint8],
        *,
        decision: Decision | None = None,
        want_probabilities: bool = False,
        timeout_s: float | None = None,
    ) -> Judged:
        """Judge one RGB image, uint8 [height, width, 3] of any size.

        Who is cancelled before his batch begins costs nothing. `timeout_s` None is that of the limits.

        Raises:
            NotReady: no model, or the service is stopping.
            Overloaded: too much waits.
            TimedOut: no answer in time.
            Unprocessable: the model cannot take this image or this decision.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        ticket = self.enter(
            image, decision=decision, want_probabilities=want_probabilities, timeout_s=timeout_s
        )
        try:
            async with asyncio.timeout(timeout_s):
                judged: Judged = await asyncio.wrap_future(ticket.answer)
        except TimeoutError:
            raise timed_out(timeout_s) from None
        finally:
            self.leave(ticket)
        return judged

    def enter(
        self,
        image: NDArray[np.uint8],
        *,
        decision: Decision | None = None,
        want_probabilities: bool = False,
        timeout_s: float | None = None,
    ) -> Ticket:
        """Have an image judged, without waiting: the ticket's `answer` will be a Judged. From any thread.

        Raises:
            NotReady, Overloaded: as `predict`.
        """
        self._ready()
        ticket = Ticket(image, decision=decision, want_probabilities=want_probabilities)
        self._room.enter(ticket, max_wait_s=self._timeout_s if timeout_s is None else timeout_s)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Want no answer any more; nothing happens where it is there, or being computed. From any thread."""
        ticket.answer.cancel()
        self._room.leave(ticket)

    def check_room(self, pixels: int) -> None:
        """Raise what `predict` would at once for an image of so many pixels: NotReady or Overloaded.

        For before an image is decoded, or even read: refusing must cost next to nothing.
        """
        self._ready()
        self._room.check(pixels, max_wait_s=self._timeout_s)

    async def reload(self, load: Callable[[], LoadedModel] | None = None) -> ModelFacts:
        """Put a new model in the place of the old one, between two batches; None loads as the last time.

        Raises:
            Unprocessable: it does not open, or failed its self-test; the old one stays.
            NotReady: the service is stopping.
        """
        async with self._one_reload:
            load = load or self._load
            try:
                loaded = await asyncio.to_thread(load)
            # Whatever a stranger's file makes the runtime raise, the old model stays.
            except Exception as error:
                _log.warning("the new model was refused", exc_info=error)
                self._why_no_model = why(error)
                raise refusal(error) from error
            if self._room.closed:
                raise NotReady("the service is stopping; the model was not replaced")
            self._load = load
            self._use(loaded)
            return loaded.facts

    def _ready(self) -> LoadedModel:
        """What is loaded, where it may be used."""
        loaded, readiness = self._worker.loaded, self.readiness()
        if loaded is None or not readiness.ready:
            raise NotReady(f"{readiness.reason}; ask again later")
        return loaded

    def _use(self, loaded: LoadedModel) -> None:
        old, limits = self._worker.loaded, self._limits
        if old is not None and not old.trouble and limits.probation_images:
            until_s = time.monotonic() + limits.probation_s
            loaded.probation = Probation(old, images=limits.probation_images, until_s=until_s)
            # One stands by, not all that ever were.
            old.probation = None
        self._worker.use(loaded)
        facts = loaded.facts
        _log.info("model %s (%s) on %s", facts.contract.name, facts.digest, facts.provider)
