"""One pass counts what the summary and the report tell."""

import numpy as np
import pytest

from app.folder.inspection import Inspection
from app.folder.tally import bin_edge, size_bin, take_tally
from data.classes import ClassMap


def test_images_and_defects_are_counted(inspections: tuple[Inspection, ...], class_map: ClassMap) -> None:
    tally = take_tally(inspections, class_map=class_map)
    assert tally.verdicts == {"OK": 2, "NG": 1, "REVIEW": 1, "ERROR": 1}
    assert (tally.images, tally.judged, tally.yield_share) == (5, 4, 0.5)
    assert tally.defects == {1: 3, 2: 1, 3: 0}
    assert tally.frame_wh == (320, 160)
    assert [(one.verdict, one.images) for one in tally.reasons] == [("NG", 1), ("REVIEW", 1), ("NG", 1)]
    assert tally.not_judged == (("e.jpg", "a JPEG that is cut off; copy it again"),)


def test_without_a_judged_image_there_is_no_yield(
    inspections: tuple[Inspection, ...], class_map: ClassMap
) -> None:
    for rows in ((), inspections[-1:]):
        tally = take_tally(rows, class_map=class_map)
        assert (tally.yield_share, tally.judged, tally.frame_wh) == (None, 0, (1, 1))


@pytest.mark.parametrize(
    ("mm_per_px", "expected"),
    [
        # 300 and 150 px lie between 100, 200 and 500; 12 px, twice, between 10 and 20.
        pytest.param(None, {7: 1, 6: 1, 3: 2}, id="px"),
        # 3, 1.5 and 0.12 mm².
        pytest.param(0.1, {1: 1, 0: 1, -3: 2}, id="mm²"),
    ],
)
def test_sizes_fall_into_bins_of_their_unit(
    inspections: tuple[Inspection, ...],
    class_map: ClassMap,
    mm_per_px: float | None,
    expected: dict[int, int],
) -> None:
    assert take_tally(inspections, class_map=class_map, mm_per_px=mm_per_px).sizes == expected


@pytest.mark.parametrize(
    ("number", "edge"), [(-4, 0.05), (-1, 0.5), (0, 1.0), (1, 2.0), (2, 5.0), (3, 10.0), (19, 2e6)]
)
def test_a_bin_begins_at_its_edge(number: int, edge: float) -> None:
    assert bin_edge(number) == pytest.approx(edge)
    assert size_bin(edge * 1.001) == number
    assert size_bin(edge * 0.999) == number - 1


def test_defects_are_placed_by_their_centre(inspections: tuple[Inspection, ...], class_map: ClassMap) -> None:
    expected = np.zeros((32, 32), np.int64)
    # Twice the first pixel, once the very middle (which is where cell 16 begins), once the last pixel.
    expected[0, 0], expected[16, 16], expected[31, 31] = 2, 1, 1
    np.testing.assert_array_equal(take_tally(inspections, class_map=class_map).places, expected)
