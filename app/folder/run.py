"""Inspect a folder: what is new is judged and noted row by row, then the tables and the report are made from all rows.

The journal alone says what is done (`app.folder.journal`), so a run that was killed goes on, and one that is finished
does nothing when it is started again.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Final

from app.folder.inspection import Inspection
from app.folder.inspector import MASKS, OVERLAYS, THUMBNAILS
from app.folder.journal import FOLDER, Journal
from app.folder.report import write_report
from app.folder.sources import ImageFile, Source
from app.folder.tables import Facts, write_coco, write_tables
from data.files import write_atomically
from model.contract import Contract
from model.recipe import Recipe

_REPORTED: Final = "reported"
_POLL_S: Final = 1.0
_REPORT_EVERY_S: Final = 30.0

Engine = Callable[[Iterable[ImageFile | None]], Iterator[Inspection]]
"""Files → rows; None among the files means that there is no more for now."""


class StrictError(ValueError):
    """An image that could not be judged, in a run that must not go on then."""


@dataclass(frozen=True)
class Folder:
    """An output folder at work: the journal it is made from, and what its tables say of the model and recipe."""

    out: Path
    journal: Journal
    contract: Contract
    recipe: Recipe
    provider: str
    wants_coco: bool = False

    def pending(self, files: Sequence[ImageFile]) -> list[ImageFile]:
        """The files that have no row yet, or changed since, or could not be read then."""
        return [file for file in files if not self.journal.is_done(file)]

    def run(
        self,
        files: Iterable[ImageFile | None],
        *,
        engine: Engine,
        strict: bool = False,
        on_row: Callable[[Inspection], None] = lambda row: None,
    ) -> int:
        """Inspect files and note their rows; returns how many rows are new.

        Raises:
            StrictError: `strict`, and an image could not be judged; it gets no row, and is tried again next time.
            OSError: the output folder cannot be written; the rows until then stay.
        """
        new = 0
        for row in engine(files):
            if strict and row.verdict == "ERROR":
                raise StrictError(f"{row.key}: {'; '.join(row.reasons)}; stopped there, as --strict asks")
            if row.sha256 or row != self.journal.get(row.key):
                self.journal.add(row)
                new += 1
            on_row(row)
        return new

    def remove_partial_files(self) -> None:
        """Delete what a killed process left half-written."""
        places = (self.out / place for place in (MASKS, OVERLAYS, THUMBNAILS))
        for path in (
            *self.out.glob(".*.part"),
            *(path for place in places for path in place.rglob(".*.part")),
        ):
            path.unlink(missing_ok=True)

    def is_reported(self) -> bool:
        """Whether the tables and the report tell of every row."""
        marker = self.out / FOLDER / _REPORTED
        return marker.exists() and marker.read_text() == self._state()

    def report(self, *, images_per_s: float | None) -> tuple[str, ...]:
        """Write the tables, the summary and the report anew; returns remarks for the person who asked.

        Raises:
            OSError: they cannot be written; those before stay.
        """
        class_map, mm_per_px = self.contract.classes, self.recipe.mm_per_px
        facts = Facts(
            model_name=self.contract.name,
            model_version=self.contract.version,
            model_sha256=self.journal.header.model_sha256,
            recipe_name=self.recipe.name,
            recipe_sha256=self.journal.header.recipe_sha256,
            provider=self.provider,
            started_at=self.journal.header.started_at,
            finished_at=datetime.now(UTC),
            images_per_s=images_per_s,
        )
        remarks = write_tables(self.out, self.journal, class_map=class_map, mm_per_px=mm_per_px, facts=facts)
        if self.wants_coco:
            write_coco(self.out, self.journal, class_map=class_map)
        write_report(
            self.out,
            self.journal,
            class_map=class_map,
            mm_per_px=mm_per_px,
            title=self.journal.header.source,
            facts=facts,
        )
        write_atomically(self.out / FOLDER / _REPORTED, self._state().encode())
        return remarks

    def report_now_and_then(self) -> Callable[[], None]:
        """What to call when there is nothing else to do: writes the report when rows are new, not too often."""
        told_s = time.monotonic() - _REPORT_EVERY_S

        def report() -> None:
            nonlocal told_s
            if time.monotonic() - told_s >= _REPORT_EVERY_S and not self.is_reported():
                self.report(images_per_s=None)
                told_s = time.monotonic()

        return report

    def _state(self) -> str:
        """What the tables are made from: another state, other tables."""
        return f"{self.journal.size_bytes} coco={self.wants_coco} {self.journal.header.model_dump_json()}"


def arrivals(
    source: Source,
    *,
    folder: Folder,
    settle_s: float,
    stop: Event,
    on_idle: Callable[[], None] = lambda: None,
) -> Iterator[ImageFile | None]:
    """Files as they arrive, each once and only when it has not changed for `settle_s`; None after each look around.

    Ends when `stop` is set. A file that changes after it was inspected arrives again.
    """
    waiting: dict[str, tuple[tuple[int, int], float]] = {}
    given: dict[str, tuple[int, int]] = {}
    old_ns = time.time_ns() - int(settle_s * 1e9)
    is_first = True
    while not stop.is_set():
        now_s = time.monotonic()
        for file in source.list_files():
            if folder.journal.is_done(file) or given.get(file.key) == file.stamp:
                waiting.pop(file.key, None)
                continue
            stamp, since_s = waiting.get(file.key, (None, now_s))
            is_old = is_first and 0 < file.mtime_ns < old_ns
            if not is_old and stamp != file.stamp:
                waiting[file.key] = file.stamp, now_s
            elif is_old or now_s - since_s >= settle_s:
                given[file.key] = file.stamp
                yield file
        is_first = False
        yield None
        on_idle()
        stop.wait(min(_POLL_S, settle_s))
