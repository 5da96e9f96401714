"""Limits on what a file's header makes Pillow do before a single pixel is decoded: it sets none itself.

Without them 2 MB of TIFF, whose every tag points at the same bytes, took 1.6 GB of memory, and 1 MB of empty JPEG
segments 3 s, in Python, while nothing else ran.
"""

import struct
from typing import IO, Any, Final, cast

from PIL.TiffImagePlugin import ImageFileDirectory_v2

_MOST_STEPS: Final = 50_000
"""Segments, chunks or pages of one file, and bytes between them: half a second. Libpng cuts 100 MB into 12,000."""
_MOST_SCANS: Final = 100
"""Passes over all pixels of a progressive JPEG; cameras and editors write 10."""
_MOST_TAGS: Final = 0xFFFF
"""As many as a number of two bytes counts; BigTIFF has eight for it."""
_MOST_STRIPS: Final = 1_000_000
_STRIPS: Final = (273, 279, 324, 325)
"""TIFF tags whose values Pillow makes an object of each: offsets and sizes of strips and tiles."""
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_START_OF_SCAN: Final = 0xDA
_WITHOUT_LENGTH: Final = (0x01, 0xD8, 0xD9, *range(0xD0, 0xD8))
#: Bytes of one value by TIFF's number of its type.
_VALUE_BYTES: Final = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
}


class HeaderError(ValueError):
    """A header that asks for more than any honest one does."""


def check_steps(content: bytes) -> None:
    """Make sure that a JPEG or PNG is not all header. Raises HeaderError."""
    if content.startswith(b"\xff\xd8"):
        _check_segments(content)
    elif content.startswith(_PNG_START):
        _check_chunks(content)


def count_tiff_pages(content: bytes) -> int:
    """How many pictures a TIFF holds: Pillow reads all their tags to know. Raises HeaderError for too many."""
    order = "<" if content.startswith(b"II") else ">"
    is_big = content[2:4] in (b"+\0", b"\0+")
    number, place, entry_bytes = (f"{order}Q", f"{order}Q", 20) if is_big else (f"{order}H", f"{order}I", 12)
    pages = set[int]()
    try:
        (at,) = struct.unpack_from(place, content, 8 if is_big else 4)
        while at and at not in pages:
            _check_count(len(pages), what="pages")
            (entries,) = struct.unpack_from(number, content, at)
            pages.add(at)
            (at,) = struct.unpack_from(place, content, at + struct.calcsize(number) + entry_bytes * entries)
    except struct.error:
        # Where it breaks off; what came before is whole.
        pass
    return max(1, len(pages))


def _check_segments(jpeg: bytes) -> None:
    """As Pillow goes through them, up to the pixels: what is between two segments byte by byte."""
    at, steps = 2, 0
    while (found := jpeg.find(b"\xff", at)) >= 0 and found + 1 < len(jpeg):
        steps += 1 + found - at
        _check_count(steps, what="segments")
        marker = jpeg[found + 1]
        if marker == _START_OF_SCAN:
            break
        if marker in (0x00, 0xFF):
            at = found + 1
        elif marker in _WITHOUT_LENGTH:
            at = found + 2
        else:
            at = found + 2 + max(2, int.from_bytes(jpeg[found + 2 : found + 4]))
    if jpeg.count(b"\xff\xda") > _MOST_SCANS:
        raise HeaderError(f"more than {_MOST_SCANS} scans")


def _check_chunks(png: bytes) -> None:
    at, steps = len(_PNG_START), 0
    while at < len(png):
        steps += 1
        _check_count(steps, what="chunks")
        at += 12 + int.from_bytes(png[at : at + 4])


def _check_count(count: int, *, what: str) -> None:
    if count > _MOST_STEPS:
        raise HeaderError(f"more than {_MOST_STEPS} {what}")


def _check_directory(file: IO[bytes], *, order: str, is_big: bool) -> None:
    """Make sure that tags are not larger, all together, than the file that they are in; the place in it stays."""
    begin = file.tell()
    number, entry = (f"{order}Q", f"{order}HHQ8x") if is_big else (f"{order}H", f"{order}HHI4x")
    count_bytes = file.read(struct.calcsize(number))
    entries = int.from_bytes(count_bytes, "little" if order == "<" else "big")
    entry_bytes = struct.calcsize(entry)
    if entries > _MOST_TAGS:
        raise HeaderError(f"{entries} tags")
    table = file.read(entries * entry_bytes)
    file_bytes = file.seek(0, 2)
    file.seek(begin)
    tags_bytes = 0
    for tag, kind, values in struct.iter_unpack(entry, table[: len(table) // entry_bytes * entry_bytes]):
        if tag in _STRIPS and values > _MOST_STRIPS:
            raise HeaderError(f"{values} strips")
        # One that claims more than there is is cut off there; broken cameras write such.
        tags_bytes += min(file_bytes, values * _VALUE_BYTES.get(kind, 0))
    if tags_bytes > 2 * file_bytes:
        raise HeaderError(f"tags of {tags_bytes / 1e6:.1f} MB in {file_bytes / 1e6:.1f} MB")


_load: Final = cast(Any, ImageFileDirectory_v2).load


def _load_checked(directory: Any, file: IO[bytes]) -> None:
    _check_directory(file, order=directory._endian, is_big=directory._bigtiff)
    _load(directory, file)


# Here every road meets: TIFF itself, and EXIF in JPEG, PNG, WebP and wherever else Pillow finds it.
cast(Any, ImageFileDirectory_v2).load = _load_checked
