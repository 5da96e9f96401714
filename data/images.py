"""Bytes become RGB pixels here and nowhere else, so training and service see the same picture.

Pillow decodes: it raises on truncated files where OpenCV returns half a picture, and for 8-bit JPEG and PNG
the pixels are the same (600 x 400 px JPEG: 1.5 ms, OpenCV 1.1 ms).
"""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from data.image_guards import check_steps, count_tiff_pages

MAX_PIXELS: Final = 200_000_000
"""Pixels (width x height) beyond which an image is refused before it is decoded: 600 MB as RGB."""

Rgb = NDArray[np.uint8]

# Pillow warns above its limit and refuses above twice of it. Ours replaces it; the limit itself stays.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

_FORMATS: Final = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
_EXIF_ORIENTATION: Final = 0x0112
_EXIF_AT_MOST_BYTES: Final = 1 << 20
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS = 256, 257, 258
_TURNS_SIDES: Final = (5, 6, 7, 8)
_BAND_ROWS: Final = 512
# What Pillow's decoders raise on damaged files; they promise OSError alone, fuzzing finds the rest.
_DAMAGE: Final = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


class ImageError(ValueError):
    """Not an image we can use; the message says what came and what to do."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the header says. Width and height in px as stored, before the EXIF turn.

    format: JPEG, PNG, TIFF, BMP or WEBP; bit_depth: bits per sample; frames: pictures in the file, of which
    the first is used; exif_orientation: 1-8, None where the file has none.
    """

    format: str
    width: int
    height: int
    bit_depth: int
    frames: int
    exif_orientation: int | None

    @property
    def upright_hw(self) -> tuple[int, int]:
        """(height, width) in px of what `read_image` returns."""
        turned = self.exif_orientation in _TURNS_SIDES
        return (self.width, self.height) if turned else (self.height, self.width)


def read_header(content: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """Look at an image file without decoding its pixels.

    Raises:
        ImageError: no image of a format we read, or more than `max_pixels`.
    """
    return open_checked(content, max_pixels=max_pixels)[1]


def read_image(
    source: Path | bytes, *, max_pixels: int = MAX_PIXELS, window: tuple[float, float] | None = None
) -> Rgb:
    """Decode to uint8 RGB [height, width, 3], turned upright by EXIF.

    Grey becomes three equal channels. Transparency is composited on black: what is not there reflects no
    light. CMYK is converted without its profile. Of several frames the first is used. More than 8 bits per
    sample become 8 by dropping the low bits (`>> 8` of 16), the same for every image; `window` = (low, high)
    maps that range to 0-255 instead and clips beyond it, for cameras that fill 12 of 16 bits. It leaves 8-bit
    files alone.

    Raises:
        ImageError: no image, truncated, over `max_pixels`, or 32-bit samples without a window.
        OSError: the path cannot be read.
    """
    if window is not None and not window[0] < window[1]:
        raise ValueError(f"window {window}: expected (low, high) with low below high")
    content = source if isinstance(source, bytes) else source.read_bytes()
    try:
        return _decode(content, max_pixels=max_pixels, window=window)
    except ImageError as error:
        if isinstance(source, bytes):
            raise
        raise ImageError(f"{source}: {error}") from error


def read_thumbnail(content: bytes, *, edge_px: int, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """A small grey picture to compare by, uint8 [edge_px, edge_px], upright, squeezed to a square.

    JPEGs are decoded at a fraction of their size, which reads every byte but spares most of the work.

    Raises:
        ImageError: as `read_image`.
    """
    image, facts = open_checked(content, max_pixels=max_pixels)
    if facts.format == "JPEG":
        image.draft("L", (edge_px, edge_px))
    pixels = _pixels(image, facts, content=content, window=None)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    return np.asarray(cv2.resize(grey, (edge_px, edge_px), interpolation=cv2.INTER_AREA), np.uint8)


def open_checked(content: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[Image.Image, ImageFacts]:
    """The opened image, not yet decoded, and its facts; `data.masks` reads ids from it.

    Raises:
        ImageError: as `read_header`.
    """
    if not content:
        raise ImageError("an empty file; copy it again")
    try:
        check_steps(content)
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        facts = _facts(image, content)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"neither JPEG, PNG, TIFF, BMP nor WebP (it begins with {content[:8]!r}); convert it"
        ) from error
    except _DAMAGE as error:
        raise ImageError(f"damaged or too large ({error}); save it again") from error
    pixels = facts.width * facts.height
    if pixels > max_pixels:
        raise ImageError(
            f"{facts.width} x {facts.height} px are {pixels / 1e6:.1f} megapixels, the limit is "
            f"{max_pixels / 1e6:.1f}; cut the image, or raise the limit"
        )
    return image, facts


def encode_png(rgb: Rgb) -> bytes:
    """uint8 RGB [height, width, 3] → the bytes of a PNG file."""
    return _encode(rgb, suffix=".png", parameters=())


def encode_jpeg(rgb: Rgb, *, quality: int = 90) -> bytes:
    """uint8 RGB [height, width, 3] → the bytes of a JPEG file; `quality` 1-100."""
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality {quality}: expected 1 to 100")
    return _encode(rgb, suffix=".jpg", parameters=(cv2.IMWRITE_JPEG_QUALITY, quality))


def load_pixels(image: Image.Image) -> None:
    """Decode an opened image in place.

    Raises:
        ImageError: truncated or damaged.
    """
    try:
        image.load()
    except _DAMAGE as error:
        raise ImageError(f"truncated or damaged ({error}); copy or export it again") from error


def _decode(content: bytes, *, max_pixels: int, window: tuple[float, float] | None) -> Rgb:
    image, facts = open_checked(content, max_pixels=max_pixels)
    pixels = _pixels(image, facts, content=content, window=window)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8) if pixels.ndim == 2 else pixels


def _pixels(
    image: Image.Image, facts: ImageFacts, *, content: bytes, window: tuple[float, float] | None
) -> NDArray[np.uint8]:
    """Decoded, upright, uint8: RGB [height, width, 3], or grey [height, width] where it has no colour."""
    load_pixels(image)
    # Read again after loading: Pillow turns TIFF by itself and then forgets the tag.
    orientation = _orientation(image, content)
    try:
        pixels = _eight_bit(image, facts, content=content, window=window)
    except _DAMAGE as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{image.mode} pixels cannot become RGB ({error}); save it as RGB") from error
    # Whoever gets these may write into them; Pillow's own arrays are read-only.
    return np.require(_turned(pixels, orientation), requirements=("C", "W"))


def _eight_bit(
    image: Image.Image, facts: ImageFacts, *, content: bytes, window: tuple[float, float] | None
) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        samples: NDArray[np.uint16] = np.asarray(image)
        if window is None:
            high_bits: NDArray[np.uint8] = (samples >> (facts.bit_depth - 8)).astype(np.uint8)
            return high_bits
        return _windowed(samples, window)
    if image.mode in ("I", "F"):
        if window is None:
            raise ImageError(
                "its samples have no fixed range (32-bit, float or signed); give a window (low, high)"
            )
        return _windowed(np.asarray(image), window)
    if window is not None and facts.bit_depth > 8:
        return _windowed_color(content, facts, window)
    if image.mode == "L" and not image.has_transparency_data:
        return np.asarray(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image))[
            ..., :3
        ]
    return _to_array(image if image.mode == "RGB" else image.convert("RGB"))


