"""Write a file whole or not at all: a full disk or a power cut must never cost what was there before."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes) -> Path:
    """Write `content` as the file `path`, and return `path`. Raises OSError as `open_atomically` does."""
    path = Path(path)
    with open_atomically(path) as file:
        file.write(content)
    return path


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, beside `path`; when all went well it is forced to disk and renamed onto `path`.

    Raises:
        OSError: no space, no right, no folder; what stood at `path` before is untouched, and nothing is left beside.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
