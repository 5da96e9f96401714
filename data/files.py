"""Write a file whole or not at all: a full disk or a power cut must never cost what was there before."""

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> Path:
    """Write `content` beside `path`, force it to disk, then rename it onto `path`; returns `path`.

    Raises:
        OSError: no space, no right, no folder; what stood at `path` before is untouched, and nothing is left beside.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path
