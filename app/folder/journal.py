"""The journal of an inspection: one line per image, written when all its files are; every table is made from it.

A process may be killed at any moment. What stands in the journal is done; a last line that was cut off is dropped, and
its image is inspected again. A later line about the same image counts instead of an earlier one.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from app.folder.inspection import Inspection, Verdict
from app.folder.sources import ImageFile
from data.locks import try_lock

FOLDER: Final = ".segnet"
_FILE: Final = "journal.jsonl"


class JournalError(ValueError):
    """An output folder that belongs to another inspection, or that another process writes to."""


class Header(BaseModel):
    """First line of a journal: what decides its rows. Rows of two models or recipes never share a table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    model_sha256: str
    recipe_sha256: str
    source: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a row stands in the file, and what it says of its image file."""

    offset: int
    stamp: tuple[int, int]
    was_read: bool
    stem: str | None
    verdict: Verdict


@dataclass
class Journal:
    """An open journal: a sequence of inspections by key that is read from disk row by row, as often as asked.

    Use `open_journal`; in a `with` block it holds the lock of its folder.
    """

    path: Path
    header: Header
    _file: BinaryIO
    _places: dict[str, _Place] = field(default_factory=dict)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Inspection]:
        """The newest row of every image, by key."""
        with self.path.open("rb") as file:
            for _, place in sorted(self._places.items(), key=lambda item: item[0]):
                yield _read_row(file, place)

    def is_done(self, file: ImageFile) -> bool:
        """Whether this very file, with this stamp, was read and has its row."""
        place = self._places.get(file.key)
        return place is not None and place.was_read and place.stamp == file.stamp

    def get(self, key: str) -> Inspection | None:
        """The newest row of an image; None when it has none."""
        place = self._places.get(key)
        if place is None:
            return None
        with self.path.open("rb") as file:
            return _read_row(file, place)

    @property
    def size_bytes(self) -> int:
        """Length of the file: grows with every row."""
        return self._file.tell()

    def stems(self) -> dict[str, str]:
        """Key → the name that its mask has, without `.png`; images without a mask are left out."""
        return {key: place.stem for key, place in self._places.items() if place.stem is not None}

    def verdicts(self) -> Counter[Verdict]:
        """How many images have which verdict."""
        return Counter(place.verdict for place in self._places.values())

    def add(self, inspection: Inspection) -> None:
        """Append a row. Raises OSError when it cannot be written; the rows before it stay."""
        offset = self._file.tell()
        try:
            self._file.write(inspection.to_line() + b"\n")
            self._file.flush()
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(offset)
            raise
        self._note(inspection, offset=offset)

    def _note(self, inspection: Inspection, *, offset: int) -> None:
        self._places[inspection.key] = _Place(
            offset,
            (inspection.size_bytes, inspection.mtime_ns),
            bool(inspection.sha256),
            stem_of(inspection.mask),
            inspection.verdict,
        )


def stem_of(mask: str | None) -> str | None:
    """`masks/a/b.png` → `a/b`."""
    return None if mask is None else mask.split("/", 1)[1].removesuffix(".png")


def open_journal(out: Path, *, header: Header) -> Journal:
    """Begin the journal of an output folder, or go on with it when it was begun with the same model and recipe.

    Raises:
        JournalError: it was begun with others, is damaged, or another process is writing to it.
        OSError: the folder cannot be written.
    """
    path = out / FOLDER / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+b")
    try:
        _lock(file, out=out)
        file.seek(0)
        first = file.readline()
        if not first.endswith(b"\n"):
            file.truncate(0)
            file.write(header.model_dump_json().encode() + b"\n")
            file.flush()
            return Journal(path, header, file)
        begun = _read_header(first, path=path)
        _refuse_other(begun, header, out=out)
        journal = Journal(path, begun, file)
        _read_rows(journal, file)
        return journal
    except BaseException:
        file.close()
        raise


def set_aside(out: Path) -> None:
    """Begin anew: what the folder's journal holds is kept under another name, and no longer counts."""
    path = out / FOLDER / _FILE
    if path.exists():
        moment = datetime.now().strftime("%Y%m%dT%H%M%S")
        path.rename(path.with_name(f"journal-{moment}-{os.getpid()}.jsonl"))


def _read_row(file: BinaryIO, place: _Place) -> Inspection:
    file.seek(place.offset)
    return Inspection.from_line(file.readline())


def _read_rows(journal: Journal, file: BinaryIO) -> None:
    """Note every whole row, and cut off a last one that is not whole."""
    while True:
        offset = file.tell()
        line = file.readline()
        if not line:
            return
        if not line.endswith(b"\n"):
            file.truncate(offset)
            return
        try:
            journal._note(Inspection.from_line(line), offset=offset)
        except ValueError as error:
            raise JournalError(
                f"{journal.path}: the row at byte {offset} is damaged ({error}); delete that line to have its image "
                "inspected again, or give another --out"
            ) from error


def _read_header(line: bytes, *, path: Path) -> Header:
    try:
        return Header.model_validate_json(line)
    except ValidationError as error:
        raise JournalError(
            f"{path}: no journal of an inspection that this version reads; give another --out"
        ) from error


def _refuse_other(begun: Header, now: Header, *, out: Path) -> None:
    for what, old, new in (
        ("model", begun.model_sha256, now.model_sha256),
        ("recipe", begun.recipe_sha256, now.recipe_sha256),
        ("source", begun.source, now.source),
    ):
        if old != new:
            raise JournalError(
                f"{out}: holds an inspection with another {what} ({old[:60]}, now {new[:60]}); give another --out, or "
                "--restart to inspect everything anew"
            )


def _lock(file: BinaryIO, *, out: Path) -> None:
    if not try_lock(file.fileno()):
        raise JournalError(
            f"{out}: another `segnet inspect` is writing there; wait for it, or give another --out"
        )
