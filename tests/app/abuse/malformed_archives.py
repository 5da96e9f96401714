"""Archives: cut, flipped, leading out of themselves, unpacking to much, holding one another."""

import bz2
import gzip
import struct
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Final
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo

from .malformed import EITHER, MANY, TAKEN, Family, Upload, cut, flipped, image

_PNG: Final = image("PNG")
_MEGABYTE: Final = 1 << 20


def zip_of(*files: tuple[str | ZipInfo, bytes], compression: int = ZIP_DEFLATED) -> bytes:
    """A zip of these files, by name."""
    packed = BytesIO()
    with ZipFile(packed, "w", compression) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return packed.getvalue()


def _tar(
    *names: str, change: Callable[[tarfile.TarInfo], None] = lambda _: None, content: bytes = _PNG
) -> bytes:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            change(entry)
            archive.addfile(entry, BytesIO(content) if entry.isreg() else None)
    return packed.getvalue()


HONEST: Final = {
    "zip": zip_of(("a.png", _PNG), ("b.png", _PNG)),
    "tar": _tar("a.png", "b.png"),
    "tar.gz": gzip.compress(_tar("a.png", "b.png")),
}


def _refused_inside(name: str, content: bytes) -> Upload:
    return Upload(name, content, TAKEN, path=MANY, is_refused_inside=True)


def damaged() -> Iterator[Upload]:
    """Cut off at every fifth per cent, and with bits flipped; what came out before the damage is judged."""
    for name, content in HONEST.items():
        for percent, part in list(cut(content))[::5]:
            # A tar may end after any whole file.
            yield Upload(f"{name} cut at {percent} %", part, EITHER, path=MANY)
        for number, part in enumerate(flipped(content, count=15)):
            yield Upload(f"{name} flipped, {number}", part, EITHER, path=MANY)
        for number, part in enumerate(flipped(content, count=15, end=60)):
            yield Upload(f"{name} flipped in its head, {number}", part, EITHER, path=MANY)
        for number, part in enumerate(flipped(content, count=10, begin=len(content) - 120)):
            yield Upload(f"{name} flipped at its end, {number}", part, EITHER, path=MANY)


def leading_out() -> Iterator[Upload]:
    """Names and links that lead out of the archive: a line that says so for each, and no file anywhere."""
    names = (
        "../out.png",
        "a/../../out.png",
        "/tmp/out.png",
        "C:\\out.png",
        "..\\out.png",
        "\\\\host\\out.png",
    )
    for name in names:
        yield _refused_inside(f"zip with {name}", zip_of((name, _PNG)))
        yield _refused_inside(f"tar with {name}", _tar(name))
    link = ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    yield _refused_inside("zip with a link", zip_of((link, b"/etc/passwd")))
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    for kind in kinds:

        def become(entry: tarfile.TarInfo, kind: bytes = kind) -> None:
            entry.type, entry.linkname, entry.size = kind, "/etc/passwd", 0

        yield _refused_inside(f"tar with an entry of type {kind!r}", _tar("link.png", change=become))


