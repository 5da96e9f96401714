"""Write a file piece by piece, whole or not at all: what `data.files` does, for content that outgrows memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
