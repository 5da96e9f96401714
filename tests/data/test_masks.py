"""Label maps keep every id through every form they are stored and sent in."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image

from data.classes import IGNORE_LABEL, ClassMap
from data.images import ImageError
from data.masks import (
    MaskError,
    Polygon,
    encode_labels,
    from_rle,
    overlay,
    polygons_to_mask,
    read_color_labels,
    read_labels,
    to_polygons,
    to_rle,
)

CLASSES = ClassMap.from_names(["background", "scratch", "dent", "stain"])
LABELS = np.array([[0, 1, 2], [3, IGNORE_LABEL, 0]], np.uint8)
MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=13))
RING = np.ones((5, 5), np.bool_)
RING[1:4, 1:4] = False
RING_WITH_CORE = RING.copy()
RING_WITH_CORE[2, 2] = True


def _saved(image: Image.Image, format_name: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _mask(*rows: str) -> NDArray[np.bool_]:
    return np.array([[letter == "#" for letter in row] for row in rows])


@settings(deadline=None)
@given(
    labels=arrays(
        np.uint8,
        array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.sampled_from([0, 1, 2, 3, IGNORE_LABEL]),
    )
)
def test_a_palette_png_gives_back_every_id(labels: NDArray[np.uint8]) -> None:
    assert np.array_equal(read_labels(encode_labels(labels, CLASSES), class_count=4), labels)


def test_a_palette_png_shows_each_class_in_its_colour() -> None:
    image = Image.open(io.BytesIO(encode_labels(LABELS, CLASSES)))
    assert image.mode == "P"
    colors = np.asarray(image.convert("RGB"))
    assert tuple(colors[0, 2]) == CLASSES.classes[2].color
    assert tuple(colors[1, 1]) == (224, 224, 192)


@pytest.mark.parametrize("format_name", ["PNG", "BMP", "TIFF"])
def test_grey_levels_are_ids_in_every_lossless_format(format_name: str) -> None:
    assert np.array_equal(read_labels(_saved(Image.fromarray(LABELS), format_name)), LABELS)


def test_palette_indices_count_whatever_the_colours_are() -> None:
    labels = np.array([[0, 1, 2, 3]], np.uint8)
    image = Image.fromarray(labels)
    image.putpalette([255, 0, 0, 0, 255, 0, 255, 0, 0, 9, 9, 9])
    assert np.array_equal(read_labels(_saved(image)), labels)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_small_palettes_packed_into_few_bits_keep_their_indices(bits: int) -> None:
    labels = np.arange(2**bits, dtype=np.uint8)[None]
    image = Image.fromarray(labels)
    image.putpalette([200, 10, 10] * 2**bits)
    assert np.array_equal(read_labels(_saved(image, bits=bits)), labels)


@pytest.mark.parametrize(
    ("bits", "packed", "ids"),
    [
        pytest.param(2, 0b00011011, [0, 1, 2, 3], id="two bits"),
        pytest.param(4, 0x3F, [3, 15], id="four bits"),
        pytest.param(1, 0b01000000, [0, 1], id="one bit"),
    ],
)
def test_grey_of_few_bits_is_not_stretched(bits: int, packed: int, ids: list[int]) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", len(ids), 1, bits, 0, 0, 0, 0)
    pixels = zlib.compress(bytes([0, packed]))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    assert read_labels(content).tolist() == [ids]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(_saved(Image.new("RGB", (4, 4))), "is it coloured", id="RGB"),
        pytest.param(_saved(Image.new("RGBA", (4, 4))), "is it coloured", id="RGBA"),
        pytest.param(_saved(Image.new("LA", (4, 4))), "is it coloured", id="grey with alpha"),
        pytest.param(_saved(Image.new("I;16", (4, 4))), "16-bit samples", id="16-bit"),
        pytest.param(_saved(Image.new("L", (4, 4)), "JPEG"), "JPEG blurs", id="JPEG"),
        pytest.param(_saved(Image.new("RGB", (4, 4)), "WEBP"), "WEBP blurs", id="WebP"),
        pytest.param(_saved(Image.new("L", (4, 4)), exif=_turned()), "turned by EXIF", id="turned"),
    ],
)
def test_what_holds_no_ids_is_refused_with_a_way_out(content: bytes, message: str) -> None:
    with pytest.raises(MaskError, match=message):
        read_labels(content)


def test_a_truncated_mask_is_no_image() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (64, 64), np.uint8)
    content = _saved(Image.fromarray(labels))
    with pytest.raises(ImageError, match="truncated"):
        read_labels(content[: len(content) // 2])


def test_unknown_ids_are_counted_and_listed_and_255_is_known() -> None:
    labels = np.array([[0, 7, 7], [9, 1, IGNORE_LABEL]], np.uint8)
    with pytest.raises(MaskError, match=r"unknown ids 7 \(2 px\), 9 \(1 px\); the classes are 0 to 3"):
        read_labels(_saved(Image.fromarray(labels)), class_count=4)
    assert np.array_equal(read_labels(_saved(Image.fromarray(labels)), class_count=10), labels)
    assert np.array_equal(read_labels(_saved(Image.fromarray(labels))), labels)


def test_an_error_about_a_file_names_it_and_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    path = tmp_path / "part 7.png"
    with pytest.raises(FileNotFoundError):
        read_labels(path)
    path.write_bytes(_saved(Image.new("RGB", (4, 4))))
    with pytest.raises(MaskError, match=r"part 7\.png"):
        read_labels(path)


def test_unknown_ids_are_not_written() -> None:
    with pytest.raises(MaskError, match="unknown ids 4"):
        encode_labels(np.full((2, 2), 4, np.uint8), CLASSES)


def test_colours_become_the_ids_of_the_map() -> None:
    colors = np.array([[[0, 0, 0], [255, 0, 1]], [[1, 0, 255], [0, 0, 0]]], np.uint8)
    ids = {(0, 0, 0): 0, (255, 0, 1): 2, (1, 0, 255): IGNORE_LABEL}
    for content in (_saved(Image.fromarray(colors)), _saved(Image.fromarray(colors).quantize(8))):
        assert read_color_labels(content, ids).tolist() == [[0, 2], [255, 0]]


def test_unknown_colours_are_listed_the_commonest_first() -> None:
    colors = np.zeros((2, 3, 3), np.uint8)
    colors[0, :2] = (255, 128, 0)
    colors[1, 0] = (1, 2, 3)
    with pytest.raises(MaskError, match=r"#ff8000 \(2 px\), #010203 \(1 px\); add them"):
        read_color_labels(_saved(Image.fromarray(colors)), {(0, 0, 0): 0})


def test_colours_of_a_lossy_file_are_not_trusted() -> None:
    with pytest.raises(MaskError, match="JPEG blurs"):
        read_color_labels(_saved(Image.new("RGB", (4, 4)), "JPEG"), {(0, 0, 0): 0})


def test_an_overlay_tints_defects_and_leaves_all_else_untouched() -> None:
    image = np.full((2, 3, 3), 100, np.uint8)
    tinted = overlay(image, LABELS, CLASSES, 0.25)
    expected = image.copy()
    for row, column, class_id in ((0, 1, 1), (0, 2, 2), (1, 0, 3)):
        color = np.array(CLASSES.classes[class_id].color)
        expected[row, column] = np.rint(75 + 0.25 * color)
    assert np.array_equal(tinted, expected)
    assert (image == 100).all()
    assert np.array_equal(overlay(image, LABELS, CLASSES, 0.0), image)


def test_an_overlay_needs_an_image_of_the_same_size() -> None:
    with pytest.raises(ValueError, match="of the labels"):
        overlay(np.zeros((3, 3, 3), np.uint8), LABELS, CLASSES, 0.5)


@given(mask=MASKS)
@settings(deadline=None)
def test_run_lengths_are_those_of_pycocotools_and_give_the_mask_back(mask: NDArray[np.bool_]) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    rle = to_rle(mask)
    theirs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    assert rle == {"size": theirs["size"], "counts": theirs["counts"].decode()}
    assert np.array_equal(from_rle(rle), mask)
    assert np.array_equal(from_rle(theirs), mask)


def test_long_runs_that_shrink_and_grow_survive() -> None:
    mask = np.zeros((700, 900), np.bool_)
    mask[:, 100:400] = True
    mask[5, 500] = True
    mask[0, 899] = True
    assert np.array_equal(from_rle(to_rle(mask)), mask)


def test_run_lengths_may_come_as_a_list_and_run_down_the_columns() -> None:
    assert np.array_equal(from_rle({"size": [2, 3], "counts": [1, 2, 3]}), _mask(".#.", "#.."))


@pytest.mark.parametrize(
    "rle",
    [
        pytest.param({"size": [2, 3]}, id="no counts"),
        pytest.param({"size": [2], "counts": [6]}, id="no width"),
        pytest.param({"size": [2, 3], "counts": [5]}, id="too short"),
        pytest.param({"size": [2, 3], "counts": [-1, 7]}, id="negative"),
        pytest.param({"size": [2, 3], "counts": [2**62, 2**62, 2**62, 2**62, 6]}, id="sum wraps around"),
        pytest.param({"size": [2, 3], "counts": "~~"}, id="unknown letters"),
        pytest.param({"size": [2, 3], "counts": "o" * 50}, id="a number without end"),
        pytest.param({"size": [2, 3], "counts": "0o"}, id="ends within a number"),
        pytest.param({"size": [2, 3], "counts": "\xe4"}, id="not ASCII"),
        pytest.param({"size": [1_000_000, 1_000_000], "counts": [10**12]}, id="a bomb"),
    ],
)
def test_run_lengths_that_make_no_mask_are_refused(rle: dict[str, Any]) -> None:
    with pytest.raises(MaskError):
        from_rle(rle)


@given(mask=MASKS)
@settings(deadline=None)
def test_polygons_give_back_the_very_same_mask(mask: NDArray[np.bool_]) -> None:
    assert np.array_equal(polygons_to_mask(to_polygons(mask), size_hw=mask.shape), mask)


def test_a_pixel_is_the_square_around_its_centre() -> None:
    (polygon,) = to_polygons(_mask("....", "..#."))
    assert sorted(map(tuple, polygon.outline.tolist())) == [(2, 1), (2, 2), (3, 1), (3, 2)]
    assert polygon.holes == ()


@pytest.mark.parametrize(
    ("mask", "holes_of_each"),
    [
        pytest.param(RING, [1], id="ring"),
        pytest.param(RING_WITH_CORE, [0, 1], id="an island in the hole"),
        pytest.param(_mask("#.", ".#"), [0], id="corners touch: one part"),
        pytest.param(_mask("#####", "#.#.#", "#####"), [2], id="two holes"),
        pytest.param(_mask("..", ".."), [], id="nothing"),
    ],
)
def test_parts_and_holes_are_told_apart(mask: NDArray[np.bool_], holes_of_each: list[int]) -> None:
    polygons = to_polygons(mask)
    assert sorted(len(polygon.holes) for polygon in polygons) == holes_of_each
    assert np.array_equal(polygons_to_mask(polygons, size_hw=mask.shape), mask)


def test_a_hole_is_lost_only_when_it_is_left_out() -> None:
    (polygon,) = to_polygons(RING)
    assert polygons_to_mask([polygon], size_hw=(5, 5)).sum() == 16
    assert polygons_to_mask([polygon.outline], size_hw=(5, 5)).sum() == 25
    assert polygons_to_mask([Polygon(polygon.outline)], size_hw=(5, 5)).all()


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        pytest.param([(0, 0), (2, 0), (2, 1), (0, 1)], _mask("##..", "....", "...."), id="box"),
        pytest.param([(0, 0), (0, 1), (2, 1), (2, 0)], _mask("##..", "....", "...."), id="other way round"),
        pytest.param([(0.6, 0), (2.6, 0), (2.6, 1), (0.6, 1)], _mask(".##.", "....", "...."), id="shifted"),
        pytest.param([(0, 0), (3.01, 0), (0, 3.01)], _mask("###.", "##..", "#..."), id="triangle"),
        pytest.param([(-5, 1), (9, 1), (9, 9), (-5, 9)], _mask("....", "####", "####"), id="sticks out"),
        pytest.param([(10, 10), (12, 10), (12, 12)], _mask("....", "....", "...."), id="outside"),
        pytest.param([(1, 1), (1, 1), (1, 1)], _mask("....", "....", "...."), id="a point has no area"),
    ],
)
def test_pixels_whose_centre_is_inside_are_filled(
    points: list[tuple[float, float]], expected: NDArray[np.bool_]
) -> None:
    assert np.array_equal(polygons_to_mask([np.array(points, np.float64)], size_hw=(3, 4)), expected)


def test_overlapping_polygons_are_united() -> None:
    left = np.array([(0, 0), (3, 0), (3, 1), (0, 1)], np.float64)
    assert polygons_to_mask([left, left + np.array((1, 0))], size_hw=(1, 5)).tolist() == [
        [True] * 4 + [False]
    ]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_polygons_fill_what_pycocotools_fills_along_whole_pixels() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    outline = np.array([(2, 1), (9, 1), (9, 4), (6, 4), (6, 8), (2, 8)], np.float64)
    theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([outline.ravel().tolist()], 10, 12)))
    assert np.array_equal(polygons_to_mask([outline], size_hw=(10, 12)), theirs.astype(bool))


@pytest.mark.parametrize(
    "ring",
    [
        pytest.param(np.zeros((2, 2)), id="two points"),
        pytest.param(np.zeros((4, 3)), id="three coordinates"),
        pytest.param(np.array([(0, 0), (1, np.nan), (1, 1)]), id="not a number"),
    ],
)
def test_a_ring_that_encloses_nothing_is_refused(ring: NDArray[np.float64]) -> None:
    with pytest.raises(MaskError, match="three or more finite points"):
        polygons_to_mask([ring], size_hw=(4, 4))
