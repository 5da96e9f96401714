"""Zip, tar and tar.gz as a stream of files in memory, one after another: no name in an archive becomes a path.

What an archive says of itself is believed as a reason to refuse it, never as a reason to go on: what counts is
what comes out while reading. Archives inside an archive stay closed; their bytes are no image.
"""

import itertools
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final, cast

from app.errors import BadRequest, ServiceError, TooLarge, Unprocessable, UnsupportedImage
from app.metered import Gunzip, Meter, Metered, Readable

HEAD_BYTES: Final = 512
"""How much of a file `is_archive` wants to see."""

# Per file in a zip's table of contents: 46 and the name, with room for the extra fields that tools add.
_ENTRY_BYTES: Final = 1024
# A zip ends in a comment of at most 64 KB, and both are read to find the table of contents.
_ENDING_BYTES: Final = 1 << 18
# Long names in a tar stand in members of their own, which are read whole.
_EXTENDED_HEADER_BYTES: Final = 1 << 16
_EXTENDED_HEADERS: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_ENCRYPTED_OR_PATCHED: Final = 0x1 | 0x20 | 0x40
_DRIVE: Final = re.compile(r"[A-Za-z]:")
# What zipfile, tarfile and zlib raise on damaged files; RuntimeError is headers nested without end.
_DAMAGE: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    ArithmeticError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What one archive may cost.

    max_files: entries of any kind; max_expanded_bytes: all that is unpacked; max_file_bytes: one file of it.
    """

    max_files: int
    max_expanded_bytes: int
    max_file_bytes: int


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive: its name as a label, and its bytes, or why they are not to be had."""

    name: str
    content: bytes = b""
    refusal: ServiceError | None = None


