"""One image at a time: cut, flipped, lying about its size, something else altogether, two things at once."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Final
from zipfile import ZipFile

from .malformed import EITHER, TAKEN, Family, Upload, chunk, cut, flipped, image, png, zeros

_FORMATS: Final = {
    "jpeg": image("JPEG", quality=85),
    "progressive jpeg": image("JPEG", progressive=True),
    "png": image("PNG"),
    "tiff": image("TIFF"),
    "packed tiff": image("TIFF", compression="tiff_lzw"),
    "bmp": image("BMP"),
    "webp": image("WEBP", lossless=True),
}


def cut_off() -> Iterator[Upload]:
    """A JPEG and a PNG cut off at every per cent."""
    for name in ("jpeg", "png"):
        for percent, content in cut(_FORMATS[name]):
            yield Upload(f"{name} cut at {percent} %", content)


def bits_flipped() -> Iterator[Upload]:
    """Every format with bits flipped, among its pixels and, more often, in its header."""
    for name, content in _FORMATS.items():
        for number, damaged in enumerate(flipped(content, count=15)):
            yield Upload(f"{name} flipped, {number}", damaged, EITHER)
        for number, damaged in enumerate(flipped(content, count=15, end=200)):
            yield Upload(f"{name} flipped in its header, {number}", damaged, EITHER)
        # A TIFF tells what it is at its end.
        for number, damaged in enumerate(flipped(content, count=10, begin=len(content) - 200)):
            yield Upload(f"{name} flipped at its end, {number}", damaged, EITHER)


def huge_claims() -> Iterator[Upload]:
    """A few bytes that ask for gigabytes."""
    most = 2**31 - 1
    for width, height in (
        (most, most),
        (most, 1),
        (1, most),
        (50_000, 50_000),
        (0, 0),
        (0, 9),
        (2**32 - 1, 2),
    ):
        yield Upload(f"png of {width} x {height}", png(width, height, packed=zeros(1000)))
    for depth, kind in ((3, 2), (16, 3), (8, 1), (255, 255)):
        yield Upload(
            f"png of depth {depth}, kind {kind}", png(8, 8, packed=zeros(1000), depth=depth, kind=kind)
        )
    jpeg = _FORMATS["jpeg"]
    at = jpeg.index(b"\xff\xc0") + 5
    for size in (b"\xff\xff\xff\xff", b"\0\0\0\0"):
        yield Upload(f"jpeg of {size!r}", jpeg[:at] + size + jpeg[at + 4 :])
    bmp = _FORMATS["bmp"]
    for width, height in ((most, most), (-most, 1), (0, 0), (60, -(2**31)), (40_000, 40_000)):
        size = struct.pack("<ii", width, height)
        yield Upload(f"bmp of {width} x {height}", bmp[:18] + size + bmp[26:])
    for side in (2**32 - 1, 100_000):
        entries = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
        entries += [(273, 4, 1, 8), (278, 4, 1, side), (279, 4, 1, 2**32 - 1)]
        directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        head = b"II*\0" + struct.pack("<IH", 8, len(entries))
        yield Upload(f"tiff of {side} px", head + directory + bytes(4))
    yield Upload("tiff whose directory is its own next", b"II*\0" + struct.pack("<IHI", 8, 0, 8))
    yield Upload("webp of 16383 px", b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f" + b"\xff" * 12)


def bombs() -> Iterator[Upload]:
    """Small files that unpack to much, or keep a reader busy with their headers."""
    yield Upload("pixels for 900 megapixels", png(30_000, 30_000, packed=zeros(2_000_000)))
    # What is behind the last pixel is never unpacked.
    yield Upload("10 MB behind the pixels", png(8, 8, packed=zeros(10_000_000)), EITHER)
    for kind, head in ((b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")):
        bomb = chunk(kind, head + zeros(10_000_000))
        yield Upload(f"20 x {kind.decode()} of 10 MB", png(8, 8, packed=zeros(200), extra=20 * bomb), EITHER)
    twice = chunk(b"zTXt", b"k\0\0" + zlib.compress(zeros(10_000_000)))
    yield Upload("text packed twice", png(8, 8, packed=zeros(200), extra=twice), EITHER)
    yield Upload("150 000 chunks", png(8, 8, packed=zeros(200), extra=chunk(b"abCd", b"") * 150_000))
    jpeg = _FORMATS["jpeg"]
    yield Upload("400 000 segments", jpeg[:2] + b"\xff\xe1\0\2" * 400_000 + jpeg[2:])
    yield Upload("a megabyte between segments", jpeg[:2] + bytes(1_000_000) + jpeg[2:])
    yield Upload("1000 scans", jpeg + jpeg[jpeg.index(b"\xff\xda") :][:20] * 1000)
    tags = tags_of_one_place(count=400, size_bytes=1_000_000)
    yield Upload("400 tags of the same megabyte", tags)
    exif = png(8, 8, packed=zeros(200), extra=chunk(b"eXIf", tags))
    # An image is not refused for its EXIF.
    yield Upload("400 EXIF tags of the same megabyte", exif, TAKEN)
    yield Upload("200 million strips", tags_of_one_place(count=1, size_bytes=0, strips=200_000_000))
    yield Upload("100 000 pages", b"II*\0" + b"".join(_pages(100_000)))


def tags_of_one_place(*, count: int, size_bytes: int, strips: int = 1) -> bytes:
    """A TIFF of 8 x 8 px with so many tags more, all of whose values are the same bytes of it."""
    entries = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, strips, 8), (277, 3, 1, 1), (278, 4, 1, 8), (279, 4, strips, 64)]
    entries += [(1000 + number, 7, size_bytes, 8) for number in range(count)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    values = bytes(max(64, size_bytes))
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(values))
        + values
        + struct.pack("<H", len(entries))
        + table
        + bytes(4)
    )


def _pages(count: int) -> Iterator[bytes]:
    """Directories of one tag, each with the place of the next."""
    yield struct.pack("<I", 8)
    for number in range(1, count + 1):
        yield struct.pack("<HHHIII", 1, 256, 4, 1, 8, 8 + 18 * number)


def no_images() -> Iterator[Upload]:
    """What is something else, and says so or not."""
    others = {
        "text": b"no image at all",
        "zeros": bytes(10_000),
        "a line feed": b"\n",
        "one byte": b"\x89",
        "html": b"<!doctype html><script>alert(1)</script>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "xml entities": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        "json": b'{"image": "iVBORw0KGgo="}',
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "pdf": b"%PDF-1.7\n1 0 obj<<>>endobj",
        "program": b"\x7fELF\x02\x01\x01" + bytes(100),
        "pickle": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
        "gif": image("GIF"),
        "icon": image("ICO"),
        "jpeg 2000": image("JPEG2000"),
        "png's name alone": b"\x89PNG\r\n\x1a\n",
        "jpeg's name alone": b"\xff\xd8\xff\xe0",
        "tiff's name alone": b"II*\0",
        "big tiff": b"II+\0\x08\0\0\0" + bytes(8),
        "webp's name alone": b"RIFF\x04\0\0\0WEBP",
        "bmp's name alone": b"BM",
    }
    for name, content in others.items():
        yield Upload(name, content)
        yield Upload(f"{name} that says it is a png", content, headers={"Content-Type": "image/png"})


def polyglots() -> Iterator[Upload]:
    """Files that are two things at once: what counts is what they begin with, and only that is used."""
    file = BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr("a.png", _FORMATS["png"])
    packed = file.getvalue()
    for name in ("jpeg", "png"):
        yield Upload(f"{name}, then a zip", _FORMATS[name] + packed, TAKEN)
        yield Upload(f"{name}, then html", _FORMATS[name] + b"<script>alert(1)</script>", TAKEN)
        yield Upload(f"a zip, then {name}", packed + _FORMATS[name])
        yield Upload(f"html, then {name}", b"<html>" + _FORMATS[name])
    yield Upload("a png's name, then a jpeg", _FORMATS["png"][:8] + _FORMATS["jpeg"])
    yield Upload("a jpeg's name, then a png", _FORMATS["jpeg"][:4] + _FORMATS["png"])
    yield Upload("a tiff whose first bytes are a bmp", b"BM" + _FORMATS["tiff"][2:])


def wrong_types() -> Iterator[Upload]:
    """An honest PNG or a text under a type that is not theirs: the content counts. A form has to be one."""
    types = (
        "image/jpeg",
        "image/svg+xml",
        "text/html",
        "application/json",
        "application/zip",
        "x",
        "",
        "a/b/c;;=",
    )
    types += ("application/x-www-form-urlencoded", "multipart/mixed; boundary=x", "image/png; charset=utf-16")
    for media_type in types:
        headers = {"Content-Type": media_type}
        yield Upload(f"png as {media_type!r}", _FORMATS["png"], TAKEN, headers=headers)
        yield Upload(f"text as {media_type!r}", b"image=1", headers=headers)
    for media_type in (
        "multipart/form-data",
        "Multipart/Form-Data; boundary=",
        "multipart/form-data; boundary=x",
    ):
        yield Upload(f"png as {media_type!r}", _FORMATS["png"], headers={"Content-Type": media_type})
    for encoding in ("gzip", "br", "deflate"):
        headers = {"Content-Encoding": encoding}
        yield Upload(f"png packed as {encoding}", zlib.compress(_FORMATS["png"]), headers=headers)
    for length in ("9" * 12, "9" * 5000, "-1", "half"):
        headers = {"Content-Length": length}
        yield Upload(f"a length of {len(length)} signs, {length[0]}…", b"image", headers=headers)


IMAGES: Final[tuple[Family, ...]] = (
    cut_off,
    bits_flipped,
    huge_claims,
    bombs,
    no_images,
    polyglots,
    wrong_types,
)
