"""The one thread that computes: it takes what waits, in batches, has the model judge it and answers each request."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.errors import Unprocessable
from app.loaded_model import LoadedModel, ModelFacts
from app.waiting_room import Ticket, WaitingRoom
from model.predictor import Prediction

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Judged:
    """The answer to one image.

    Attributes:
        prediction: what the model says.
        model: the one that said it, whatever was loaded since.
        queue_ms: from entering the waiting room to the beginning of its batch.
        inference_ms: of the whole batch it was judged in.
    """

    prediction: Prediction
    model: ModelFacts
    queue_ms: float
    inference_ms: float


@dataclass(frozen=True)
class BatchFacts:
    """One batch that was judged: how many images, their pixels together, and how long it took."""

    images: int
    pixels: int
    inference_ms: float


class Worker:
    """Serves a waiting room until that is closed and empty.

    Args:
        room: where the tickets wait.
        batch_pixels: of one batch at most; a larger image goes alone.
        batch_wait_s: how long an image may be held up for the sake of others.
        on_batch: told of each batch, in this thread.
    """

    def __init__(
        self,
        room: WaitingRoom,
        *,
        batch_pixels: int,
        batch_wait_s: float,
        on_batch: Callable[[BatchFacts], None],
    ) -> None:
        self._room = room
        self._batch_pixels, self._batch_wait_s = batch_pixels, batch_wait_s
        self._on_batch = on_batch
        self._thread: threading.Thread | None = None
        self.loaded: LoadedModel | None = None
        """What judges the next batch; whoever puts another here has it used from the next one on."""

    def start(self) -> None:
        """Begin to serve. Once."""
        assert self._thread is None, "started twice"
        # A daemon: a batch that hangs in a driver must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the end, but no longer than that."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _work(self) -> None:
        while self._room.wait():
            self._serve_next()

    def _serve_next(self) -> None:
        """Take a batch and answer it. Its images, and a model replaced meanwhile, are let go of on return."""
        loaded = self.loaded
        assert loaded is not None, "nobody is let in without a model"
        budget_px, gather_s = self._batch_pixels, self._batch_wait_s
        if not loaded.is_gpu:
            # A batch saves no time here, so nobody waits for others to come, nor for much to be computed with his own.
            budget_px, gather_s = min(budget_px, int(self._batch_wait_s * self._room.px_per_s)), 0.0
        batch = self._room.take(budget_px=budget_px, gather_s=gather_s)
        try:
            if batch:
                self._answer(batch, loaded=loaded)
        except Exception as error:  # the edge of this thread: nobody may be left without an answer
            _log.exception("the engine stumbled, and goes on")
            for ticket in batch:
                if not ticket.answer.done():
                    ticket.answer.set_exception(error)
        finally:
            self._room.finish()

    def _answer(self, batch: list[Ticket], *, loaded: LoadedModel) -> None:
        """Judge a batch; where it fails each image is judged alone, so that only the guilty one gets the error."""
        try:
            facts = self._judge(batch, loaded=loaded)
        except Exception as error:  # foreign code: CUDA, OpenVINO, a graph that we did not write
            if len(batch) > 1:
                for ticket in batch:
                    self._answer([ticket], loaded=loaded)
            elif isinstance(error, ValueError):
                batch[0].answer.set_exception(Unprocessable(str(error)))
            else:
                batch[0].answer.set_exception(error)
                loaded.test_again()
        else:
            self._on_batch(facts)

    def _judge(self, batch: list[Ticket], *, loaded: LoadedModel) -> BatchFacts:
        began_s = time.perf_counter()
        predictions = loaded.predictor.predict_batch(
            [ticket.image for ticket in batch],
            decision=batch[0].decision,
            want_probabilities=batch[0].want_probabilities,
        )
        busy_s = time.perf_counter() - began_s
        pixels = sum(ticket.pixels for ticket in batch)
        self._room.note_speed(pixels, busy_s=busy_s)
        for ticket, prediction in zip(batch, predictions, strict=True):
            queue_ms = 1000 * (began_s - ticket.entered_s)
            ticket.answer.set_result(Judged(prediction, loaded.facts, queue_ms, inference_ms=1000 * busy_s))
        return BatchFacts(images=len(batch), pixels=pixels, inference_ms=1000 * busy_s)
