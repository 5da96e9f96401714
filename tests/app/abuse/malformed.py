"""Uploads that no honest client sends. Each is made from a seed, so that a failure comes again."""

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

import numpy as np
from PIL import Image

ONE: Final = "/v1/predictions"
MANY: Final = "/v1/predictions/batch"

REFUSED: Final = frozenset(range(400, 500))
TAKEN: Final = frozenset({200})
EITHER: Final = REFUSED | TAKEN
"""Where the harm may have missed: a bit of the pixels themselves."""


@dataclass(frozen=True)
class Upload:
    """One request.

    Attributes:
        name: tells it in a failure.
        statuses: those that are right for it.
        is_refused_inside: an archive that is taken, all of whose files are refused.
    """

    name: str
    content: bytes
    statuses: frozenset[int] = REFUSED
    path: str = ONE
    headers: dict[str, str] = field(default_factory=dict)
    is_refused_inside: bool = False


Family = Callable[[], Iterator[Upload]]


def pixels(height: int = 40, width: int = 60) -> np.ndarray[Any, Any]:
    """Noise, uint8 [height, width, 3]: it does not compress, so that most bytes of a file are its pixels."""
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def image(format_name: str, **options: Any) -> bytes:
    """An honest image file."""
    file = BytesIO()
    Image.fromarray(pixels()).save(file, format_name, **options)
    return file.getvalue()


def cut(content: bytes) -> Iterator[tuple[int, bytes]]:
    """A file cut off at every per cent of its length."""
    return ((percent, content[: len(content) * percent // 100]) for percent in range(100))


def flipped(content: bytes, *, count: int, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Copies of a file with 1 to 8 bits flipped, between `begin` and `end`."""
    dice = random.Random(len(content))
    for _ in range(count):
        damaged = bytearray(content)
        for _ in range(dice.randint(1, 8)):
            damaged[dice.randrange(begin, end or len(content))] ^= 1 << dice.randrange(8)
        yield bytes(damaged)


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, *, packed: bytes = b"", extra: bytes = b"", depth: int = 8, kind: int = 2
) -> bytes:
    """A PNG that claims a size, whatever is in it."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), extra, chunk(b"IDAT", packed), chunk(b"IEND", b""))
    )


def zeros(size: int) -> bytes:
    """So many zeros, deflated: a thousandth of it."""
    return zlib.compress(bytes(size), 9)