def _to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels of an 8-bit image, band by band: Pillow would hold a large one three times to hand it over once."""
    width, height = image.size
    pixels = np.empty((height, width, len(image.getbands())), np.uint8)
    for top in range(0, height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


def _windowed(samples: NDArray[Any], window: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = window
    inside = np.nan_to_num(np.clip(samples.astype(np.float32), low, high), nan=low)
    pixels: NDArray[np.uint8] = np.rint((inside - low) * (255.0 / (high - low))).astype(np.uint8)
    return pixels


def _windowed_color(content: bytes, facts: ImageFacts, window: tuple[float, float]) -> NDArray[np.uint8]:
    """16-bit colour, whose low bytes Pillow drops; OpenCV keeps them, and Pillow found the file whole."""
    if facts.format != "PNG":
        raise ImageError(f"a window for 16-bit colour works on PNG, this is {facts.format}; save it as PNG")
    samples = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.ndim != 3 or samples.shape[:2] != (facts.height, facts.width):
        raise ImageError("its 16-bit colours cannot be read; save it as RGB PNG")
    pixels = _windowed(samples[..., 2::-1], window)
    if samples.shape[2] == 4:
        opacity = samples[..., 3:].astype(np.float32) / 65535.0
        pixels = np.rint(pixels * opacity).astype(np.uint8)
    return pixels


def _facts(image: Image.Image, content: bytes) -> ImageFacts:
    width, height = image.size
    bit_depth = 1 if image.mode == "1" else 8
    format_name = "JPEG" if image.format in ("JPEG", "MPO") else str(image.format)
    if format_name == "PNG":
        bit_depth = content[24]
    elif format_name == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        # Pillow gives the size after the turn for TIFF alone.
        width, height = int(tags[_TIFF_WIDTH]), int(tags[_TIFF_HEIGHT])
        bit_depth = int(max(tags.get(_TIFF_BITS, (1,))))
    frames = count_tiff_pages(content) if format_name == "TIFF" else int(getattr(image, "n_frames", 1))
    return ImageFacts(format_name, width, height, bit_depth, frames, _orientation(image, content))


def _orientation(image: Image.Image, content: bytes) -> int | None:
    """EXIF orientation 1-8; None where there is none that can be read: damaged EXIF spoils no picture."""
    if image.format == "PNG" and not _may_hold_exif(image, content):
        return None
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except _DAMAGE:
        return None
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else None


def _may_hold_exif(png: Image.Image, content: bytes) -> bool:
    """Asked first, since Pillow would decode a whole PNG to look for EXIF behind its pixels."""
    marks = ("exif", "xmp", "XML:com", "Raw profile")
    before_pixels = any(str(key).startswith(marks) for key in png.info)
    return before_pixels or b"eXIf" in content[-_EXIF_AT_MOST_BYTES:]


def _turned(pixels: NDArray[np.uint8], orientation: int | None) -> NDArray[np.uint8]:
    """Undo the turn that EXIF orientation (1-8) tells of; [height, width, ...] may swap."""
    if orientation in _TURNS_SIDES:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _encode(rgb: Rgb, *, suffix: str, parameters: tuple[int, ...]) -> bytes:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ValueError(f"{rgb.dtype} {list(rgb.shape)}: expected uint8 RGB [height, width, 3]")
    done, encoded = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), parameters)
    if not done:
        raise ValueError(f"{rgb.shape[1]} x {rgb.shape[0]} px do not fit into a {suffix} file")
    return encoded.tobytes()
