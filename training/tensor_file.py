"""Tensors in a file: written whole, checked for damage when read, and only ever data, never code."""

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from data.files import write_atomically

_DAMAGE: Final = (
    *(zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError),
    *(RuntimeError, EOFError, ValueError, OSError),
)


class TensorFileError(ValueError):
    """A file of tensors that cannot be read; says what is wrong with it."""


def pack(content: Mapping[str, Any]) -> bytes:
    """Tensors and plain values as the bytes of a file."""
    # Into memory: torch reports a full disk as a RuntimeError of its archive writer, Python as what it is.
    archive = io.BytesIO()
    torch.save(dict(content), archive)
    return archive.getvalue()


def unpack(archive: bytes) -> Any:
    """What `pack` was given, tensors on the CPU.

    Raises:
        TensorFileError: damaged, or not of `pack`; says which error told.
    """
    try:
        _check_sums(archive)
        return torch.load(io.BytesIO(archive), map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        raise TensorFileError(type(error).__name__) from error


def write_tensors(path: Path, content: Mapping[str, Any], *, kind: str) -> Path:
    """Write a file of this kind, whole or not at all. Raises OSError."""
    return write_atomically(path, pack({**content, "kind": kind}))


def read_tensors(path: Path, *, kind: str) -> dict[str, Any]:
    """What `write_tensors` was given.

    Raises:
        TensorFileError: not there, damaged, or of another kind.
    """
    try:
        content = unpack(path.read_bytes())
    except OSError as error:
        raise TensorFileError(f"{path}: cannot be read ({error.strerror}); expected the {kind}") from error
    except TensorFileError as error:
        raise TensorFileError(
            f"{path}: damaged, or no {kind} ({error}); take it from the run again"
        ) from error
    if not isinstance(content, dict) or content.pop("kind", None) != kind:
        raise TensorFileError(f"{path}: holds something else than the {kind}; name the right file")
    return content


def _check_sums(archive: bytes) -> None:
    """Raise zipfile.BadZipFile for a record that differs from what was written: torch.load would not notice."""
    with zipfile.ZipFile(io.BytesIO(archive)) as records:
        damaged = records.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)
