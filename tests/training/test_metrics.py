"""Scores against numbers worked by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data.classes import ClassMap
from training.metrics import Confusion, Reliability, escape_rate, overkill_rate
from training.region_metrics import BoundaryScore, DefectCounts, ImageDefects

CLASSES = ClassMap.from_names(["background", "scratch", "pit"])


def grid(*rows: str) -> np.ndarray:
    """A label map from rows of digits; x is ignored."""
    return np.array([[255 if cell == "x" else int(cell) for cell in row] for row in rows], np.uint8)


@pytest.fixture
def confusion() -> Confusion:
    """background 5 of 6 right, scratch 2 of 4 (two called background), pit absent but predicted once."""
    confusion = Confusion(3)
    confusion.add(grid("00000", "01111", "xxxxx"), grid("00000", "21100", "12012"))
    return confusion


def test_pixels_are_counted_by_truth_and_prediction_without_the_ignored(confusion: Confusion) -> None:
    assert confusion.counts.tolist() == [[5, 0, 1], [2, 2, 0], [0, 0, 0]]


def test_scores_of_present_classes_are_those_worked_by_hand(confusion: Confusion) -> None:
    assert confusion.iou()[:2] == pytest.approx([5 / 8, 2 / 4])
    assert confusion.dice()[:2] == pytest.approx([10 / 13, 4 / 6])
    assert confusion.precision()[:2] == pytest.approx([5 / 7, 1.0])
    assert confusion.recall()[:2] == pytest.approx([5 / 6, 2 / 4])
    assert confusion.mean_iou == pytest.approx((5 / 8 + 2 / 4) / 2)
    assert confusion.mean_defect_iou(CLASSES) == pytest.approx(2 / 4)


def test_a_class_absent_from_truth_is_null_and_its_false_pixels_show_in_precision(
    confusion: Confusion,
) -> None:
    assert (confusion.iou()[2], confusion.dice()[2], confusion.recall()[2]) == (None, None, None)
    assert confusion.precision()[2] == 0.0


def test_a_class_never_predicted_has_no_precision_but_zero_iou() -> None:
    confusion = Confusion(2)
    confusion.add(grid("01"), grid("00"))
    assert (confusion.precision()[1], confusion.iou()[1], confusion.recall()[1]) == (None, 0.0, 0.0)


def test_an_all_background_image_is_perfect_and_has_no_defect_score() -> None:
    confusion = Confusion(3)
    confusion.add(grid("000"), grid("000"))
    assert (confusion.mean_iou, confusion.mean_defect_iou(CLASSES)) == (1.0, None)


def test_nothing_counted_means_nothing_known() -> None:
    confusion = Confusion(2)
    confusion.add(grid("xx"), grid("01"))
    assert confusion.mean_iou is None
    assert confusion.iou() == [None, None]


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        pytest.param(grid("00"), grid("03"), "label 3 is none of the 3 classes", id="predicted"),
        pytest.param(grid("04"), grid("00"), "label 4 is none of the 3 classes", id="true"),
        pytest.param(grid("00"), grid("0x"), "label 255 is none", id="a prediction ignores nothing"),
        pytest.param(grid("00"), grid("0", "0"), "must be one shape", id="shapes"),
    ],
)
def test_labels_that_mean_nothing_are_refused(truth: np.ndarray, predicted: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Confusion(3).add(truth, predicted)


labels = hnp.arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2]))
truths = hnp.arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2, 255]))


@given(truth=truths, predicted=labels)
def test_parts_counted_apart_merge_into_the_whole(truth: np.ndarray, predicted: np.ndarray) -> None:
    whole, upper, lower = Confusion(3), Confusion(3), Confusion(3)
    whole.add(truth, predicted)
    upper.add(truth[:3], predicted[:3])
    lower.add(truth[3:], predicted[3:])
    upper.merge(lower)
    assert np.array_equal(upper.counts, whole.counts)
    assert whole.counts.sum() == np.count_nonzero(truth != 255)


@given(truth=truths, predicted=labels)
def test_no_score_is_ever_nan_or_out_of_range(truth: np.ndarray, predicted: np.ndarray) -> None:
    confusion, boundary, defects = Confusion(3), BoundaryScore(3), DefectCounts(CLASSES)
    confusion.add(truth, predicted)
    boundary.add(truth, predicted)
    defects.add(truth, predicted)
    scores = [
        *confusion.iou(),
        *confusion.dice(),
        *confusion.precision(),
        *boundary.f_scores(),
        defects.recall(),
    ]
    json.dumps(scores, allow_nan=False)
    assert all(score is None or 0.0 <= score <= 1.0 for score in scores)


def test_ece_is_the_mean_gap_between_stated_and_actual() -> None:
    # 3 pixels at 255 (stated 1.0), 2 of them right; 1 pixel at 51 (stated 0.2), right; an ignored one.
    reliability = Reliability()
    reliability.add(
        np.array([255, 255, 255, 51, 255], np.uint8),
        truth=np.array([1, 1, 0, 0, 255], np.uint8),
        predicted=np.array([1, 1, 1, 0, 1], np.uint8),
    )
    assert reliability.ece() == pytest.approx(3 / 4 * (1 - 2 / 3) + 1 / 4 * (1 - 0.2))
    low, high = reliability.bins()
    assert (low.confidence, low.accuracy, low.share) == pytest.approx((0.2, 1.0, 0.25))
    assert (high.confidence, high.accuracy, high.share) == pytest.approx((1.0, 2 / 3, 0.75))


def test_errors_of_opposite_sign_cancel_within_a_bin_but_not_across_bins() -> None:
    reliability = Reliability(bins=2)
    # Both in the upper bin: stated 0.6 and 1.0, right one of two -> 0.8 against 0.5.
    reliability.add(
        np.array([153, 255], np.uint8), truth=np.array([1, 0], np.uint8), predicted=np.array([1, 1], np.uint8)
    )
    assert reliability.ece() == pytest.approx(0.3)


def test_no_pixel_has_no_calibration_error() -> None:
    assert Reliability().ece() is None
    assert Reliability().bins() == ()


@pytest.mark.parametrize(
    ("is_ng", "called_ng", "escape", "overkill"),
    [
        pytest.param([1, 1, 1, 0, 0], [1, 0, 1, 1, 0], 1 / 3, 1 / 2, id="mixed"),
        pytest.param([1, 1], [1, 1], 0.0, None, id="no OK image"),
        pytest.param([0], [1], None, 1.0, id="no NG image"),
        pytest.param([], [], None, None, id="no image"),
    ],
)
def test_escape_counts_ng_called_ok_and_overkill_ok_called_ng(
    is_ng: list[bool], called_ng: list[bool], escape: float | None, overkill: float | None
) -> None:
    assert escape_rate(is_ng, called_ng=called_ng) == pytest.approx(escape)
    assert overkill_rate(is_ng, called_ng=called_ng) == pytest.approx(overkill)


TWO_DEFECTS = grid(
    "0000000000",
    "0111100220",
    "0000000220",
    "0000000000",
)


@pytest.mark.parametrize(
    ("predicted", "scratch", "pit", "any_defect", "false_alarms"),
    [
        pytest.param(TWO_DEFECTS, 1.0, 1.0, 1.0, 0, id="all found"),
        pytest.param(np.zeros_like(TWO_DEFECTS), 0.0, 0.0, 0.0, 0, id="nothing found"),
        pytest.param(np.where(TWO_DEFECTS == 2, 1, TWO_DEFECTS), 1.0, 0.0, 1.0, 0, id="pit called scratch"),
        pytest.param(
            grid("0000000000", "0100000000", "0000000000", "2200000002"),
            1.0,
            0.0,
            0.5,
            2,
            id="a quarter is found",
        ),
    ],
)
def test_defects_are_found_by_region(
    predicted: np.ndarray, scratch: float, pit: float, any_defect: float, false_alarms: int
) -> None:
    defects = DefectCounts(CLASSES)
    defects.add(TWO_DEFECTS, predicted.astype(np.uint8))
    assert (defects.recall(1), defects.recall(2), defects.recall()) == (scratch, pit, any_defect)
    assert defects.false_alarms_per_image() == false_alarms


def test_the_wrong_class_on_a_true_defect_is_a_false_alarm_of_that_class_alone() -> None:
    defects = DefectCounts(CLASSES)
    counted = defects.add(TWO_DEFECTS, np.where(TWO_DEFECTS == 2, 1, TWO_DEFECTS).astype(np.uint8))
    assert counted == ImageDefects(
        true=2, missed=0, predicted=2, false=0, found_by_class={1: (1, 1), 2: (0, 1)}
    )
    assert (defects.false_alarms_per_image(1), defects.false_alarms_per_image(2)) == (1.0, 0.0)


@pytest.mark.parametrize(("covered_px", "found"), [(1, False), (2, True)])
def test_a_region_is_found_from_a_tenth_of_it_on(covered_px: int, found: bool) -> None:
    truth, predicted = np.zeros((1, 20), np.uint8), np.zeros((1, 20), np.uint8)
    truth[0], predicted[0, :covered_px] = 1, 1
    defects = DefectCounts(CLASSES)
    defects.add(truth, predicted)
    assert defects.recall() == float(found)


def test_regions_too_small_to_count_neither_find_nor_alarm_and_true_ones_always_count() -> None:
    defects = DefectCounts(CLASSES, min_area_px=2)
    counted = defects.add(grid("10002"), grid("10100"))
    assert counted == ImageDefects(
        true=2, missed=2, predicted=0, false=0, found_by_class={1: (0, 1), 2: (0, 1)}
    )


def test_what_is_predicted_where_truth_is_ignored_is_nobodys_alarm() -> None:
    defects = DefectCounts(CLASSES)
    counted = defects.add(grid("xxx00"), grid("11100"))
    assert counted == ImageDefects(true=0, missed=0, predicted=0, false=0, found_by_class={})
    assert defects.recall() is None


def test_false_alarms_are_per_image() -> None:
    defects = DefectCounts(CLASSES)
    for predicted in ("10101", "00000"):
        defects.add(grid("00000"), grid(predicted))
    assert defects.false_alarms_per_image() == 1.5


def square(top: int, left: int, *, side: int = 6, label: int = 1) -> np.ndarray:
    """A square of a class in a background of 24 x 24 pixels."""
    labels = np.zeros((24, 24), np.uint8)
    labels[top : top + side, left : left + side] = label
    return labels


@pytest.mark.parametrize(
    ("shift_px", "expected"),
    [
        pytest.param(0, 1.0, id="exact"),
        pytest.param(2, 1.0, id="within tolerance"),
        pytest.param(12, 0.0, id="elsewhere"),
    ],
)
def test_contours_within_the_tolerance_match(shift_px: int, expected: float) -> None:
    boundary = BoundaryScore(2)
    boundary.add(square(3, 3), square(3, 3 + shift_px))
    assert boundary.f_scores()[1] == pytest.approx(expected)


def test_boundary_f_is_the_harmonic_mean_of_contour_precision_and_recall() -> None:
    # The truth is a column of 24 pixels, the prediction that column and another six pixels away.
    truth, predicted = np.zeros((24, 24), np.uint8), np.zeros((24, 24), np.uint8)
    truth[:, 4] = 1
    predicted[:, [4, 10]] = 1
    boundary = BoundaryScore(2)
    boundary.add(truth, predicted)
    assert boundary.f_scores()[1] == pytest.approx(2 * 0.5 * 1.0 / 1.5)


def test_a_tolerance_is_a_distance_not_a_square() -> None:
    truth, predicted = np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8)
    truth[2, 2], predicted[4, 4] = 1, 1
    boundary = BoundaryScore(2, tolerance_px=2)
    boundary.add(truth, predicted)
    assert boundary.f_scores()[1] == 0.0


def test_neither_the_image_edge_nor_an_ignored_area_is_a_contour() -> None:
    boundary = BoundaryScore(2)
    boundary.add(grid("11x", "11x"), grid("110", "110"))
    assert boundary.f_scores() == [None, None]


def test_a_contour_never_predicted_scores_zero_and_one_absent_from_truth_nothing() -> None:
    boundary = BoundaryScore(3)
    boundary.add(square(3, 3), square(3, 3, label=2))
    assert boundary.f_scores()[1:] == [0.0, None]
