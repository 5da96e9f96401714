"""Headers that would keep Pillow busy, or fill the memory, before a pixel is decoded."""

import struct
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from data.image_guards import HeaderError, check_steps, count_tiff_pages
from data.images import ImageError, read_header, read_image


def saved(format_name: str, **options: object) -> bytes:
    file = BytesIO()
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(file, format_name, **options)
    return file.getvalue()


def tagged(*tags: tuple[int, int, int, int], size_bytes: int = 64, is_big: bool = False) -> bytes:
    """A TIFF of 8 x 8 grey px with these tags (number, type, values, place) more."""
    begin = 16 if is_big else 8
    entries = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, begin), (277, 3, 1, 1), (278, 4, 1, 8), (279, 4, 1, 64), *tags]
    entry, number, place = ("<HHQQ", "<Q", "<Q") if is_big else ("<HHII", "<H", "<I")
    head = b"II+\0\x08\0\0\0" if is_big else b"II*\0"
    table = b"".join(struct.pack(entry, *one) for one in entries)
    values = head + struct.pack(place, begin + size_bytes) + bytes(size_bytes)
    return values + struct.pack(number, len(entries)) + table + struct.pack(place, 0)


@pytest.mark.parametrize("is_big", [False, True])
def test_tags_that_share_their_bytes_are_refused(is_big: bool) -> None:
    def shared(count: int) -> bytes:
        tags = [(1000 + number, 7, 10_000, 16) for number in range(count)]
        return tagged(*tags, size_bytes=10_100, is_big=is_big)

    # Once is honest; twice is as much as the file, and one that claims too much may be a camera's mistake.
    assert read_image(shared(1)).shape == (8, 8, 3)
    assert read_image(shared(2)).shape == (8, 8, 3)
    with pytest.raises(ImageError, match=r"tags of 1\.0 MB in 0\.0 MB"):
        read_header(shared(100))


def test_millions_of_strips_are_refused() -> None:
    with pytest.raises(ImageError, match="1000001 strips"):
        read_header(tagged((324, 4, 1_000_001, 8)))


def test_a_big_tiff_that_claims_a_billion_tags_is_refused() -> None:
    content = tagged(is_big=True)
    at = 16 + 64
    with pytest.raises(ImageError, match="1000000000 tags"):
        read_header(content[:at] + struct.pack("<Q", 10**9) + content[at + 8 :])


def test_exif_whose_tags_share_their_bytes_spoils_no_picture() -> None:
    tags = tagged(*((1000 + number, 7, 10_000, 16) for number in range(100)), size_bytes=10_100)
    for content in (saved("PNG", exif=tags), saved("JPEG", exif=b"Exif\0\0" + tags)):
        assert read_header(content).exif_orientation is None
        assert read_image(content).shape == (8, 8, 3)


def segments(count: int) -> bytes:
    jpeg = saved("JPEG")
    return jpeg[:2] + b"\xff\xfe\x00\x02" * count + jpeg[2:]


def padded(count: int) -> bytes:
    jpeg = saved("JPEG")
    return jpeg[:2] + bytes(count) + jpeg[2:]


def filled(count: int) -> bytes:
    jpeg = saved("JPEG")
    return jpeg[:2] + b"\xff" * count + jpeg[2:]


def chunks(count: int) -> bytes:
    png = saved("PNG")
    return png[:-12] + b"\0\0\0\0abCd\x8e\xa8\x5f\xf0" * count + png[-12:]


@pytest.mark.parametrize("make", [segments, padded, filled, chunks])
def test_a_file_that_is_all_header_is_refused(make: Callable[[int], bytes]) -> None:
    check_steps(make(1000))
    for count in (60_000, 1_000_000):
        with pytest.raises(HeaderError, match="more than 50000"):
            check_steps(make(count))


def test_a_jpeg_of_a_hundred_scans_is_read_and_one_of_more_is_not() -> None:
    jpeg = saved("JPEG")
    check_steps(jpeg + b"\xff\xda" * 99)
    with pytest.raises(HeaderError, match="more than 100 scans"):
        check_steps(jpeg + b"\xff\xda" * 100)


def test_pages_of_a_tiff_are_counted_as_pillow_counts_them() -> None:
    pages = [Image.new("L", (8, 8))] * 5
    for options in ({}, {"big_tiff": True}):
        file = BytesIO()
        pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], **options)
        content = file.getvalue()
        assert count_tiff_pages(content) == Image.open(BytesIO(content)).n_frames == 5
    assert count_tiff_pages(content[: len(content) // 2]) < 5
    assert count_tiff_pages(b"II*\0" + struct.pack("<IHI", 8, 0, 8)) == 1
    assert count_tiff_pages(b"II*\0") == 1


def test_more_pages_than_anybody_scans_are_refused() -> None:
    def directories(count: int) -> Iterator[bytes]:
        yield b"II*\0" + struct.pack("<I", 8)
        for number in range(1, count + 1):
            yield struct.pack("<HI", 0, 8 + 6 * number)

    with pytest.raises(HeaderError, match="more than 50000 pages"):
        count_tiff_pages(b"".join(directories(60_000)))
