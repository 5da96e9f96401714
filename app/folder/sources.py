"""Which image files are to be inspected, and their bytes: a folder, a glob, a list or one file, here or at any URL.

fsspec reads them all, so a bucket is a folder like another (`s3://` needs s3fs, `gs://` gcsfs, and so on).
"""

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from data.manifest import IMAGE_SUFFIXES

#: Pictures by name that no one here decodes: they become rows that say so, not silently skipped files.
_OTHER_PICTURES: Final = (".avif", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".pgm", ".ppm", ".dng", ".raw")
_LISTS: Final = (".txt", ".lst")
_GLOB: Final = frozenset("*?[")
_READ_TRIES: Final = 3
_MOMENTS: Final = ("mtime", "LastModified", "last_modified", "updated", "created")


class SourceError(ValueError):
    """Nothing there to inspect, or it cannot be reached; the message says what came and what to do."""


class ChangedError(OSError):
    """A file was written to while it was read."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file to inspect: its path below the source with `/` (the key of its row), where it lies, and its stamp."""

    key: str
    path: str
    size_bytes: int
    mtime_ns: int

    @property
    def stamp(self) -> tuple[int, int]:
        """What changes when the file does: (size in bytes, time of the last change in ns; 0 where unknown)."""
        return self.size_bytes, self.mtime_ns


class FileSystem(Protocol):
    """What is used of fsspec."""

    def info(self, path: str) -> dict[str, Any]:
        """Size, type and time of one path; FileNotFoundError when there is none."""

    def find(self, path: str, *, detail: bool) -> dict[str, dict[str, Any]]:
        """Every file below a path."""

    def glob(self, path: str, *, detail: bool) -> dict[str, dict[str, Any]]:
        """Every path that a pattern fits."""

    def cat_file(self, path: str) -> bytes:
        """The bytes of one file."""


@dataclass(frozen=True)
class Source:
    """Where images come from; `list_files` may be asked again and again, as new ones arrive."""

    files: FileSystem
    root: str
    pattern: str | None = None
    listed: tuple[str, ...] | None = None
    skip_below: str | None = None
    """A folder that is none of the source, such as the output inside the inspected folder."""

    def list_files(self) -> list[ImageFile]:
        """Every image file there is now, by key. A listed file that is not there comes with size -1."""
        if self.listed is not None:
            found = {path: _info(self.files, path) for path in self.listed}
        elif self.pattern is not None:
            found = self.files.glob(self.pattern, detail=True)
        else:
            found = self.files.find(self.root, detail=True)
        return sorted(self._wanted(found), key=lambda file: file.key)

    def read(self, file: ImageFile) -> tuple[bytes, ImageFile]:
        """A file's bytes, and the file as it was when they were read.

        Raises:
            ChangedError: it was written to each time.
            OSError: it is gone, or cannot be read.
        """
        if not isinstance(self.files, LocalFileSystem):
            return self.files.cat_file(file.path), file  # a bucket shows an object whole or not at all
        for _ in range(_READ_TRIES):
            before = Path(file.path).stat()
            content = Path(file.path).read_bytes()
            after = Path(file.path).stat()
            if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
                return content, ImageFile(file.key, file.path, after.st_size, after.st_mtime_ns)
        raise ChangedError(
            f"it changed each of the {_READ_TRIES} times it was read; inspect it when it is whole"
        )

    def _wanted(self, found: dict[str, dict[str, Any]]) -> Iterator[ImageFile]:
        skip = None if self.skip_below is None else self.skip_below.rstrip("/") + "/"
        is_local = isinstance(self.files, LocalFileSystem)
        for path, info in found.items():
            if info.get("type") == "directory" or (skip and path.startswith(skip)):
                continue
            key = _printable(
                posixpath.relpath(path, self.root) if path != self.root else posixpath.basename(path)
            )
            if self.listed is None and not _looks_like_image(key):
                continue
            yield ImageFile(
                key, path, int(info.get("size") or 0), _mtime_ns(info, path=path, is_local=is_local)
            )


def open_source(source: str, *, skip_below: Path | None = None) -> Source:
    """What `source` names: a folder (with all below it), an image, a glob, a list of paths, or a URL of these.

    In folders hidden files are left out, and files whose extension is that of no picture; a file without extension
    is taken. Lines of a list (.txt, .lst) are paths relative to it; empty ones and those after # do not count.

    Raises:
        SourceError: nothing there, or the package for that kind of URL is missing.
    """
    try:
        files, path = fsspec.core.url_to_fs(source)
    except (ImportError, ValueError) as error:
        raise SourceError(f"{source}: {error}") from error
    skip = None if skip_below is None else str(skip_below.resolve())
    info = _info(files, path)
    if info["type"] == "directory":
        return Source(files, path, skip_below=skip)
    if info["type"] == "file" and posixpath.splitext(path)[1].lower() in _LISTS:
        listed = _read_list(files, path)
        return Source(files, posixpath.commonpath([posixpath.dirname(one) for one in listed]), listed=listed)
    if info["type"] == "file":
        return Source(files, posixpath.dirname(path), listed=(path,))
    if _GLOB & set(path):
        fixed = path[: min(path.index(sign) for sign in _GLOB & set(path))]
        return Source(files, posixpath.dirname(fixed), pattern=path, skip_below=skip)
    raise SourceError(f"{source}: there is no such folder, image, list or pattern; check the path")


def _read_list(files: FileSystem, path: str) -> tuple[str, ...]:
    try:
        lines = files.cat_file(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not UTF-8 ({error}); expected one path a line") from error
    named = (line.strip() for line in lines)
    folder = posixpath.dirname(path)
    listed = tuple(
        dict.fromkeys(
            posixpath.normpath(posixpath.join(folder, line))
            if "://" not in line
            else _path_at(files, line, path)
            for line in named
            if line and not line.startswith("#")
        )
    )
    if not listed:
        raise SourceError(f"{path}: a list without a line; expected one path a line")
    return listed


def _path_at(files: FileSystem, url: str, listed_in: str) -> str:
    other, path = fsspec.core.url_to_fs(url)
    if type(other) is not type(files):
        raise SourceError(
            f"{listed_in}: {url} lies elsewhere than the list; inspect each place by its own list"
        )
    return str(path)


def _info(files: FileSystem, path: str) -> dict[str, Any]:
    try:
        return files.info(path)
    except FileNotFoundError:
        return {"type": "missing", "size": -1}


def _looks_like_image(key: str) -> bool:
    if any(part.startswith(".") for part in key.split("/")):
        return False
    suffix = posixpath.splitext(key)[1].lower()
    return not suffix or suffix in IMAGE_SUFFIXES or suffix in _OTHER_PICTURES


def _mtime_ns(info: dict[str, Any], *, path: str, is_local: bool) -> int:
    """When the file was last changed, as far as its place knows; 0 where it does not."""
    if is_local:
        # fsspec rounds to a float; what `read` sees is exact.
        try:
            return Path(path).stat().st_mtime_ns
        except OSError:
            return 0
    moment = next((info[name] for name in _MOMENTS if info.get(name)), 0)
    if isinstance(moment, datetime):
        moment = moment.timestamp()
    return int(moment * 1e9) if isinstance(moment, int | float) else 0


def _printable(path: str) -> str:
    """A name that JSON and tables can carry: bytes that are no UTF-8 are shown as the mark for that."""
    return os.fsencode(path).decode("utf-8", "replace")
