"""Uploads: cut off while they come, refused by their header, decoded as training decodes, never in the event loop."""

import io
import struct
import threading
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from anyio import CapacityLimiter
from fastapi import Request, UploadFile
from PIL import Image

from app import uploads
from app.errors import BadRequest, TooLarge, Unprocessable, UnsupportedImage
from app.uploads import decode, read_upload
from data.images import ImageFacts, Rgb, read_image

MAX_PIXELS = 1_000_000


class Body:
    """The body of a request, chunk by chunk, as a server hands it on; counts how many were asked for."""

    def __init__(self, *chunks: bytes, endless: bool = False, then_gone: bool = False) -> None:
        self._chunks = chunks
        self._endless = endless
        self._then_gone = then_gone
        self.asked = 0

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        if self._then_gone and self.asked > len(self._chunks):
            return {"type": "http.disconnect"}
        last = self.asked == len(self._chunks) and not self._endless and not self._then_gone
        chunk = self._chunks[(self.asked - 1) % len(self._chunks)]
        return {"type": "http.request", "body": chunk, "more_body": not last}

    def request(self, *, announced: str | None = None) -> Request:
        headers = [] if announced is None else [(b"content-length", announced.encode())]
        return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, self.receive)


def run(act: Callable[[], Awaitable[Any]]) -> Any:
    return anyio.run(act)


def read(source: Request | UploadFile, *, max_bytes: int) -> bytes:
    content = run(partial(read_upload, source, max_bytes=max_bytes))
    assert isinstance(content, bytes)
    return content


