"""Files by what is in them: written once, read-only, never changed; the same content is kept once."""

import hashlib
from pathlib import Path

from data.files import write_atomically
from data.manifest import DatasetError

_HASHED_AT_ONCE_BYTES = 1 << 20


class ObjectError(DatasetError):
    """A file of a store is missing, or is not what was put there; names it."""


class Objects:
    """Files below `root` as ab/SHA256SUFFIX, `ab` being the first two digits; one process writes at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, sha256: str, *, suffix: str) -> Path:
        """Where the file of this content is, or would be."""
        return self._root / sha256[:2] / f"{sha256}{suffix}"

    def put(self, content: bytes, *, suffix: str) -> str:
        """Keep `content`; returns its sha256 (hex). On disk when this returns.

        Raises:
            ObjectError: a file of this name has another size. OSError: it cannot be written.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.path(sha256, suffix=suffix)
        if path.exists():
            self.check_size(sha256, suffix=suffix, size_bytes=len(content))
            return sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content).chmod(0o444)
        return sha256

    def check_size(self, sha256: str, *, suffix: str, size_bytes: int) -> Path:
        """The file's path, when it is there and as large as it was. Raises ObjectError."""
        path = self.path(sha256, suffix=suffix)
        try:
            found_bytes = path.stat().st_size
        except FileNotFoundError as error:
            raise ObjectError(f"{path} is missing; take it from a backup") from error
        if found_bytes != size_bytes:
            raise ObjectError(f"{path} has {found_bytes} bytes, expected {size_bytes}; take it from a backup")
        return path

    def is_whole(self, sha256: str, *, suffix: str) -> bool:
        """Whether the file's bytes are still those that were put; reads all of them. Raises OSError."""
        found = hashlib.sha256()
        with self.path(sha256, suffix=suffix).open("rb") as file:
            while chunk := file.read(_HASHED_AT_ONCE_BYTES):
                found.update(chunk)
        return found.hexdigest() == sha256
