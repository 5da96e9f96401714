"""A model that was opened, passed its self-test on the very device that will judge, and is warm."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.errors import Unprocessable
from app.model_source import Offer
from model.contract import Contract
from model.predictor import Predictor

_GPU_WARM_UP: Final = 8 + 4 + 2 + 1
"""Tiles of the first call on a GPU: the predictor cuts them into one batch of each size that it ever uses."""

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ModelFacts:
    """Which model judges: its contract, its digest (sha256, hex), what really runs it, and where it is from."""

    contract: Contract
    digest: str
    provider: str
    offer: Offer | None = None

    @property
    def store_version(self) -> str | None:
        """Its label in the model store, such as v3; None for a file."""
        return None if self.offer is None or self.offer.version is None else self.offer.version.label


@dataclass(eq=False)
class Probation:
    """A new model's first images, during which the old one stands by.

    Attributes:
        old: what judged before.
        images: how many the new one has still to judge.
        until_s: not over before that, on the clock of `time.monotonic`.
    """

    old: "LoadedModel"
    images: int
    until_s: float


@dataclass(eq=False)
class LoadedModel:
    """A predictor and what is known of it.

    Attributes:
        predictor: for one thread at a time.
        facts: what the outside may know.
        warm_pixels, warm_s: pixels of the last warm-up call, and the seconds it took.
        trouble: why it must not be used any more; empty as long as it may.
        probation: of a new model; None when it is over, and the old one is let go of.
    """

    predictor: Predictor
    facts: ModelFacts
    warm_pixels: int
    warm_s: float
    trouble: str = ""
    probation: Probation | None = None

    @property
    def is_gpu(self) -> bool:
        """Whether images in one batch cost less than one after the other."""
        return self.predictor.is_gpu

    @property
    def old(self) -> "LoadedModel | None":
        """What can still judge in its place: the model before it, while it is on probation."""
        probation = self.probation
        return None if probation is None or probation.old.trouble else probation.old

    def count(self, images: int) -> None:
        """So many more were judged without fault."""
        probation = self.probation
        if probation is not None:
            probation.images -= images
            if probation.images <= 0 and time.monotonic() >= probation.until_s:
                self.probation = None

    def test_again(self) -> str:
        """What its self-test says against it at work, after an error that no image explains; empty: nothing."""
        try:
            self.predictor.check_golden()
        except Exception as error:  # a device in trouble raises whatever it likes
            _log.exception("the self-test failed at work")
            return f"the model failed its self-test at work: {why(error)}"
        return ""


def load_model(open_predictor: Callable[[], Predictor], *, offer: Offer | None = None) -> LoadedModel:
    """Open a model, let it judge its golden sample, and warm it up on tiles; takes seconds, so call it in a thread.

    `offer`: where it is from.

    Raises:
        ArtifactError, DeviceError, OSError: as opening it does.
        GoldenError: it does not say of its golden sample what it said when it was written.
    """
    predictor = open_predictor()
    predictor.check_golden()
    facts = ModelFacts(predictor.contract, predictor.digest, predictor.provider, offer)
    tile_px = facts.contract.tile_px
    tiles = [np.zeros((tile_px, tile_px, 3), np.uint8)] * (_GPU_WARM_UP if predictor.is_gpu else 1)
    warm_s = 0.0
    # The first call pays for memory and the choice of algorithms; the second tells the speed.
    for _ in range(2):
        began_s = time.perf_counter()
        predictor.predict_batch(tiles)
        warm_s = time.perf_counter() - began_s
    return LoadedModel(predictor, facts, warm_pixels=len(tiles) * tile_px**2, warm_s=warm_s)


def why(error: Exception) -> str:
    """An error of loading or running a model in words that may leave the house: no path, no library's internals."""
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"it failed at work ({type(error).__name__}); the log tells more"


def refusal(error: Exception) -> Unprocessable:
    """What whoever asked for a new model is told when it is no good."""
    return Unprocessable(f"the new model was refused, the old one stays: {why(error)}")
