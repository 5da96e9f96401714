"""A model that was opened, passed its self-test on the very device that will judge, and is warm."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from model.contract import Contract
from model.predictor import Predictor

_GPU_WARM_UP: Final = 8 + 4 + 2 + 1
"""Tiles of the first call on a GPU: the predictor cuts them into one batch of each size that it ever uses."""

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ModelFacts:
    """Which model judges: its contract, its digest (sha256, hex), and what really runs it."""

    contract: Contract
    digest: str
    provider: str


@dataclass(eq=False)
class LoadedModel:
    """A predictor and what is known of it.

    Attributes:
        predictor: for one thread at a time.
        facts: what the outside may know.
        warm_pixels, warm_s: pixels of the last warm-up call, and the seconds it took.
        trouble: why it must not be used any more; empty as long as it may.
    """

    predictor: Predictor
    facts: ModelFacts
    warm_pixels: int
    warm_s: float
    trouble: str = ""

    @property
    def is_gpu(self) -> bool:
        """Whether images in one batch cost less than one after the other."""
        return self.predictor.is_gpu

    def test_again(self) -> None:
        """After an error that no image explains: a device that was lost must not go on saying that it is ready."""
        try:
            self.predictor.check_golden()
        except Exception as error:  # a device in trouble raises whatever it likes
            _log.exception("not ready any more")
            self.trouble = f"the model failed its self-test at work: {why(error)}"


def load_model(open_predictor: Callable[[], Predictor]) -> LoadedModel:
    """Open a model, let it judge its golden sample, and warm it up on tiles; takes seconds, so call it in a thread.

    Raises:
        ArtifactError, DeviceError, OSError: as opening it does.
        GoldenError: it does not say of its golden sample what it said when it was written.
    """
    predictor = open_predictor()
    predictor.check_golden()
    facts = ModelFacts(predictor.contract, predictor.digest, predictor.provider)
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