def decoded(content: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[Rgb, ImageFacts]:
    pixels, facts = run(partial(decode, content, max_pixels=max_pixels))
    return pixels, facts


def encoded(image: Image.Image, format_name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def form_file(content: bytes, *, size: int | None) -> UploadFile:
    return UploadFile(io.BytesIO(content), size=size, filename="a.png")


# -- bytes ------------------------------------------------------------------------------------------------------------


def test_a_body_in_chunks_comes_whole() -> None:
    assert read(Body(b"ab", b"", b"c").request(), max_bytes=3) == b"abc"


def test_a_body_is_cut_off_at_the_first_byte_too_many() -> None:
    body = Body(b"x" * 100, endless=True)
    with pytest.raises(TooLarge, match=r"limit of 0\.00025 MB"):
        read(body.request(), max_bytes=250)
    assert body.asked == 3


def test_an_announced_size_refuses_before_a_byte_is_read() -> None:
    body = Body(b"x" * 100, endless=True)
    with pytest.raises(TooLarge):
        read(body.request(announced="251"), max_bytes=250)
    assert body.asked == 0


@pytest.mark.parametrize("announced", ["1", "0", "-5", "many", "²"])
def test_an_announced_size_that_lies_lets_nothing_through(announced: str) -> None:
    with pytest.raises(TooLarge):
        read(Body(b"x" * 100, endless=True).request(announced=announced), max_bytes=250)


@pytest.mark.parametrize("size", [None, 3, 300], ids=["unknown", "too low", "right"])
def test_a_file_of_a_form_is_held_to_the_limit(size: int | None) -> None:
    assert read(form_file(b"x" * 300, size=size), max_bytes=300) == b"x" * 300
    with pytest.raises(TooLarge):
        read(form_file(b"x" * 300, size=size), max_bytes=299)


@pytest.mark.parametrize("source", [Body(b"").request(), form_file(b"", size=0)], ids=["body", "form"])
def test_nothing_is_refused(source: Request | UploadFile) -> None:
    with pytest.raises(BadRequest, match="nothing was sent"):
        read(source, max_bytes=10)


def test_a_client_that_goes_away_is_no_failure_of_ours() -> None:
    with pytest.raises(BadRequest, match="closed before the whole body had come"):
        read(Body(b"half", then_gone=True).request(), max_bytes=10)


# -- pixels -----------------------------------------------------------------------------------------------------------


def test_sixteen_bits_become_the_high_eight() -> None:
    samples = np.array([[0x0000, 0x12FF], [0xFEDC, 0xFFFF]], np.uint16)
    pixels, facts = decoded(encoded(Image.fromarray(samples), "PNG"))
    assert pixels[..., 0].tolist() == [[0x00, 0x12], [0xFE, 0xFF]]
    assert (pixels.dtype, pixels.shape, facts.bit_depth) == (np.uint8, (2, 2, 3), 16)


def test_exif_turns_the_picture() -> None:
    image = Image.new("RGB", (3, 2))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels, facts = decoded(encoded(image, "PNG", exif=exif))
    # 6: the stored top left is the upright top right.
    assert pixels.shape == (3, 2, 3)
    assert pixels[0, 1].tolist() == [255, 255, 255]
    assert (facts.width, facts.height, facts.exif_orientation, facts.upright_hw) == (3, 2, 6, (3, 2))


def test_palettes_become_their_colors() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([1, 0])
    pixels, _ = decoded(encoded(image, "PNG"))
    assert pixels.tolist() == [[[40, 50, 60], [10, 20, 30]]]


def test_cmyk_becomes_rgb() -> None:
    pixels, facts = decoded(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"))
    assert facts.format == "JPEG"
    assert (pixels == 255).all()


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.radial_gradient("L").convert("RGB"), "JPEG"),
        encoded(Image.radial_gradient("L").convert("CMYK"), "JPEG"),
        encoded(Image.radial_gradient("L").convert("P"), "PNG"),
        encoded(Image.radial_gradient("L").convert("LA"), "PNG"),
        encoded(Image.radial_gradient("L").convert("RGB"), "TIFF"),
        encoded(Image.radial_gradient("L").convert("RGB"), "WEBP"),
        encoded(Image.radial_gradient("L").convert("1"), "BMP"),
    ],
    ids=["jpeg", "cmyk", "palette", "alpha", "tiff", "webp", "one bit"],
)
def test_every_format_is_decoded_as_for_training(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(content)
    pixels, facts = decoded(content)
    np.testing.assert_array_equal(pixels, read_image(tmp_path / "image"))
    assert facts.upright_hw == pixels.shape[:2]


def png_of(width: int, height: int) -> bytes:
    """The header of a PNG of this size, and next to no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height"), [(1001, 1000), (15_000, 15_000), (60_000, 60_000), (1, 1_000_001)]
)
def test_a_decompression_bomb_is_refused_by_its_header(
    monkeypatch: pytest.MonkeyPatch, width: int, height: int
) -> None:
    def decoder(*_: object, **__: object) -> Rgb:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(uploads, "read_image", decoder)
    with pytest.raises(TooLarge):
        decoded(png_of(width, height))


def test_as_many_pixels_as_allowed_are_decoded() -> None:
    content = encoded(Image.new("L", (1000, 1000)), "PNG")
    assert decoded(content)[0].shape == (1000, 1000, 3)
    with pytest.raises(TooLarge, match=r"1000 x 1000 px are more than the limit of 0\.999999 megapixels"):
        decoded(content, max_pixels=999_999)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"GIF89a" + bytes(100), UnsupportedImage),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedImage),
        (b"%PDF-1.7", UnsupportedImage),
        (b"PK\x03\x04" + bytes(100), UnsupportedImage),
        (encoded(Image.new("L", (9, 9)), "PNG")[:45], Unprocessable),
        (encoded(Image.radial_gradient("L"), "JPEG")[:-200], Unprocessable),
        (encoded(Image.new("F", (9, 9)), "TIFF"), Unprocessable),
        (png_of(10, 900), Unprocessable),
    ],
    ids=["gif", "svg", "pdf", "zip", "cut png", "cut jpeg", "float samples", "too few pixels"],
)
def test_what_cannot_be_decoded_is_refused_with_its_reason(content: bytes, kind: type[Exception]) -> None:
    with pytest.raises(kind) as refusal:
        decoded(content)
    assert type(refusal.value) is kind
    assert len(str(refusal.value)) > 20


def test_decoding_is_done_in_a_thread_and_as_many_as_the_limiter_lets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = encoded(Image.new("L", (9, 9)), "PNG")
    threads: set[int] = set()
    busy = [0, 0]
    lock = threading.Lock()

    def slow(content: bytes, *, max_pixels: int) -> Rgb:
        threads.add(threading.get_ident())
        with lock:
            busy[0] += 1
            busy[1] = max(busy)
        threading.Event().wait(0.02)
        with lock:
            busy[0] -= 1
        return read_image(content, max_pixels=max_pixels)

    monkeypatch.setattr(uploads, "read_image", slow)

    async def many() -> None:
        limiter = CapacityLimiter(2)
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(partial(decode, content, max_pixels=MAX_PIXELS, limiter=limiter))

    run(many)
    assert threading.get_ident() not in threads
    assert busy == [0, 2]