def bombs() -> Iterator[Upload]:
    """Small archives that unpack to much, or to more files than are taken."""
    zeros = bytes(6 * _MEGABYTE)
    yield Upload("zip of 6 MB of zeros", zip_of(("a.png", zeros)), EITHER, path=MANY)
    yield Upload("zip of 10 x 6 MB", zip_of(*((f"{n}.png", zeros) for n in range(10))), EITHER, path=MANY)
    tar = _tar("a.png", content=zeros)
    yield Upload("tar.gz of 6 MB", gzip.compress(tar), EITHER, path=MANY)
    yield Upload("tar.gz in gzip in gzip", gzip.compress(gzip.compress(gzip.compress(tar))), path=MANY)
    yield Upload("gzip of nothing but zeros", gzip.compress(zeros), EITHER, path=MANY)
    yield Upload("1000 gzips of nothing", gzip.compress(b"") * 1000, path=MANY)
    many = tuple((f"{n}.png", b"") for n in range(2000))
    yield Upload("zip of 2000 files", zip_of(*many), path=MANY)
    yield Upload("tar of 2000 files", _tar(*(name for name, _ in many), content=b""), EITHER, path=MANY)
    for method in (ZIP_BZIP2, ZIP_LZMA):
        bomb = zip_of(("a.png", zeros), compression=method)
        yield _refused_inside(f"zip by method {method}", bomb)
    yield Upload("bzip2", bz2.compress(tar), path=MANY)
    yield Upload("tar that claims 8 GB", _claiming(8 << 30), EITHER, path=MANY)
    yield Upload("tar with a header of 1 GB", _claiming(1 << 30, kind=tarfile.XHDTYPE), EITHER, path=MANY)
    yield Upload("tar of a negative size", _claiming(-1), EITHER, path=MANY)


def _claiming(size_bytes: int, *, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar whose one entry says it is of this size and type, and is neither."""
    entry = tarfile.TarInfo("a.png")
    entry.size, entry.type = size_bytes, kind
    return entry.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def overlapping() -> Iterator[Upload]:
    """Zip entries that share their bytes, and tables of contents that lie."""
    honest = HONEST["zip"]
    first, end = honest.index(b"PK\x01\x02"), honest.index(b"PK\x05\x06")
    second = honest.index(b"PK\x01\x02", first + 4)
    for count in (10, 60_000):
        table = honest[first:second] * count
        ending = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(table), first, 0)
        yield Upload(f"{count} entries at one place", honest[:first] + table + ending, EITHER, path=MANY)
    for field, value in ((10, 0), (10, 0xFFFF), (12, 0xFFFFFFFF), (16, 0xFFFFFFFF), (16, 1), (20, 0xFFFF)):
        lie = struct.pack("<I" if field in (12, 16) else "<H", value)
        changed = honest[: end + field] + lie + honest[end + field + len(lie) :]
        yield Upload(f"zip's ending, field {field} = {value:#x}", changed, EITHER, path=MANY)
    for field in (20, 24, 42):
        at = first + field
        changed = honest[:at] + b"\xff\xff\xff\x7f" + honest[at + 4 :]
        yield Upload(f"zip's entry, field {field} huge", changed, EITHER, path=MANY)
    encrypted = bytearray(zip_of(("a.png", _PNG)))
    encrypted[6], encrypted[encrypted.index(b"PK\x01\x02") + 8] = 1, 1
    yield _refused_inside("encrypted", bytes(encrypted))


def nested() -> Iterator[Upload]:
    """Archives in archives stay closed; archives that hold nothing; and what is none."""
    inner = HONEST["zip"]
    for _ in range(20):
        inner = zip_of(("inner.zip", inner), compression=ZIP_STORED)
    yield _refused_inside("20 zips in each other", inner)
    yield _refused_inside("tar in a zip", zip_of(("a.tar", HONEST["tar"])))
    yield _refused_inside("zip in a tar", _tar("a.zip", content=HONEST["zip"]))
    yield _refused_inside("texts in a zip", zip_of(("a.png", b"text"), ("b.png", b"")))
    yield Upload("an empty zip", zip_of(), path=MANY)
    yield Upload("an empty tar", _tar(), path=MANY)
    yield Upload("an image", _PNG, path=MANY)
    yield Upload("an image, then a zip", _PNG + HONEST["zip"], path=MANY)
    yield Upload("text", b"no archive at all", path=MANY)
    yield Upload("nothing", b"", path=MANY)
    yield Upload("rar", b"Rar!\x1a\x07\x01\x00" + bytes(100), path=MANY)
    yield Upload("7z", b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(100), path=MANY)


ARCHIVES: Final[tuple[Family, ...]] = (damaged, leading_out, bombs, overlapping, nested)
