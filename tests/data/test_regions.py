"""Regions are the defects an inspector would count."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from data.regions import Region, find_regions


def _labels(*rows: str) -> NDArray[np.uint8]:
    return np.array([[int(letter) if letter != "." else 0 for letter in row] for row in rows], np.uint8)


def _only(labels: NDArray[np.uint8]) -> Region:
    (region,) = find_regions(labels, class_ids=(1,))
    return region


def test_a_region_knows_its_class_area_box_centroid_and_shape() -> None:
    region = _only(_labels(".....", "..11.", "...1.", "....."))
    assert (region.class_id, region.area_px) == (1, 3)
    assert region.box_xyxy == (2, 1, 4, 3)
    assert region.centroid_xy == pytest.approx((8 / 3, 4 / 3))
    assert region.mask.tolist() == [[True, True], [False, True]]


def test_corners_connect_and_classes_do_not() -> None:
    labels = _labels("1...", ".1..", "..22", "....")
    regions = find_regions(labels, class_ids=(1, 2))
    assert [(region.class_id, region.area_px) for region in regions] == [(1, 2), (2, 2)]


def test_the_largest_comes_first_and_equal_ones_by_class_then_from_the_top_left() -> None:
    labels = _labels("2.1.1", ".....", "111..", ".....", "1....")
    regions = find_regions(labels, class_ids=(2, 1))
    assert [(region.class_id, region.box_xyxy[:2]) for region in regions] == [
        (1, (0, 2)),
        (1, (2, 0)),
        (1, (4, 0)),
        (1, (0, 4)),
        (2, (0, 0)),
    ]


def test_only_the_asked_classes_and_areas_are_found() -> None:
    labels = _labels("11.3", "...3", "2..3", "....")
    labels[3, 3] = 255
    assert [region.class_id for region in find_regions(labels, class_ids=(1, 2))] == [1, 2]
    assert [region.class_id for region in find_regions(labels, class_ids=(1, 2), min_area_px=2)] == [1]
    assert find_regions(labels, class_ids=(1, 2), min_area_px=3) == []
    assert find_regions(np.zeros((4, 4), np.uint8), class_ids=(1, 2)) == []


@settings(deadline=None)
@given(
    labels=arrays(
        np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 1, 2, 255])
    )
)
def test_regions_put_together_are_the_label_map_again(labels: NDArray[np.uint8]) -> None:
    drawn = np.where(labels == 255, labels, 0)
    for region in find_regions(labels, class_ids=(1, 2)):
        left, top, right, bottom = region.box_xyxy
        window = drawn[top:bottom, left:right]
        assert not window[region.mask].any()
        window[region.mask] = region.class_id
        assert region.mask.any(axis=0).all()
        assert region.mask.any(axis=1).all()
        assert region.area_px == np.count_nonzero(region.mask)
    assert np.array_equal(drawn, labels)


@pytest.mark.parametrize(
    ("labels", "length_px", "width_px", "orientation_deg"),
    [
        pytest.param(_labels("1"), 1, 1, None, id="one pixel"),
        pytest.param(_labels(".....", ".111.", "....."), 3, 1, 0, id="along a row"),
        pytest.param(_labels("...", ".1.", ".1.", ".1.", ".1."), 4, 1, 90, id="along a column"),
        pytest.param(_labels("1111", "1111"), 4, 2, 0, id="box"),
    ],
)
def test_length_and_width_count_whole_pixels(
    labels: NDArray[np.uint8], length_px: float, width_px: float, orientation_deg: float | None
) -> None:
    region = _only(labels)
    assert region.length_px == pytest.approx(length_px)
    assert region.width_px == pytest.approx(width_px)
    if orientation_deg is not None:
        assert region.orientation_deg == pytest.approx(orientation_deg)


@pytest.mark.parametrize("degrees", [10, 45, 80, 135, 170])
def test_a_turned_scratch_keeps_its_length_and_tells_its_direction(degrees: float) -> None:
    rows, columns = np.mgrid[-100:100, -100:100]
    turn = math.radians(degrees)
    along = columns * math.cos(turn) + rows * math.sin(turn)
    across = rows * math.cos(turn) - columns * math.sin(turn)
    labels = ((np.abs(along) <= 60) & (np.abs(across) <= 2.5)).astype(np.uint8)
    region = _only(labels)
    assert region.length_px == pytest.approx(120, abs=2)
    assert region.width_px == pytest.approx(5, abs=1.5)
    assert region.orientation_deg == pytest.approx(degrees, abs=2)


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(np.zeros((3, 3), np.int64), id="int64"),
        pytest.param(np.zeros((1, 3, 3), np.uint8), id="batch"),
    ],
)
def test_only_uint8_label_maps_have_regions(labels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[height, width\]"):
        find_regions(labels, class_ids=(1,))
