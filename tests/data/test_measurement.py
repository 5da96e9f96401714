"""Defects are measured as long and as wide as they were drawn."""

import math
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from data.defects import Defect
from data.measurement import measure_defects

TURNS_DEG = (0, 15, 45, 80, 117, 163)


def _measure(mask: NDArray[np.bool_]) -> Defect:
    (defect,) = measure_defects(
        mask.astype(np.uint8), confidence=np.full(mask.shape, 255, np.uint8), class_ids=(1,)
    )
    return defect


def _offsets(side_px: int, *, turned_deg: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far each pixel lies along and across a direction from a point near the middle of a square image."""
    # Off the grid: a shape that is centred on a pixel is easier than most.
    rows, columns = np.mgrid[:side_px, :side_px] - side_px / 2 - np.array([0.2, 0.3])[:, None, None]
    turn = math.radians(turned_deg)
    return columns * math.cos(turn) + rows * math.sin(turn), rows * math.cos(turn) - columns * math.sin(turn)


def _bar(*, length_px: float, width_px: float, turned_deg: float) -> NDArray[np.bool_]:
    along, across = _offsets(int(length_px + width_px) + 8, turned_deg=turned_deg)
    return (np.abs(along) <= length_px / 2) & (np.abs(across) <= width_px / 2)


def _stroke(line_xy: NDArray[np.float64], *, width_px: float, turned_deg: float) -> NDArray[np.bool_]:
    """The pixels within half a width of a dense line [points, 2] around (0, 0): a stroke with round ends."""
    turn = math.radians(turned_deg)
    turned_xy = line_xy @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    side_px = 2 * int(np.abs(turned_xy).max() + width_px) + 8
    columns, rows = _offsets(side_px)
    mask = np.zeros((side_px, side_px), np.bool_)
    for x, y in turned_xy:
        top, left = (int(side_px / 2 + middle - width_px / 2 - 1) for middle in (y, x))
        near = np.s_[top : top + int(width_px) + 4, left : left + int(width_px) + 4]
        mask[near] |= np.hypot(columns[near] - x, rows[near] - y) <= width_px / 2
    return mask


def _arc(radius_px: float, *, degrees: float) -> NDArray[np.float64]:
    angles = np.radians(np.linspace(0, degrees, 4 * int(radius_px * math.radians(degrees))))
    return radius_px * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _assert_measured(
    defect: Defect, *, length_px: float, width_px: float, length_within_px: float, width_within_px: float
) -> None:
    assert defect.length_px == pytest.approx(length_px, abs=length_within_px)
    assert defect.width_px == pytest.approx(width_px, abs=width_within_px)


@pytest.mark.parametrize("turned_deg", TURNS_DEG)
@pytest.mark.parametrize(
    ("length_px", "width_px"),
    [
        pytest.param(20, 1.01, id="hair"),
        pytest.param(150, 1.01, id="long hair"),
        pytest.param(60, 2, id="2 px"),
        pytest.param(150, 3, id="3 px"),
        pytest.param(20, 5, id="short"),
        pytest.param(60, 9, id="9 px"),
        pytest.param(80, 40, id="rectangle"),
        pytest.param(40, 40, id="square"),
    ],
)
def test_straight_scratches_and_rectangles(length_px: float, width_px: float, turned_deg: float) -> None:
    defect = _measure(_bar(length_px=length_px, width_px=width_px, turned_deg=turned_deg))
    _assert_measured(
        defect, length_px=length_px, width_px=width_px, length_within_px=2.0, width_within_px=1.0
    )
    if length_px > width_px:
        off_deg = abs(defect.orientation_deg - turned_deg)
        assert min(off_deg, 180 - off_deg) <= 3


@pytest.mark.parametrize("radius_px", [3, 10, 60])
def test_a_disc_is_as_long_as_its_diameter_and_as_wide_as_it_is_on_average(radius_px: float) -> None:
    defect = _measure(np.hypot(*_offsets(2 * radius_px + 10)) <= radius_px)
    diameter_px = 2 * radius_px
    _assert_measured(
        defect,
        length_px=diameter_px,
        width_px=math.pi / 4 * diameter_px,
        length_within_px=1.0,
        width_within_px=1.0,
    )


@pytest.mark.parametrize("turned_deg", [0, 30, 45])
def test_an_ellipse_is_as_long_as_its_longer_axis(turned_deg: float) -> None:
    along, across = _offsets(110, turned_deg=turned_deg)
    defect = _measure((along / 40) ** 2 + (across / 20) ** 2 <= 1)
    _assert_measured(
        defect, length_px=80, width_px=math.pi / 4 * 40, length_within_px=1.0, width_within_px=1.0
    )


@pytest.mark.parametrize(
    ("radius_px", "width_px"),
    [
        pytest.param(10, 2, id="small"),
        pytest.param(10, 9, id="small and thick"),
        pytest.param(30, 3, id="middle"),
        pytest.param(80, 9, id="large"),
        pytest.param(80, 2, id="large and thin"),
    ],
)
def test_a_ring_is_measured_once_around(radius_px: float, width_px: float) -> None:
    from_centre_px = np.hypot(*_offsets(2 * radius_px + 20))
    around_px = 2 * math.pi * radius_px
    defect = _measure(np.abs(from_centre_px - radius_px) <= width_px / 2)
    _assert_measured(
        defect,
        length_px=around_px,
        width_px=width_px,
        length_within_px=max(2.0, 0.03 * around_px),
        width_within_px=0.5,
    )


@pytest.mark.parametrize("turned_deg", TURNS_DEG)
@pytest.mark.parametrize("width_px", [1.4, 2, 3, 5, 9])
@pytest.mark.parametrize(
    ("radius_px", "degrees"),
    [
        pytest.param(15, 180, id="tight"),
        pytest.param(40, 270, id="open ring"),
        pytest.param(100, 60, id="bow"),
    ],
)
def test_a_bent_crack_is_measured_along_its_arc(
    radius_px: float, degrees: float, width_px: float, turned_deg: float
) -> None:
    length_px = radius_px * math.radians(degrees) + width_px
    mask = _stroke(_arc(radius_px, degrees=degrees), width_px=width_px, turned_deg=turned_deg)
    bearable = 0.06 if radius_px >= 3 * width_px else 0.07
    _assert_measured(
        _measure(mask),
        length_px=length_px,
        width_px=width_px,
        length_within_px=max(2.0, bearable * length_px),
        width_within_px=0.5,
    )


@pytest.mark.parametrize("turned_deg", [0, 20, 45, 90])
@pytest.mark.parametrize("width_px", [1.4, 2, 3, 5])
@pytest.mark.parametrize(
    ("height_px", "wave_px"), [pytest.param(5, 60, id="shallow"), pytest.param(15, 90, id="steep")]
)
def test_a_winding_crack_is_measured_along_its_wave(
    height_px: float, wave_px: float, width_px: float, turned_deg: float
) -> None:
    along = np.linspace(-90, 90, 1000)
    line_xy = np.stack([along, height_px * np.sin(2 * math.pi * along / wave_px)], axis=1)
    length_px = sum(math.dist(start, end) for start, end in pairwise(line_xy.tolist())) + width_px
    defect = _measure(_stroke(line_xy, width_px=width_px, turned_deg=turned_deg))
    _assert_measured(
        defect,
        length_px=length_px,
        width_px=width_px,
        length_within_px=max(2.0, 0.02 * length_px),
        width_within_px=0.5,
    )


def test_side_branches_do_not_lengthen_a_crack() -> None:
    mask = np.zeros((60, 220), np.bool_)
    mask[30:33, 10:210] = True
    mask[10:30, 60:63] = True
    mask[33:55, 150:153] = True
    assert _measure(mask).length_px == pytest.approx(200, abs=2)


def test_a_crack_ends_where_its_pit_ends() -> None:
    along, across = _offsets(160)
    crack = (np.abs(across) <= 1.5) & (along >= -70) & (along <= 40)
    pit = np.hypot(along - 50, across) <= 15
    assert _measure(crack | pit).length_px == pytest.approx(70 + 50 + 15, abs=3)


@pytest.mark.parametrize("turned_deg", TURNS_DEG)
def test_the_corners_of_a_blunt_end_do_not_lengthen_a_thick_crack(turned_deg: float) -> None:
    along, across = _offsets(360, turned_deg=turned_deg)
    one_leg = (np.abs(across) <= 15) & (along >= -15) & (along <= 105)
    other_leg = (np.abs(along) <= 15) & (across >= -15) & (across <= 105)
    # At most 105 px along either leg, at least 90 px and then straight across the corner's 15 x 15 px.
    assert 2 * 90 + 15 * math.sqrt(2) - 1 <= _measure(one_leg | other_leg).length_px <= 2 * 105


def test_a_triangle_is_no_shorter_than_its_side() -> None:
    mask = np.zeros((80, 80), np.uint8)
    cv2.fillPoly(mask, [np.array([[10, 62], [70, 62], [40, 10]])], 1)
    assert _measure(mask.astype(np.bool_)).length_px == pytest.approx(61, abs=1)


def test_a_pointed_tip_is_measured_to_its_point() -> None:
    # Bent by a corner, so that the middle line is asked: 2 x 80 px long, from 12 px at the corner to 0 at either tip.
    mask = np.zeros((200, 200), np.uint8)
    cv2.fillPoly(mask, [np.array([[30, 110], [92, 42], [104, 42], [170, 110], [98, 54]])], 1)
    half_px = (math.dist((30, 110), (98, 48)) + math.dist((98, 48), (170, 110))) / 2
    assert _measure(mask.astype(np.bool_)).length_px == pytest.approx(2 * half_px, rel=0.05)


def test_a_large_ring_is_measured_on_a_coarser_grid_as_well_as_a_small_one() -> None:
    from_centre_px = np.hypot(*_offsets(2200))
    defect = _measure(np.abs(from_centre_px - 800) <= 200)
    assert defect.area_px > 2_000_000
    assert defect.length_px == pytest.approx(2 * math.pi * 800, rel=0.01)
    assert defect.width_px == pytest.approx(400, rel=0.01)


def test_a_long_thin_crack_across_a_large_image_keeps_its_length() -> None:
    mask = np.zeros((2400, 2400), np.uint8)
    cv2.line(mask, (100, 100), (1200, 2000), 1, 1)
    cv2.line(mask, (1200, 2000), (2300, 100), 1, 1)
    length_px = 2 * math.hypot(1100, 1900)
    assert _measure(mask.astype(np.bool_)).length_px == pytest.approx(length_px, rel=0.01)


def test_one_pixel_is_one_pixel_long_and_wide() -> None:
    labels = np.zeros((3, 4), np.uint8)
    labels[1, 2] = 1
    assert measure_defects(labels, confidence=np.full((3, 4), 51, np.uint8), class_ids=(1,)) == [
        Defect(
            class_id=1,
            area_px=1,
            box_xyxy=(2, 1, 3, 2),
            centroid_xy=(2.0, 1.0),
            length_px=1.0,
            width_px=1.0,
            orientation_deg=pytest.approx(90.0, abs=90.0),
            mean_confidence=0.2,
            peak_confidence=0.2,
            touches_border=False,
        )
    ]


@pytest.mark.parametrize(
    ("rows", "columns", "touches"),
    [
        pytest.param(slice(0, 2), slice(3, 5), True, id="top"),
        pytest.param(slice(6, 8), slice(3, 5), True, id="bottom"),
        pytest.param(slice(3, 5), slice(0, 2), True, id="left"),
        pytest.param(slice(3, 5), slice(7, 9), True, id="right"),
        pytest.param(slice(1, 7), slice(1, 8), False, id="one pixel short of every edge"),
    ],
)
def test_a_defect_at_the_edge_of_the_image_says_so(rows: slice, columns: slice, touches: bool) -> None:
    mask = np.zeros((8, 9), np.bool_)
    mask[rows, columns] = True
    assert _measure(mask).touches_border is touches


def test_confidence_is_that_of_the_defects_own_pixels() -> None:
    labels = np.array([[1, 1, 0], [0, 1, 0]], np.uint8)
    confidence = np.array([[102, 153, 255], [255, 204, 255]], np.uint8)
    (defect,) = measure_defects(labels, confidence=confidence, class_ids=(1,))
    assert defect.mean_confidence == pytest.approx(0.6)
    assert defect.peak_confidence == pytest.approx(0.8)


def test_outside_of_what_is_allowed_nothing_is_a_defect() -> None:
    labels = np.zeros((5, 12), np.uint8)
    labels[2, 1:11] = 1
    labels[4, 11] = 1
    allowed = np.ones((5, 12), np.bool_)
    allowed[:, 5:7] = False
    allowed[4] = False
    before = labels.copy()
    defects = measure_defects(
        labels, confidence=np.full(labels.shape, 9, np.uint8), class_ids=(1,), allowed=allowed
    )
    assert [defect.box_xyxy for defect in defects] == [(1, 2, 5, 3), (7, 2, 11, 3)]
    assert np.array_equal(labels, before)


def test_the_largest_defect_of_the_asked_classes_comes_first() -> None:
    labels = np.array([[2, 0, 1, 1, 0, 3], [0, 0, 0, 0, 0, 3], [1, 1, 1, 0, 0, 3]], np.uint8)
    defects = measure_defects(labels, confidence=labels, class_ids=(1, 2))
    assert [(defect.class_id, defect.area_px) for defect in defects] == [(1, 3), (1, 2), (2, 1)]
    large = measure_defects(labels, confidence=labels, class_ids=(1, 2), min_area_px=3)
    assert large == defects[:1]


def test_a_clean_part_has_no_defects() -> None:
    clean = np.zeros((4, 4), np.uint8)
    assert measure_defects(clean, confidence=clean, class_ids=(1, 2)) == []


@settings(deadline=None)
@given(
    labels=arrays(
        np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.sampled_from([0, 1, 2, 255])
    ),
    data=st.data(),
)
def test_every_allowed_defect_pixel_is_counted_once_and_area_is_length_times_width(
    labels: NDArray[np.uint8], data: st.DataObject
) -> None:
    allowed = data.draw(arrays(np.bool_, labels.shape))
    defects = measure_defects(labels, confidence=labels, class_ids=(1, 2), allowed=allowed)
    for class_id in (1, 2):
        counted_px = sum(defect.area_px for defect in defects if defect.class_id == class_id)
        assert counted_px == np.count_nonzero((labels == class_id) & allowed)
    for defect in defects:
        assert defect.length_px * defect.width_px == pytest.approx(defect.area_px)
        assert defect.length_px >= 1.0
        assert defect.mean_confidence * 255 == pytest.approx(defect.class_id)


@settings(deadline=None, max_examples=50)
@given(
    heights_px=st.lists(st.integers(0, 30), min_size=2, max_size=6),
    width_px=st.integers(1, 7),
    turns=st.integers(1, 3),
)
def test_a_quarter_turn_of_the_image_changes_no_measurement(
    heights_px: list[int], width_px: int, turns: int
) -> None:
    drawn = np.zeros((50, 160), np.uint8)
    line_xy = np.array([(10 + 25 * k, 10 + height) for k, height in enumerate(heights_px)])
    cv2.polylines(drawn, [line_xy], isClosed=False, color=1, thickness=width_px)
    upright, turned = _measure(drawn.astype(np.bool_)), _measure(np.rot90(drawn, turns).astype(np.bool_))
    assert turned.area_px == upright.area_px
    assert turned.length_px == pytest.approx(upright.length_px, abs=2.0, rel=0.03)
    assert turned.width_px == pytest.approx(upright.width_px, abs=0.3, rel=0.03)


@pytest.mark.parametrize(
    ("confidence", "allowed", "message"),
    [
        pytest.param(np.zeros((4, 4), np.float32), None, "confidence is float32", id="probabilities"),
        pytest.param(np.zeros((4, 5), np.uint8), None, r"\[4, 5\]: expected uint8 \[4, 4\]", id="other size"),
        pytest.param(
            np.zeros((4, 4), np.uint8),
            np.zeros((4, 4), np.uint8),
            "allowed is uint8",
            id="allowed as numbers",
        ),
        pytest.param(
            np.zeros((4, 4), np.uint8),
            np.zeros((2, 2), np.bool_),
            r"allowed .* \[2, 2\]",
            id="allowed too small",
        ),
    ],
)
def test_maps_of_another_type_or_size_are_refused(
    confidence: NDArray[np.uint8], allowed: NDArray[np.bool_] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure_defects(np.zeros((4, 4), np.uint8), confidence=confidence, class_ids=(1,), allowed=allowed)
