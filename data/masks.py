"""Label maps in files and messages: index PNG, colour PNG, COCO run lengths, polygons with holes.

Pillow reads them: OpenCV turns the ids 0-3 of a palette PNG into 0, 38, 75 and 113.
"""

import io
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.classes import IGNORE_LABEL, ClassMap, Color
from data.images import MAX_PIXELS, ImageError, load_pixels, open_checked, read_image
from data.label_counts import count_labels
from data.rings import Ring, fill_rings, trace_rings
from data.run_lengths import pack_runs, unpack_runs

IGNORE_COLOR: Final[Color] = (224, 224, 192)
"""How 255 looks in a palette PNG; the colour Pascal VOC gave it."""

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_LOSSLESS: Final = ("PNG", "BMP", "TIFF")
_LISTED_AT_MOST: Final = 8


class MaskError(ValueError):
    """Not a mask we can use; the message says what came and what to do."""


class Rle(TypedDict):
    """COCO's run lengths, as JSON carries them: size is [height, width], counts the compressed string."""

    size: list[int]
    counts: str


@dataclass(frozen=True, slots=True, eq=False)
class Polygon:
    """One outline and the holes in it, each float64 [points, 2] of (x, y), closed without repeating a point.

    Whole numbers lie on the edges between pixels: pixel (0, 0) is the square from (0, 0) to (1, 1).
    """

    outline: Ring
    holes: tuple[Ring, ...] = ()


def read_labels(source: Path | bytes, *, class_count: int | None = None) -> Labels:
    """Read an index mask, uint8 [height, width]: grey up to 8 bits, or palette (indices, not colours).

    Args:
        source: a PNG, BMP or TIFF file.
        class_count: when given, ids from there on are refused, but for 255, which means ignore.

    Raises:
        MaskError: coloured, 16-bit, lossy, turned by EXIF, or with unknown ids.
        ImageError: no readable image.
        OSError: the path cannot be read.
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    try:
        labels = _decode_ids(content)
        if class_count is not None:
            _refuse_unknown(labels, class_count=class_count)
    except (MaskError, ImageError) as error:
        if isinstance(source, bytes):
            raise
        raise type(error)(f"{source}: {error}") from error
    return labels


def read_color_labels(source: Path | bytes, ids: Mapping[Color, int]) -> Labels:
    """Read a coloured mask, uint8 [height, width], by the id of each (red, green, blue).

    Raises:
        MaskError: a lossy format, or a colour that `ids` does not know; lists them.
        ImageError: no readable image.
        OSError: the path cannot be read.
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    _refuse_lossy(open_checked(content)[1].format)
    red, green, blue = np.moveaxis(read_image(content).astype(np.uint32), -1, 0)
    packed = red << 16 | green << 8 | blue
    # Id plus one for each of 2^24 colours; only the touched pages of the 32 MB ever exist.
    table = np.zeros(1 << 24, np.uint16)
    for (r, g, b), label in ids.items():
        table[r << 16 | g << 8 | b] = label + 1
    shifted: NDArray[np.uint16] = table[packed]
    unknown = packed[shifted == 0]
    if unknown.size:
        colors, counts = np.unique(unknown, return_counts=True)
        order = np.argsort(-counts)[:_LISTED_AT_MOST]
        listed = ", ".join(f"#{colors[at]:06x} ({counts[at]} px)" for at in order)
        more = f" and {len(colors) - len(order)} more" if len(colors) > len(order) else ""
        raise MaskError(
            f"colours without a class: {listed}{more}; add them to the colour map, or draw without smoothing"
        )
    return (shifted - 1).astype(np.uint8)


