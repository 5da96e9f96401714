"""One decoder: whatever the file is like, the same upright 8-bit RGB comes out, or an error that helps."""

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from data.images import (
    ImageError,
    ImageFacts,
    encode_jpeg,
    encode_png,
    read_header,
    read_image,
    read_thumbnail,
)

LEFT_RED = np.zeros((4, 6, 3), np.uint8)
LEFT_RED[:, :2] = (200, 10, 20)
LEFT_RED[0, 5] = (0, 250, 0)


def _saved(image: Image.Image, format_name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def _photo(height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    rng = np.random.default_rng(3)
    return np.asarray(cv2.resize(rng.integers(0, 255, (9, 12, 3), np.uint8), (width, height)), np.uint8)


def _png_16(samples: NDArray[np.uint16]) -> bytes:
    done, content = cv2.imencode(".png", samples[..., ::-1] if samples.ndim == 3 else samples)
    assert done
    return content.tobytes()


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_give_back_every_pixel(format_name: str) -> None:
    assert np.array_equal(read_image(_saved(Image.fromarray(LEFT_RED), format_name)), LEFT_RED)


def test_a_png_we_write_is_the_image_we_read() -> None:
    assert np.array_equal(read_image(encode_png(LEFT_RED)), LEFT_RED)


def test_a_jpeg_we_write_comes_close_and_costs_less_at_lower_quality() -> None:
    photo = _photo()
    assert np.abs(read_image(encode_jpeg(photo, quality=95)).astype(int) - photo).mean() < 2
    assert len(encode_jpeg(photo, quality=30)) < len(encode_jpeg(photo, quality=95))


def test_jpeg_pixels_are_those_that_opencv_decodes() -> None:
    content = encode_jpeg(_photo())
    opencv = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert opencv is not None
    assert np.array_equal(read_image(content), opencv[..., ::-1])


def test_the_image_may_be_written_into() -> None:
    assert read_image(encode_png(LEFT_RED)).flags.writeable
    assert read_image(_saved(Image.new("L", (3, 2)), "PNG")).flags.writeable


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_turn_is_undone_once(format_name: str, orientation: int) -> None:
    upright = _photo(24, 40)
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    stored = np.ascontiguousarray(turns[orientation](upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    content = _saved(Image.fromarray(stored), format_name, exif=exif, **lossless.get(format_name, {}))
    facts = read_header(content)
    assert (facts.exif_orientation or 1) == orientation
    assert (facts.height, facts.width) == stored.shape[:2]
    assert facts.upright_hw == (24, 40)
    assert np.abs(read_image(content).astype(int) - upright).max() <= (4 if format_name == "JPEG" else 0)
    grey = np.asarray(Image.fromarray(upright).convert("L").resize((8, 8), Image.Resampling.BOX))
    assert np.abs(read_thumbnail(content, edge_px=8).astype(int) - grey).max() <= 10


def test_the_header_tells_format_size_and_depth_without_decoding() -> None:
    content = _png_16(np.zeros((5, 7), np.uint16))
    assert read_header(content) == ImageFacts("PNG", 7, 5, 16, 1, None)
    assert read_header(content[:60]).width == 7


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        pytest.param("L", 77, (77, 77, 77), id="grey"),
        pytest.param("1", 1, (255, 255, 255), id="one bit"),
        pytest.param("LA", (200, 51), (40, 40, 40), id="grey on black, a fifth opaque"),
        pytest.param("RGBA", (100, 200, 50, 255), (100, 200, 50), id="opaque"),
        pytest.param("RGBA", (100, 200, 50, 0), (0, 0, 0), id="transparent is black"),
        pytest.param("RGBA", (100, 200, 50, 51), (20, 40, 10), id="a fifth opaque"),
    ],
)
def test_every_kind_of_pixel_becomes_rgb(mode: str, pixel: Any, expected: tuple[int, int, int]) -> None:
    image = read_image(_saved(Image.new(mode, (3, 2), pixel), "PNG"))
    assert image.dtype == np.uint8
    assert image.shape == (2, 3, 3)
    assert image[1, 2].tolist() == list(expected)


def test_a_palette_gives_its_colours_and_its_transparent_entry_is_black() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert read_image(_saved(image, "PNG")).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert read_image(_saved(image, "PNG", transparency=1)).tolist() == [[[10, 20, 30], [0, 0, 0]]]


def test_cmyk_becomes_rgb() -> None:
    content = _saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "TIFF")
    assert read_image(content)[3, 3].tolist() == [255, 0, 0]


@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_sixteen_bits_lose_their_low_byte_the_same_in_every_image(format_name: str) -> None:
    samples = np.array([[0, 255, 256, 4095, 65535]], np.uint16)
    image = read_image(_saved(Image.fromarray(samples), format_name))
    assert image[0, :, 0].tolist() == [0, 0, 1, 15, 255]
    assert (image[..., 0] == image[..., 2]).all()


def test_a_window_spreads_the_range_that_a_camera_fills() -> None:
    samples = np.array([[0, 1000, 2500, 4000, 65535]], np.uint16)
    image = read_image(_saved(Image.fromarray(samples), "PNG"), window=(1000, 4000))
    assert image[0, :, 1].tolist() == [0, 0, 128, 255, 255]


def test_a_window_reaches_the_low_bytes_of_sixteen_bit_colour() -> None:
    samples = np.array([[[0, 1000, 4000]]], np.uint16)
    assert read_image(_png_16(samples), window=(0, 4000)).tolist() == [[[0, 64, 255]]]
    assert read_image(_png_16(samples)).tolist() == [[[0, 3, 15]]]


def test_a_window_leaves_eight_bit_images_alone() -> None:
    assert np.array_equal(read_image(encode_png(LEFT_RED), window=(0, 4000)), LEFT_RED)


def test_floats_have_no_range_until_a_window_gives_one() -> None:
    samples = np.array([[-1.0, 0.25, 1.0, np.nan, np.inf]], np.float32)
    content = _saved(Image.fromarray(samples), "TIFF")
    assert read_image(content, window=(0.0, 1.0))[0, :, 0].tolist() == [0, 64, 255, 0, 255]
    with pytest.raises(ImageError, match="window"):
        read_image(content)


def test_a_window_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValueError, match="low below high"):
        read_image(encode_png(LEFT_RED), window=(4, 4))


