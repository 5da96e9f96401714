"""One number per image must decide exactly as the graph and the region finder would."""

import numpy as np
import pytest

from data.classes import ClassMap
from data.regions import find_regions
from training.image_scores import (
    AREAS_PX,
    NEVER,
    THRESHOLDS,
    IouCurve,
    log_odds_of,
    quantize,
    scores_by_area,
    weigh,
)
from training.metrics import Confusion

CLASSES = ClassMap.from_names(["background", "scratch", "pit"])
# Other grid points are no harder; these span what a network says.
SOME_THRESHOLDS = (0, 60, 90, 96, 97, 104, 130, 200)


def smooth_probabilities(seed: int, *, size_hw: tuple[int, int] = (24, 32)) -> np.ndarray:
    """Probabilities with blobs of several sizes, float32 [3, height, width]."""
    random = np.random.default_rng(seed)
    coarse = (
        random.normal(0.0, 3.0, (3, size_hw[0] // 4, size_hw[1] // 4)).repeat(4, axis=1).repeat(4, axis=2)
    )
    logits = coarse + random.normal(0.0, 1.0, (3, *size_hw))
    logits[0] += 2.0
    exponential = np.exp(logits - logits.max(axis=0))
    return (exponential / exponential.sum(axis=0)).astype(np.float32)


def labels_at(
    probabilities: np.ndarray, *, threshold: float, defect_weights: tuple[float, float]
) -> np.ndarray:
    """What the graph answers with the background's decision weight raised to exp(threshold)."""
    weights = np.array([np.exp(threshold), *defect_weights])
    return (probabilities * weights[:, None, None]).argmax(axis=0).astype(np.uint8)


def test_log_odds_are_those_worked_by_hand() -> None:
    probabilities = np.array([[0.5], [0.1], [0.4]], np.float32)
    log_odds, defect = log_odds_of(probabilities, defect_weights=(1.0, 0.5), class_map=CLASSES)
    assert log_odds == pytest.approx(np.log(0.2 / 0.5))
    assert defect.tolist() == [1]
    log_odds, defect = log_odds_of(probabilities, defect_weights=(4.0, 0.5), class_map=CLASSES)
    assert log_odds == pytest.approx(np.log(0.4 / 0.5))
    assert defect.tolist() == [0]


def test_the_strongest_background_counts_where_there_are_several() -> None:
    three = ClassMap.from_names(["background", "pit", "Background"])
    probabilities = np.array([[0.1], [0.3], [0.6]], np.float32)
    log_odds, _ = log_odds_of(probabilities, defect_weights=(1.0,), class_map=three)
    assert log_odds == pytest.approx(np.log(0.3 / 0.6))


def test_a_level_counts_the_thresholds_strictly_below() -> None:
    log_odds = np.array([-np.inf, -12.0, -11.99, 0.0, 0.01, 16.0, 99.0], np.float32)
    assert quantize(log_odds).tolist() == [0, 0, 1, 96, 97, 224, 225]
    assert [np.count_nonzero(value > THRESHOLDS) for value in log_odds] == quantize(log_odds).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_scores_decide_as_regions_of_the_graphs_labels_do(seed: int) -> None:
    probabilities = smooth_probabilities(seed)
    defect_weights = (1.0, 1.5)
    scores = scores_by_area(weigh(probabilities, defect_weights=defect_weights, class_map=CLASSES))
    for threshold in SOME_THRESHOLDS:
        labels = labels_at(probabilities, threshold=THRESHOLDS[threshold], defect_weights=defect_weights)
        for area_px, score in zip(AREAS_PX, scores, strict=True):
            called_ng = bool(find_regions(labels, class_ids=CLASSES.defect_ids, min_area_px=area_px))
            assert called_ng == (score >= threshold), f"threshold {threshold}, area {area_px}"


def test_larger_areas_never_score_higher() -> None:
    scores = scores_by_area(weigh(smooth_probabilities(7), defect_weights=(1.0, 1.0), class_map=CLASSES))
    assert np.all(np.diff(scores) <= 0)


def test_an_image_that_shows_nothing_never_scores() -> None:
    probabilities = np.zeros((3, 8, 8), np.float32)
    probabilities[0] = 1.0
    scores = scores_by_area(weigh(probabilities, defect_weights=(1.0, 1.0), class_map=CLASSES))
    assert np.all(scores == NEVER)


def test_iou_curve_agrees_with_the_confusion_of_the_graphs_labels() -> None:
    curve = IouCurve(CLASSES)
    images = []
    random = np.random.default_rng(0)
    for seed in range(3):
        probabilities = smooth_probabilities(seed)
        truth = random.choice(np.array([0, 0, 1, 2, 255], np.uint8), probabilities.shape[1:])
        evidence = weigh(probabilities, defect_weights=(1.0, 2.0), class_map=CLASSES)
        curve.add(level=evidence.level, defect=evidence.defect, truth=truth)
        images.append((probabilities, truth))
    mean = curve.mean()
    assert mean is not None
    for threshold in SOME_THRESHOLDS:
        confusion = Confusion(3)
        for probabilities, truth in images:
            labels = labels_at(probabilities, threshold=THRESHOLDS[threshold], defect_weights=(1.0, 2.0))
            confusion.add(truth, labels)
        assert mean[threshold] == pytest.approx(confusion.mean_defect_iou(CLASSES))
        assert curve.per_class()[:, threshold] == pytest.approx(confusion.iou()[1:])


def test_sampled_pixels_count_for_as_many_as_they_stand_for() -> None:
    every, sampled = IouCurve(CLASSES), IouCurve(CLASSES)
    level, defect = np.array([200, 10], np.uint8), np.array([0, 0], np.uint8)
    truth = np.array([1, 0], np.uint8)
    every.add(level=level.repeat([2, 6]), defect=defect.repeat([2, 6]), truth=truth.repeat([2, 6]))
    weights = np.array([2, 6], np.float32)
    sampled.add(level=level, defect=defect, truth=truth, pixel_weights=weights)
    assert np.array_equal(every.per_class(), sampled.per_class(), equal_nan=True)


def test_without_a_defect_in_truth_there_is_no_curve() -> None:
    curve = IouCurve(CLASSES)
    curve.add(level=np.zeros(4, np.uint8), defect=np.zeros(4, np.uint8), truth=np.zeros(4, np.uint8))
    assert curve.mean() is None