def encode_labels(labels: Labels, class_map: ClassMap) -> bytes:
    """uint8 [height, width] → palette PNG: every viewer shows colours, every reader finds the ids.

    Raises:
        MaskError: an id that is neither a class nor 255.
    """
    _check_labels(labels)
    _refuse_unknown(labels, class_count=len(class_map))
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(class_map)] = [spec.color for spec in class_map.classes]
    palette[IGNORE_LABEL] = IGNORE_COLOR
    image = Image.fromarray(labels)
    image.putpalette(palette.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def overlay(
    image: NDArray[np.uint8], labels: Labels, class_map: ClassMap, alpha: float = 0.5
) -> NDArray[np.uint8]:
    """Tint the defects of a uint8 RGB image [height, width, 3] with their colours; a new image.

    `alpha` 0-1 is how much of the colour shows. Background and ignored pixels stay exactly as they are.
    """
    _check_labels(labels)
    if image.shape != (*labels.shape, 3) or image.dtype != np.uint8:
        raise ValueError(f"image {list(image.shape)}: expected uint8 RGB of the labels' {list(labels.shape)}")
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha {alpha}: expected 0 to 1")
    tinted = image.copy()
    levels = np.arange(256, dtype=np.float32) * (1.0 - alpha)
    for class_id in class_map.defect_ids:
        inside = labels == class_id
        if inside.any():
            pixels = tinted[inside]
            for channel, level in enumerate(class_map.classes[class_id].color):
                blended = np.rint(levels + np.float32(alpha * level)).astype(np.uint8)
                pixels[:, channel] = blended[pixels[:, channel]]
            tinted[inside] = pixels
    return tinted


def to_rle(mask: Mask) -> Rle:
    """bool [height, width] → run lengths down the columns, zeros first, as pycocotools writes them."""
    flat = np.asarray(mask, np.bool_).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = [0] if flat[0] else []
    ends = [0, *first, *changes.tolist(), flat.size]
    runs = [stop - start for start, stop in itertools.pairwise(ends)]
    return Rle(size=[int(edge) for edge in mask.shape], counts=pack_runs(runs))


def from_rle(rle: Mapping[str, Any]) -> Mask:
    """COCO run lengths (counts a string, bytes or a list of runs) → bool [height, width].

    Raises:
        MaskError: no run lengths, runs that do not fill the size, or a size beyond `data.images.MAX_PIXELS`.
    """
    try:
        height, width = (int(edge) for edge in rle["size"])
        counts = rle["counts"]
        if isinstance(counts, str | bytes):
            counts = unpack_runs(counts.encode("ascii") if isinstance(counts, str) else counts)
        runs = np.asarray(counts, np.int64).reshape(-1)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MaskError(
            f"no COCO run lengths ({error!r}); expected size [height, width] and counts"
        ) from error
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise MaskError(f"run lengths for {width} x {height} px; expected 1 to {MAX_PIXELS} pixels")
    if (runs < 0).any() or (runs > height * width).any() or runs.sum() != height * width:
        raise MaskError(f"runs of {runs.sum()} px in all for {width} x {height} px; export them again")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def to_polygons(mask: Mask) -> tuple[Polygon, ...]:
    """Outlines of each 8-connected part of bool [height, width] along pixel edges, with their holes.

    `polygons_to_mask` gives back the very same mask.
    """
    return tuple(Polygon(outline, holes) for outline, holes in trace_rings(mask))


def polygons_to_mask(polygons: Iterable[Polygon | Ring], *, size_hw: tuple[int, int]) -> Mask:
    """The pixels whose centre lies in any polygon, bool [height, width]; what sticks out is cut off.

    A bare array [points, 2] of (x, y) is a polygon without holes. A ring that crosses itself is filled by the
    even-odd rule.

    Raises:
        MaskError: a ring that is not [points, 2] of finite numbers, at least three points.
    """
    mask = np.zeros(size_hw, np.bool_)
    for polygon in polygons:
        rings = (polygon.outline, *polygon.holes) if isinstance(polygon, Polygon) else (polygon,)
        fill_rings(mask, [_checked_ring(ring) for ring in rings])
    return mask


def _checked_ring(ring: Ring) -> Ring:
    points = np.asarray(ring, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
        raise MaskError(f"a ring of shape {list(points.shape)}; expected three or more finite points (x, y)")
    return points


def _decode_ids(content: bytes) -> Labels:
    image, facts = open_checked(content)
    _refuse_lossy(facts.format)
    if facts.exif_orientation not in (None, 1):
        raise MaskError(f"turned by EXIF (orientation {facts.exif_orientation}); save it upright")
    if image.mode.startswith(("RGB", "CMYK", "LA")):
        raise MaskError(
            f"{image.mode} pixels, expected ids in 8-bit grey or a palette; is it coloured? Import it with a "
            "colour map: `segnet data import --format folder --colors FILE`"
        )
    if image.mode not in ("1", "L", "P"):
        raise MaskError(
            f"{facts.bit_depth}-bit samples ({image.mode}), expected ids in 8 bits; save it as 8-bit grey PNG"
        )
    load_pixels(image)
    labels = np.array(image, np.uint8)
    if image.mode == "L" and facts.bit_depth in (2, 4):
        # Pillow stretches grey of few bits to 0-255: right for pictures, wrong for ids.
        labels //= 255 // (2**facts.bit_depth - 1)
    return labels


def _refuse_lossy(format_name: str) -> None:
    if format_name not in _LOSSLESS:
        raise MaskError(f"{format_name} blurs the ids of a mask; save it as {', '.join(_LOSSLESS)}")


def _refuse_unknown(labels: Labels, *, class_count: int) -> None:
    # Asked first: counting is a third of the time that encoding a mask takes.
    if labels.max() < class_count:
        return
    pixels = count_labels(labels)
    unknown = [int(label) for label in np.flatnonzero(pixels) if class_count <= label < IGNORE_LABEL]
    if unknown:
        listed = ", ".join(f"{label} ({pixels[label]} px)" for label in unknown[:_LISTED_AT_MOST])
        more = f" and {len(unknown) - _LISTED_AT_MOST} more" if len(unknown) > _LISTED_AT_MOST else ""
        raise MaskError(
            f"unknown ids {listed}{more}; the classes are 0 to {class_count - 1}, {IGNORE_LABEL} is ignore: "
            "add the class, or correct the mask"
        )


def _check_labels(labels: Labels) -> None:
    if labels.dtype != np.uint8 or labels.ndim != 2 or not labels.size:
        raise ValueError(f"{labels.dtype} {list(labels.shape)}: expected labels uint8 [height, width]")
