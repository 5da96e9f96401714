"""Long work shows where it is: a bar in a terminal, a line now and then in a log."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_log: Final = logging.getLogger(__name__)
_LINE_EVERY_S: Final = 30.0


class Meter:
    """Tells how far some work is; `advance` is cheap to call at every step."""

    def __init__(self, what: str, *, total: int, bar: Progress | None) -> None:
        self._what, self._total, self._done = what, total, 0
        self._bar = bar
        self._task = bar.add_task(what, total=total, note="") if bar else None
        self._started_s = self._told_s = time.monotonic()

    def advance(self, count: int = 1, *, note: str = "") -> None:
        """`count` more are done; `note` says how it is going, such as `loss 0.31 · 25 images/s`."""
        self._done += count
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, note=note)
            return
        now_s = time.monotonic()
        if now_s - self._told_s >= _LINE_EVERY_S:
            self._told_s = now_s
            left_s = (now_s - self._started_s) / self._done * (self._total - self._done)
            _log.info("%s %d/%d, %.0f s left  %s", self._what, self._done, self._total, left_s, note)


@contextmanager
def meter(what: str, *, total: int, quiet: bool = False) -> Iterator[Meter]:
    """A meter for `total` units of work; `quiet` for all but one of several processes."""
    if quiet or not sys.stderr.isatty():
        yield Meter(what, total=total, bar=None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Meter(what, total=total, bar=bar)
