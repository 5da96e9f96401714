"""Notice when the model file is replaced on disk."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from app.errors import ServiceError

_log: Final = logging.getLogger(__name__)


async def watch_file(path: Path, *, every_s: float, on_change: Callable[[], Awaitable[object]]) -> None:
    """Look at a file every so often, for ever, and call `on_change` when it is another one, or was written to.

    A file that is refused is not tried again until it changes: one seen half-written will change.
    """
    known = _mark(path)
    while True:
        await asyncio.sleep(every_s)
        mark = await asyncio.to_thread(_mark, path)
        if mark is None or mark == known:
            continue
        known = mark
        try:
            await on_change()
        except ServiceError as refusal:
            _log.warning("%s", refusal.detail)


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file; None while there is none to be seen."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