def test_of_several_frames_the_first_is_used_and_all_are_counted() -> None:
    frames = [Image.new("L", (4, 4), level) for level in (10, 20, 30)]
    content = _saved(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert read_header(content).frames == 3
    assert read_image(content)[0, 0, 0] == 10


@pytest.mark.parametrize(
    ("format_name", "kept"),
    [
        pytest.param("JPEG", 0.6, id="JPEG"),
        pytest.param("PNG", 0.6, id="PNG"),
        pytest.param("TIFF", 0.6, id="TIFF"),
        pytest.param("BMP", 0.6, id="BMP"),
        pytest.param("WEBP", 0.6, id="WebP"),
        pytest.param("PNG", 0.02, id="hardly begun"),
    ],
)
def test_a_truncated_file_is_no_image(format_name: str, kept: float) -> None:
    content = _saved(Image.fromarray(_photo()), format_name)
    cut = content[: int(len(content) * kept)]
    for read in (read_image, lambda content: read_thumbnail(content, edge_px=16)):
        with pytest.raises(ImageError):
            read(cut)


def _claimed_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("size_wh", "message"),
    [
        pytest.param((20_000, 15_000), "300.0 megapixels, the limit is 200.0", id="above our limit"),
        pytest.param((60_000, 60_000), "too large", id="above what Pillow opens"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_by_its_header(size_wh: tuple[int, int], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_header(_claimed_size(*size_wh))


def test_the_pixel_limit_can_be_lowered_and_is_kept_exactly() -> None:
    content = encode_png(LEFT_RED)
    assert read_image(content, max_pixels=24).shape == (4, 6, 3)
    with pytest.raises(ImageError, match="6 x 4 px"):
        read_image(content, max_pixels=23)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"hello world", "neither JPEG", id="text"),
        pytest.param(_saved(Image.new("L", (2, 2)), "GIF"), "neither JPEG", id="a format we do not read"),
    ],
)
def test_what_is_no_image_says_what_would_be(content: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_header(content)


def test_an_error_about_a_file_names_it_and_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    path = tmp_path / "part 7.png"
    with pytest.raises(FileNotFoundError):
        read_image(path)
    path.write_bytes(b"not an image")
    with pytest.raises(ImageError, match=r"part 7\.png"):
        read_image(path)


def test_exif_behind_the_pixels_of_a_png_turns_it_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = _saved(Image.fromarray(LEFT_RED), "PNG", exif=exif)
    start = content.index(b"eXIf") - 4
    chunk = content[start : start + 12 + int.from_bytes(content[start : start + 4], "big")]
    end = content.index(b"IEND") - 4
    moved = content[:start] + content[start + len(chunk) : end] + chunk + content[end:]
    assert read_header(moved).exif_orientation == 6
    assert np.array_equal(read_image(moved), np.rot90(LEFT_RED, -1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_spoils_no_picture() -> None:
    content = _saved(Image.fromarray(LEFT_RED), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.array_equal(read_image(content), LEFT_RED)


@settings(max_examples=60, deadline=None)
@given(
    where=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    format_name=st.sampled_from(["JPEG", "PNG", "TIFF", "BMP", "WEBP"]),
)
@pytest.mark.filterwarnings("ignore")
def test_damage_gives_an_image_or_an_image_error_and_nothing_else(
    where: list[tuple[int, int]], format_name: str
) -> None:
    damaged = bytearray(_saved(Image.fromarray(_photo(12, 16)), format_name))
    for position, value in where:
        damaged[position % len(damaged)] = value
    with contextlib.suppress(ImageError):
        assert read_image(bytes(damaged), max_pixels=100_000).dtype == np.uint8


def test_a_thumbnail_is_a_square_of_grey_means() -> None:
    checks = np.zeros((40, 80, 3), np.uint8)
    checks[:20, :40] = 200
    thumbnail = read_thumbnail(encode_png(checks), edge_px=2)
    assert thumbnail.tolist() == [[200, 0], [0, 0]]
    assert thumbnail.dtype == np.uint8


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.zeros((4, 4), np.uint8), id="grey"),
        pytest.param(np.zeros((4, 4, 3), np.float32), id="float"),
        pytest.param(np.zeros((0, 4, 3), np.uint8), id="empty"),
    ],
)
def test_only_uint8_rgb_is_encoded(pixels: Any) -> None:
    with pytest.raises(ValueError, match="expected uint8 RGB"):
        encode_png(pixels)
