"""Notice when another model should be served: a file that was replaced, a champion that was promoted."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from app.errors import ServiceError
from app.model_source import ModelSource, Offer

_log: Final = logging.getLogger(__name__)


async def watch_source(
    source: ModelSource,
    *,
    every_s: float,
    served: Callable[[], Offer | None],
    on_change: Callable[[], Awaitable[object]],
) -> None:
    """Look every so often, for ever, and call `on_change` when something else is offered than what is `served`.

    An offer that is refused is not tried again until it changes: a file seen half-written will change.
    """
    tried: object = None
    while True:
        await asyncio.sleep(every_s)
        offer = await asyncio.to_thread(_look, source)
        if offer is None or offer.mark == tried:
            continue
        tried, at_work = offer.mark, served()
        if at_work is not None and offer.mark == at_work.mark:
            continue
        try:
            await on_change()
        except ServiceError as refusal:
            _log.warning("%s", refusal.detail)
            if isinstance(refusal.__cause__, OSError):
                tried = None  # a disk that cannot be read may be back the next time


def _look(source: ModelSource) -> Offer | None:
    """What is offered; None while that cannot be seen."""
    try:
        return source.look()
    except (ValueError, OSError):
        return None
