"""Archives from strangers: what is in them comes out, and nothing that they claim costs more than the limits."""

import bz2
import gzip
import io
import random
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from app.archives import HEAD_BYTES, ArchiveLimits, Member, is_archive, read_archive
from app.errors import BadRequest, ServiceError, TooLarge, Unprocessable, UnsupportedImage

LIMITS = ArchiveLimits(max_files=10, max_expanded_bytes=1_000_000, max_file_bytes=400_000)
FILES = {"a.png": b"first", "line 2/ä b.jpg": b"second" * 100, "c": b""}


def zipped(files: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def tarred(files: dict[str, bytes], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def tarred_and_zipped(files: dict[str, bytes]) -> bytes:
    return gzip.compress(tarred(files))


def members(packed: bytes, *, limits: ArchiveLimits = LIMITS) -> Iterator[Member]:
    return read_archive(io.BytesIO(packed), limits=limits)


def contents(packed: bytes, *, limits: ArchiveLimits = LIMITS) -> dict[str, bytes]:
    read = list(members(packed, limits=limits))
    assert all(member.refusal is None for member in read)
    return {member.name: member.content for member in read}


def peak_bytes(act: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def only(packed: bytes) -> Member:
    (member,) = members(packed)
    return member


PACKERS = pytest.mark.parametrize("pack", [zipped, tarred, tarred_and_zipped], ids=["zip", "tar", "tar.gz"])


@PACKERS
def test_all_files_come_out_in_order(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    packed = pack(FILES)
    assert is_archive(packed[:HEAD_BYTES])
    assert list(contents(packed).items()) == list(FILES.items())


@PACKERS
def test_folders_and_hidden_files_are_passed_over(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    files = {".DS_Store": b"x", "__MACOSX/._a.png": b"x", "in/.git/config": b"x", "./a.png": b"kept"}
    assert contents(pack(files)) == {"./a.png": b"kept"}


def test_folders_have_no_row() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        folder = tarfile.TarInfo("parts")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        archive.addfile(tarfile.TarInfo("parts/a.png"))
    assert contents(packed.getvalue()) == {"parts/a.png": b""}
    assert contents(zipped({"parts/": b"", "parts/a.png": b"1"})) == {"parts/a.png": b"1"}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names_in_tars_come_whole(form: int) -> None:
    name = "folder/" * 20 + "a.png"
    assert contents(tarred({name: b"1"}, form=form)) == {name: b"1"}


def test_gzip_in_several_streams_with_padding_is_one_archive() -> None:
    packed = tarred(FILES)
    assert contents(gzip.compress(packed[:700]) + gzip.compress(packed[700:]) + bytes(5000)) == FILES


@pytest.mark.parametrize(
    "packed",
    [zipped({}), zipped({"only/": b""}), zipped({".hidden": b"1"}), tarred({}), tarred_and_zipped({})],
    ids=["zip", "only a folder", "only a hidden file", "tar", "tar.gz"],
)
def test_an_archive_without_files_is_refused(packed: bytes) -> None:
    with pytest.raises((BadRequest, UnsupportedImage)):
        members(packed)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG\r\n\x1a\n", bz2.compress(b"1"), b"Rar!\x1a\x07", b"\xff\xd8\xff" + zipped(FILES)],
    ids=["empty", "png", "bzip2", "rar", "a JPEG with a zip behind it"],
)
def test_what_is_no_archive_is_told_by_its_beginning(content: bytes) -> None:
    assert not is_archive(content[:HEAD_BYTES])
    with pytest.raises(UnsupportedImage, match=r"neither zip, tar nor tar\.gz"):
        members(content)


# -- what unpacks to more than it seems -------------------------------------------------------------------------------


@PACKERS
def test_a_bomb_stops_at_the_limit_in_little_memory(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    bomb = pack({f"{number}.png": bytes(390_000) for number in range(3)} | {"last.png": b"never"})
    seen: list[str] = []

    def read() -> None:
        with pytest.raises(TooLarge, match="unpacks to more than 1 MB"):
            seen.extend(member.name for member in members(bomb))

    assert peak_bytes(read) < 3_000_000
    # 2 x 390 kB are within 1 MB, the third is not.
    assert seen == ["0.png", "1.png"]


@PACKERS
def test_a_file_over_its_own_limit_is_refused_and_the_rest_goes_on(
    pack: Callable[[dict[str, bytes]], bytes],
) -> None:
    first, second = members(pack({"large.png": bytes(400_001), "small.png": bytes(400_000)}))
    assert isinstance(first.refusal, TooLarge)
    assert "larger than 0.4 MB" in first.refusal.detail
    assert (second.refusal, len(second.content)) == (None, 400_000)


def test_thirty_megabytes_of_zeros_in_one_file_cost_no_more_than_the_limit() -> None:
    bomb = zipped({"a.png": bytes(30_000_000)})
    assert len(bomb) < 40_000

    def read() -> None:
        assert isinstance(only(bomb).refusal, TooLarge)

    assert peak_bytes(read) < 2_000_000


@PACKERS
def test_a_limit_that_is_just_kept_is_kept(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    packed = pack({"a": bytes(300_000), "b": bytes(300_000)})
    headers = 0 if pack is zipped else 10240
    assert len(contents(packed, limits=replace(LIMITS, max_expanded_bytes=600_000 + headers))) == 2
    with pytest.raises(TooLarge):
        contents(packed, limits=replace(LIMITS, max_expanded_bytes=599_999))


def test_an_archive_inside_an_archive_stays_closed() -> None:
    inner = zipped({"bomb.png": bytes(5_000_000)})
    assert only(zipped({"inner.zip": inner})).content == inner


@PACKERS
def test_too_many_files_are_refused(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    assert len(contents(pack({str(number): b"1" for number in range(10)}))) == 10
    with pytest.raises(TooLarge, match="more than 10 files"):
        list(members(pack({str(number): b"1" for number in range(11)})))


def test_a_huge_table_of_contents_is_not_even_read() -> None:
    huge = zipped({f"{number:05}" + "x" * 60: b"" for number in range(5000)})
    limits = replace(LIMITS, max_files=10)

    def read() -> None:
        with pytest.raises(TooLarge, match="more than 10 files"):
            members(huge, limits=limits)

    # Its 5000 entries alone would be over 2 MB as objects.
    assert peak_bytes(read) < 1_200_000


def test_a_size_that_lies_low_is_found_out() -> None:
    packed = bytearray(zipped({"a.png": b"x" * 1000}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = packed.index(signature) + offset
        assert struct.unpack_from("<I", packed, place) == (1000,)
        struct.pack_into("<I", packed, place, 10)
    refusal = only(bytes(packed)).refusal
    assert isinstance(refusal, Unprocessable)
    assert "damaged" in refusal.detail


def test_a_size_that_lies_high_allocates_nothing() -> None:
    packed = bytearray(zipped({"a.png": b"x" * 1000}))
    struct.pack_into("<I", packed, packed.index(b"PK\x01\x02") + 24, 0xFFFF_FFF0)

    def read() -> None:
        member = only(bytes(packed))
        assert member.refusal is not None or member.content == b"x" * 1000

    assert peak_bytes(read) < 1_000_000


def test_a_tar_header_that_claims_a_terabyte_is_refused_and_nothing_allocated() -> None:
    entry = tarfile.TarInfo("a.png")
    entry.size = 10**12
    packed = entry.tobuf(tarfile.GNU_FORMAT) + b"little"

    def read() -> None:
        first, *_ = members(packed)
        assert isinstance(first.refusal, TooLarge)

    with pytest.raises(BadRequest, match="damaged"):
        peak_bytes(read)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME], ids=["pax", "long name"])
def test_a_tar_header_as_large_as_a_file_is_refused(kind: bytes) -> None:
    entry = tarfile.TarInfo("long")
    entry.type, entry.size = kind, 300_000
    with pytest.raises(BadRequest, match="a header of 300000 bytes"):
        members(entry.tobuf() + bytes(300_000) + tarred(FILES))


def test_tar_headers_nested_without_end_are_refused() -> None:
    entry = tarfile.TarInfo("long")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 1
    nested = (entry.tobuf() + b"a".ljust(512, b"\0")) * 900
    with pytest.raises(BadRequest, match="damaged"):
        members(nested + tarred(FILES))


def test_a_gzip_header_of_a_megabyte_takes_no_time() -> None:
    packed = tarred_and_zipped(FILES)
    named = packed[:3] + b"\x08" + packed[4:10] + b"n" * 1_000_000 + b"\0" + packed[10:]
    assert contents(named) == FILES


# -- what is not a plain file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../a.png",
        "in/../../a.png",
        "/etc/a.png",
        "..\\a.png",
        "C:\\a.png",
        "c:a.png",
        "\\\\host\\a.png",
        "..",
    ],
)
@PACKERS
def test_names_that_lead_out_are_refused(pack: Callable[[dict[str, bytes]], bytes], name: str) -> None:
    bad, good = members(pack({name: b"1", "good.png": b"2"}))
    assert isinstance(bad.refusal, Unprocessable)
    assert "leads out of the archive" in bad.refusal.detail
    assert (bad.content, good.content) == (b"", b"2")


def test_names_that_cannot_be_shown_are_shown_with_replacements() -> None:
    name = only(zipped({"a\n\x1b[2J.png": b"1"})).name
    assert name == "a\ufffd\ufffd[2J.png"
    raw = tarred({"ab.png": b"1"}, form=tarfile.USTAR_FORMAT)
    header = raw[:512].replace(b"ab.png", b"a\xff.png")
    header = header[:148] + b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512])) + header[156:]
    assert only(header + raw[512:]).name.encode("utf-8") == "a\ufffd.png".encode()


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "good.png"),
        (tarfile.CHRTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
    ids=["symlink", "hard link", "device", "pipe"],
)
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, link: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("a.png")
        entry.type, entry.linkname = kind, link
        archive.addfile(entry)
        archive.addfile(tarfile.TarInfo("good.png"))
    bad, good = members(packed.getvalue())
    assert isinstance(bad.refusal, Unprocessable)
    assert "no plain file" in bad.refusal.detail
    assert good.refusal is None


def test_a_sparse_tar_file_of_a_terabyte_is_refused() -> None:
    entry = tarfile.TarInfo("a.png")
    entry.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % (8**11 - 1)
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
    assert isinstance(only(bytes(header) + bytes(1024)).refusal, Unprocessable)


def test_a_symlink_in_a_zip_is_refused() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        entry = zipfile.ZipInfo("a.png")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    refusal = only(packed.getvalue()).refusal
    assert isinstance(refusal, Unprocessable)
    assert "a link" in refusal.detail


@pytest.mark.parametrize("flag", [0x1, 0x41], ids=["password", "strong encryption"])
def test_an_encrypted_file_is_refused_and_the_rest_goes_on(flag: int) -> None:
    packed = bytearray(zipped({"a.png": b"1" * 50, "b.png": b"2"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(signature) + offset] |= flag
    secret, open_one = members(bytes(packed))
    assert isinstance(secret.refusal, Unprocessable)
    assert "encrypted" in secret.refusal.detail
    assert open_one.content == b"2"


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_compressions_without_a_bound_are_refused(compression: int) -> None:
    refusal = only(zipped({"a.png": bytes(10_000)}, compression=compression)).refusal
    assert isinstance(refusal, Unprocessable)
    assert f"method {compression}" in refusal.detail


# -- what is broken ---------------------------------------------------------------------------------------------------


def test_a_damaged_file_in_a_zip_is_refused_and_the_rest_goes_on() -> None:
    packed = bytearray(zipped({"a.png": b"AAAA", "b.png": b"BBBB"}, compression=zipfile.ZIP_STORED))
    packed[packed.index(b"AAAA")] ^= 1
    broken, whole = members(bytes(packed))
    assert isinstance(broken.refusal, Unprocessable)
    assert "damaged" in broken.refusal.detail
    assert whole.content == b"BBBB"


@pytest.mark.parametrize("pack", [tarred, tarred_and_zipped], ids=["tar", "tar.gz"])
def test_a_tar_that_is_cut_off_gives_what_was_whole_and_then_says_so(
    pack: Callable[[dict[str, bytes]], bytes],
) -> None:
    noise = random.Random(0).randbytes(20_000)
    packed = pack({"a.png": noise, "b.png": noise[::-1]})
    read = members(packed[: len(packed) * 6 // 10])
    assert next(read).content == noise
    with pytest.raises(BadRequest, match="the archive is damaged"):
        list(read)


def test_a_damaged_header_in_the_middle_of_a_tar_is_no_silent_end() -> None:
    packed = bytearray(tarred({"a.png": b"1", "b.png": b"2"}, form=tarfile.USTAR_FORMAT))
    packed[1024] ^= 1
    read = members(bytes(packed))
    assert next(read).name == "a.png"
    with pytest.raises(BadRequest, match="damaged"):
        next(read)


@PACKERS
def test_no_damage_raises_anything_but_a_refusal(pack: Callable[[dict[str, bytes]], bytes]) -> None:
    packed = pack(FILES)
    statuses: list[int] = []
    for place in range(0, len(packed), max(1, len(packed) // 300)):
        flipped = bytes([*packed[:place], packed[place] ^ 0xFF, *packed[place + 1 :]])
        for damaged in (packed[:place], flipped):
            try:
                list(members(damaged))
            except ServiceError as refusal:
                statuses.append(refusal.status)
    assert len(statuses) > 100
    assert set(statuses) <= {400, 413, 415, 422}
