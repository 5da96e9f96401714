"""The one thread that computes: it takes what waits, in batches, has the model judge it and answers each request."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.errors import Unprocessable
from app.loaded_model import LoadedModel, ModelFacts, why
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


@dataclass(frozen=True, eq=False)
class FallBack:
    """A new model that failed at work, the old one that judges again, and the reason."""

    failed: ModelFacts
    back: ModelFacts
    reason: str


class Worker:
    """Serves a waiting room until that is closed and empty.

    Args:
        room: where the tickets wait.
        batch_pixels: of one batch at most; a larger image goes alone.
        batch_wait_s: how long an image may be held up for the sake of others.
        on_batch: told of each batch, in this thread.
        on_fall_back: told of a new model that failed at work, in this thread.
    """

    def __init__(
        self,
        room: WaitingRoom,
        *,
        batch_pixels: int,
        batch_wait_s: float,
        on_batch: Callable[[BatchFacts], None],
        on_fall_back: Callable[[FallBack], None],
    ) -> None:
        self._room = room
        self._batch_pixels, self._batch_wait_s = batch_pixels, batch_wait_s
        self._on_batch, self._on_fall_back = on_batch, on_fall_back
        self._thread: threading.Thread | None = None
        self._loaded: LoadedModel | None = None
        self._changing = threading.Lock()

    @property
    def loaded(self) -> LoadedModel | None:
        """What judges the next batch."""
        return self._loaded

    def use(self, loaded: LoadedModel, *, instead_of: LoadedModel | None = None) -> bool:
        """Have a model judge from the next batch on; given `instead_of`, only where that one is at work still."""
        with self._changing:
            if instead_of is not None and self._loaded is not instead_of:
                return False
            self._loaded = loaded
        self._room.note_speed(loaded.warm_pixels, busy_s=loaded.warm_s, afresh=True)
        return True

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
            answers, facts = self._judge(batch, loaded=loaded)
        except Exception as error:  # foreign code: CUDA, OpenVINO, a graph that we did not write
            if len(batch) > 1:
                for ticket in batch:
                    self._answer([ticket], loaded=loaded)
            elif isinstance(error, ValueError):
                batch[0].answer.set_exception(Unprocessable(str(error)))
            else:
                self._find_fault(batch[0], loaded=loaded, error=error)
        else:
            for ticket, answer in zip(batch, answers, strict=True):
                ticket.answer.set_result(answer)
            loaded.count(facts.images)
            self._on_batch(facts)

    def _find_fault(self, ticket: Ticket, *, loaded: LoadedModel, error: Exception) -> None:
        """After an error that no image explains: the old model judges instead of a new one, where it can.

        If it can, the new one is at fault. If not, a device that was lost must not go on saying that it is ready.
        """
        old = loaded.old
        answer = None if old is None else self._judge_again(ticket, by=old)
        if old is not None and answer is not None:
            _log.warning("an error that the image does not explain", exc_info=error)
            reason = f"it failed at one of its first images, which the model before it judged: {why(error)}"
            self._fall_back(loaded, old=old, reason=reason)
            # Not before: who has his answer and asks which model there is must hear of the one that gave it.
            ticket.answer.set_result(answer)
            return
        ticket.answer.set_exception(error)
        trouble = loaded.test_again()
        if not trouble:
            return
        if old is not None and not old.test_again():
            self._fall_back(loaded, old=old, reason=trouble)
        else:
            loaded.trouble = trouble

    def _judge_again(self, ticket: Ticket, *, by: LoadedModel) -> Judged | None:
        """What another model says; None where it fails, too."""
        try:
            (answer,), facts = self._judge([ticket], loaded=by)
        except Exception:  # as foreign as the one that brought us here
            return None
        self._on_batch(facts)
        return answer

    def _fall_back(self, loaded: LoadedModel, *, old: LoadedModel, reason: str) -> None:
        was_at_work = self.use(old, instead_of=loaded)
        # Not before the old one is there: who asks in between would find nothing ready.
        loaded.trouble = reason
        if was_at_work:
            _log.error("the model before %s is back: %s", loaded.facts.contract.name, reason)
            self._on_fall_back(FallBack(loaded.facts, old.facts, reason))

    def _judge(self, batch: list[Ticket], *, loaded: LoadedModel) -> tuple[list[Judged], BatchFacts]:
        began_s = time.perf_counter()
        predictions = loaded.predictor.predict_batch(
            [ticket.image for ticket in batch],
            decision=batch[0].decision,
            want_probabilities=batch[0].want_probabilities,
        )
        busy_s = time.perf_counter() - began_s
        pixels = sum(ticket.pixels for ticket in batch)
        self._room.note_speed(pixels, busy_s=busy_s)
        answers = [
            Judged(
                prediction,
                loaded.facts,
                queue_ms=1000 * (began_s - ticket.entered_s),
                inference_ms=1000 * busy_s,
            )
            for ticket, prediction in zip(batch, predictions, strict=True)
        ]
        return answers, BatchFacts(images=len(batch), pixels=pixels, inference_ms=1000 * busy_s)
