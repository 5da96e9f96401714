"""Load what a source offers, and tell the source of an offer that is no good."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.loaded_model import LoadedModel, load_model, why
from app.model_source import ModelSource, Offer
from model.predictor import Predictor
from model.recipe import RecipeError
from model.runtime import DeviceError

_NO_FAULT_OF_A_MODEL: Final = (DeviceError, RecipeError, OSError, MemoryError)
"""This machine or its settings stood in the way: no reason to take the model from everybody."""

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelLoader:
    """Opens models of one source. Its methods take seconds: call them in a thread.

    `open_predictor`: opens the bytes of a model file; bytes, so that no message tells a path.
    """

    source: ModelSource
    open_predictor: Callable[[bytes], Predictor]

    def load(self, offer: Offer) -> LoadedModel:
        """Open, test and warm up an offer. Raises whatever its file makes the runtime raise."""
        return load_model(lambda: self.open_predictor(offer.path.read_bytes()), offer=offer)

    def load_first(self) -> LoadedModel:
        """What to start with: what the source offers, or where that fails, its stand-in.

        Raises:
            NoModelYet: there is nothing so far.
            ArtifactError, GoldenError, DeviceError, RecipeError, OSError, ...: of the offer, when both fail.
        """
        offer = self.source.look()
        try:
            return self.load(offer)
        # Whatever a stranger's file makes the runtime raise, there may be a better one.
        except Exception as error:
            stand_in = self.source.stand_in(offer)
            if stand_in is None:
                raise
            _log.warning("%s failed at the start, trying %s", offer, stand_in, exc_info=error)
            try:
                loaded = self.load(stand_in)
            except Exception as another:
                # Two that fail are rather this machine's fault: nothing is rolled back.
                _log.warning("%s failed as well", stand_in, exc_info=another)
                raise error from None
            self.blame(offer, error)
            return loaded

    def blame(self, offer: Offer, error: BaseException | None) -> None:
        """Tell the source that an offer failed where another one works, if that is the offer's own fault."""
        if isinstance(error, Exception) and not isinstance(error, _NO_FAULT_OF_A_MODEL):
            self.source.reject(offer, reason=f"refused before it judged anything: {why(error)}")