def label(name: str) -> str:
    """A name that can be shown, logged and encoded: what cannot be printed is replaced."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in name)


def is_archive(head: bytes) -> bool:
    """Whether a file is a zip, tar or tar.gz, by its first HEAD_BYTES bytes."""
    return _is_zip(head) or head.startswith(b"\x1f\x8b") or _is_tar(head)


def read_archive(file: IO[bytes], *, limits: ArchiveLimits) -> Iterator[Member]:
    """The files of an archive in its order; folders and hidden files (`.DS_Store`, `__MACOSX`) are passed over.

    The archive is opened, and its first file unpacked, before this returns; the rest while it is iterated. Both
    block: call it in a thread (`starlette.concurrency.iterate_in_threadpool`). `file` must stay open.

    Raises:
        UnsupportedImage: neither zip, tar nor tar.gz.
        BadRequest: damaged, or no file in it. While iterating too: what came before was whole.
        TooLarge: more than `limits` allow, here or while iterating.
    """
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not is_archive(head):
        raise UnsupportedImage(f"neither zip, tar nor tar.gz (it begins with {head[:8]!r}); pack it again")
    meter = Meter(
        limits.max_expanded_bytes,
        refusal=f"the archive unpacks to more than {_megabytes(limits.max_expanded_bytes)}; send it in parts",
    )
    if _is_zip(head):
        members = _zip_members(file, limits=limits, meter=meter)
    else:
        stream = file if _is_tar(head) else Gunzip(file)
        members = _tar_members(Metered(stream, meter), limits=limits)
    members = _passing_damage(members)
    first = next(members, None)
    if first is None:
        raise BadRequest("the archive holds no file; put images into it")
    return itertools.chain((first,), members)


def _zip_members(file: IO[bytes], *, limits: ArchiveLimits, meter: Meter) -> Iterator[Member]:
    # Opened twice, the first time with a limit on what is read: zipfile makes an object of every entry there is.
    contents = Meter(limits.max_files * _ENTRY_BYTES + _ENDING_BYTES, refusal=_too_many(limits))
    with zipfile.ZipFile(cast(IO[bytes], Metered(file, contents))) as opened:
        if len(opened.infolist()) > limits.max_files:
            raise TooLarge(_too_many(limits))
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if not entry.is_dir() and not _is_hidden(entry.filename):
                yield _zip_member(archive, entry, limits=limits, meter=meter)


def _zip_member(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, *, limits: ArchiveLimits, meter: Meter
) -> Member:
    refusal = _refused_name(entry.filename)
    if entry.flag_bits & _ENCRYPTED_OR_PATCHED:
        refusal = "it is encrypted; pack it without a password"
    elif stat.S_ISLNK(entry.external_attr >> 16):
        refusal = "it is a link; pack the file itself"
    elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # bzip2 and LZMA let one small read unpack without a limit.
        refusal = f"it is compressed by method {entry.compress_type}; use the usual one (deflate)"
    if refusal is None:
        try:
            with archive.open(entry) as unpacked:
                return _member(Metered(unpacked, meter), name=entry.filename, limits=limits)
        except _DAMAGE as error:
            refusal = f"it is damaged ({error}); pack it again"
    return Member(label(entry.filename), refusal=Unprocessable(refusal))


def _tar_members(stream: Readable, *, limits: ArchiveLimits) -> Iterator[Member]:
    with tarfile.open(
        fileobj=cast(IO[bytes], stream), mode="r|", tarinfo=_TarEntry, encoding="utf-8", errors="replace"
    ) as archive:
        for number, entry in enumerate(iter(archive.next, None), 1):
            if number > limits.max_files:
                raise TooLarge(_too_many(limits))
            if not entry.isdir() and not _is_hidden(entry.name):
                yield _tar_member(archive, entry, limits=limits)


def _tar_member(archive: tarfile.TarFile, entry: tarfile.TarInfo, *, limits: ArchiveLimits) -> Member:
    refusal = _refused_name(entry.name)
    # A sparse file is mostly holes, which unpack to zeros without a byte being read.
    if not entry.isreg() or entry.issparse():
        refusal = "it is no plain file (a link, a device or sparse); pack the file itself"
    unpacked = None if refusal else archive.extractfile(entry)
    if unpacked is None:
        return Member(label(entry.name), refusal=Unprocessable(refusal or "it cannot be read"))
    with unpacked:
        return _member(unpacked, name=entry.name, limits=limits)


def _member(unpacked: Readable, *, name: str, limits: ArchiveLimits) -> Member:
    content = unpacked.read(limits.max_file_bytes + 1)
    if len(content) > limits.max_file_bytes:
        too_large = TooLarge(f"it is larger than {_megabytes(limits.max_file_bytes)}; cut the image")
        return Member(label(name), refusal=too_large)
    return Member(label(name), content=content)


def _passing_damage(members: Iterator[Member]) -> Iterator[Member]:
    try:
        yield from members
    except _DAMAGE as error:
        raise BadRequest(f"the archive is damaged ({error}); pack it again") from error


class _TarEntry(tarfile.TarInfo):
    """A header that says when it is damaged: tarfile takes one after the first for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_TarEntry":
        try:
            entry = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            # Nothing or nothing but zeros: that is the end.
            if not buf.strip(b"\0"):
                raise
            raise tarfile.ReadError(str(error)) from error
        if entry.type in _EXTENDED_HEADERS and entry.size > _EXTENDED_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {entry.size} bytes")
        return entry


def _is_zip(head: bytes) -> bool:
    # The second is an empty archive, which is nothing but its end.
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _is_hidden(name: str) -> bool:
    return any(part == "__MACOSX" or (part.startswith(".") and part.strip(".")) for part in _parts(name))


def _refused_name(name: str) -> str | None:
    """Why a name is refused: whoever saves our answers under it must not be led astray."""
    if name.startswith(("/", "\\")) or _DRIVE.match(name) or ".." in _parts(name):
        return "its name leads out of the archive; use names without .. and without a root"
    return None


def _parts(name: str) -> list[str]:
    return re.split(r"[/\\]", name)


def _too_many(limits: ArchiveLimits) -> str:
    return f"the archive holds more than {limits.max_files} files; send it in parts"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:g} MB"
