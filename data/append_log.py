"""A file of JSON lines that is only ever appended to: what happened, in order, for several processes and any crash.

A line is written and forced to disk in one go; a last line that a crash has cut off never happened, and the next
writer takes it away. Readers take no lock and need no right to write.
"""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import Any

from data.locks import exclusive_lock


class LogError(ValueError):
    """A log that was damaged by another hand; names the file and the line."""


class AppendLog:
    """The log in one file, which need not exist yet; its lock lies beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[dict[str, Any], ...]:
        """All whole lines, oldest first. Raises LogError for a line that is no JSON object."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return ()
        whole = content[: content.rfind(b"\n") + 1]
        return tuple(self._parse(line, number=at) for at, line in enumerate(whole.splitlines(), start=1))

    @contextmanager
    def writing(self, *, wait_s: float = 30.0) -> Iterator["Writer"]:
        """The right to append, held by nobody else: what is read inside is still true when something is appended.

        Raises:
            LockedError: somebody else held it for `wait_s` seconds. OSError: the folder cannot be written to.
        """
        lock = self._path.with_name(f"{self._path.name}.lock")
        # Unbuffered: a buffer would try once more, when it is closed, what a full disk has refused.
        with exclusive_lock(lock, wait_s=wait_s), self._path.open("a+b", buffering=0) as file:
            _cut_torn_line(file)
            yield Writer(file)

    def _parse(self, line: bytes, *, number: int) -> dict[str, Any]:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            raise LogError(
                f"{self._path}: line {number} is no JSON object; the file was edited or damaged: "
                "take it from a backup, or take the line out"
            )
        return entry


class Writer:
    """Appends to a log while its lock is held."""

    def __init__(self, file: RawIOBase) -> None:
        self._file = file

    def append(self, entry: dict[str, Any]) -> None:
        """One more line; on disk when this returns. Raises OSError on a full disk: then nothing happened."""
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(end)
            raise


def _cut_torn_line(file: RawIOBase) -> None:
    """Take away what stands behind the last line's end."""
    file.seek(0)
    content = file.read() or b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        file.truncate(whole)
