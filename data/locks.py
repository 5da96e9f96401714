"""One process at a time, and a word about who it is: a lock that ends with its process, however that ends."""

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

with contextlib.suppress(ImportError):  # Windows has none: there nobody holds two processes apart
    import fcntl

_LOOK_EVERY_S = 0.05


class LockedError(ValueError):
    """Somebody else holds the lock; says who, and since when."""


@contextlib.contextmanager
def exclusive_lock(path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of the file `path`, which is made and stays; waits up to `wait_s` seconds for it.

    It is the kernel's (flock), so a killed process never leaves one behind. Its text only tells people who holds it.

    Raises:
        LockedError: another process has it. OSError: the folder is missing or cannot be written to.
    """
    until_s = time.monotonic() + wait_s
    with path.open("a+", encoding="utf-8") as file:
        while not try_lock(file.fileno()):
            if time.monotonic() >= until_s:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise LockedError(f"{path} is held by {holder}; wait until it has ended, or end it")
            time.sleep(_LOOK_EVERY_S)
        file.truncate(0)
        file.write(
            f"process {os.getpid()} on {platform.node()} since {datetime.now(UTC).isoformat(timespec='seconds')}"
        )
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file, until it is closed; whether it was free."""
    if "fcntl" not in globals():
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
