"""The model at work: what the event loop sends is judged by one thread, in batches, from a bounded waiting room.

A new model is opened and tested beside the old one and takes over between two batches, so that no request is lost, and
none is answered by a model that failed its self-test. The rooms: `app.waiting_room`, `app.worker`, `app.loaded_model`.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import NotReady, TimedOut, Unprocessable
from app.loaded_model import LoadedModel, ModelFacts, load_model, why
from app.waiting_room import Depth, Ticket, WaitingRoom
from app.worker import BatchFacts, Judged, Worker
from model.contract import Decision
from model.predictor import GoldenError, Predictor

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineLimits:
    """How much the engine takes on; the fields of `app.settings.Settings` of the same names tell each."""

    batch_pixels: int = 4_000_000
    batch_wait_ms: float = 5.0
    waiting_pixels: int = 64_000_000
    max_wait_s: float = 10.0
    request_timeout_s: float = 30.0


@dataclass(frozen=True)
class Readiness:
    """Whether the engine judges; if not, why. `provider` is what runs the model, None before one is loaded."""

    ready: bool
    reason: str
    provider: str | None


def _ignore(_: BatchFacts) -> None:
    """For who wants to hear of no batch."""


class Engine:
    """A model that many requests share. Its methods belong to one event loop.

    Args:
        open_predictor: opens the model; called in a thread, at the start and at each reload. Its errors are shown to
            whoever asks for a reload: open bytes rather than a path that is nobody's business.
        limits: how much it takes on.
        on_batch: told of each batch, in the worker's thread.
    """

    def __init__(
        self,
        open_predictor: Callable[[], Predictor],
        *,
        limits: EngineLimits,
        on_batch: Callable[[BatchFacts], None] = _ignore,
    ) -> None:
        self._open_predictor = open_predictor
        self._timeout_s = limits.request_timeout_s
        self._room = WaitingRoom(waiting_pixels=limits.waiting_pixels, max_wait_s=limits.max_wait_s)
        self._worker = Worker(
            self._room,
            batch_pixels=limits.batch_pixels,
            batch_wait_s=limits.batch_wait_ms / 1000,
            on_batch=on_batch,
        )
        self._why_no_model = "the model is not loaded yet"
        self._one_reload = asyncio.Lock()

    @property
    def model(self) -> ModelFacts:
        """The model that judges what comes now. Raises NotReady where there is none."""
        return self._ready().facts

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

        A failed self-test is no exception: the engine stays not ready, says why, and may be rescued by a reload.

        Raises:
            ArtifactError, DeviceError, OSError: as opening the model does.
        """
        try:
            self._use(await asyncio.to_thread(load_model, self._open_predictor))
        except GoldenError as error:
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
        self._ready()
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        ticket = Ticket(image, decision=decision, want_probabilities=want_probabilities)
        self._room.enter(ticket, max_wait_s=timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                judged: Judged = await asyncio.wrap_future(ticket.answer)
        except TimeoutError:
            raise TimedOut(
                f"no answer within {timeout_s:g} s; send the image again, or a smaller one"
            ) from None
        finally:
            self._room.leave(ticket)
        return judged

    def check_room(self, pixels: int) -> None:
        """Raise what `predict` would at once for an image of so many pixels: NotReady or Overloaded.

        For before an image is decoded, or even read: refusing must cost next to nothing.
        """
        self._ready()
        self._room.check(pixels, max_wait_s=self._timeout_s)

    async def reload(self, open_predictor: Callable[[], Predictor] | None = None) -> ModelFacts:
        """Put a new model in the place of the old one, between two batches; None opens the same place again.

        Raises:
            Unprocessable: it does not open, or failed its self-test; the old one stays.
            NotReady: the service is stopping.
        """
        async with self._one_reload:
            open_predictor = open_predictor or self._open_predictor
            try:
                loaded = await asyncio.to_thread(load_model, open_predictor)
            # Whatever a stranger's file makes the runtime raise, the old model stays.
            except Exception as error:
                _log.warning("the new model was refused", exc_info=error)
                raise Unprocessable(f"the new model was refused, the old one stays: {why(error)}") from error
            if self._room.closed:
                raise NotReady("the service is stopping; the model was not replaced")
            self._open_predictor = open_predictor
            self._use(loaded)
            return loaded.facts

    def _ready(self) -> LoadedModel:
        """What is loaded, where it may be used."""
        loaded, readiness = self._worker.loaded, self.readiness()
        if loaded is None or not readiness.ready:
            raise NotReady(f"{readiness.reason}; ask again later")
        return loaded

    def _use(self, loaded: LoadedModel) -> None:
        self._worker.loaded = loaded
        self._room.note_speed(loaded.warm_pixels, busy_s=loaded.warm_s, afresh=True)
        facts = loaded.facts
        _log.info("model %s (%s) on %s", facts.contract.name, facts.digest, facts.provider)
