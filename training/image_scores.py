"""How sure a model is that an image holds a defect: one number per image and smallest area.

A pixel becomes a defect when its strongest weighted defect probability beats its background probability: `log
max_d(v_d p_d) - log max_b(p_b) > threshold`. Raising the background's decision weight to `exp(threshold)`
does exactly that inside the graph, so a threshold chosen here is a decision weight there, and nothing in the
service has to know about thresholds. An image is called NG when one connected region of one defect class
holds at least `min_area_px` such pixels; its score is the highest threshold at which that still happens.

Scores live on a fixed grid, so an image costs a few labellings of connected regions and leaves a few
integers.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from data.classes import IGNORE_LABEL, ClassMap
from model.contract import Contract

#: Thresholds in log-odds (natural logarithm), ascending: from p = 6e-6 to 1 - 1e-7, an eighth apart.
THRESHOLDS: Final[NDArray[np.float64]] = np.linspace(-12.0, 16.0, 225)
#: Smallest areas tried, in pixels: squares of one to eleven pixels' side.
AREAS_PX: Final[tuple[int, ...]] = (1, 4, 9, 16, 32, 64, 128)
#: The score of an image that stays OK even at the lowest threshold.
NEVER: Final = -1

_TINY: Final = np.float32(1e-30)


class HasProbabilities(Protocol):
    """What scoring needs of a prediction."""

    @property
    def probabilities(self) -> NDArray[np.float32] | None:
        """Float32 [classes, height, width], summing to one over classes."""


class PredictsProbabilities(Protocol):
    """What calibration needs of a predictor: `model.predictor.Predictor`, or a fake in a test."""

    @property
    def contract(self) -> Contract:
        """What the model promises; calibration reads its classes."""

    def predict(self, image: NDArray[np.uint8], *, want_probabilities: bool = ...) -> HasProbabilities:
        """uint8 RGB [height, width, 3] → a prediction that carries probabilities when asked."""


@dataclass(frozen=True)
class Evidence:
    """What one image says: per pixel, how far and towards which class.

    Attributes:
        level: uint8 [height, width]; number of THRESHOLDS below the pixel's log-odds, so the pixel is a
        defect
            at `THRESHOLDS[k]` exactly when `level > k`.
        defect: uint8 [height, width]; position of its strongest defect class in `ClassMap.defect_ids`.
        defects: how many defect classes there are.
    """

    level: NDArray[np.uint8]
    defect: NDArray[np.uint8]
    defects: int


def weigh(
    probabilities: NDArray[np.float32], *, defect_weights: tuple[float, ...], class_map: ClassMap
) -> Evidence:
    """Evidence of probabilities, float32 [classes, height, width]; weights in the order of `defect_ids`."""
    log_odds, defect = log_odds_of(
        probabilities.reshape(len(probabilities), -1), defect_weights=defect_weights, class_map=class_map
    )
    size_hw = probabilities.shape[1:]
    return Evidence(
        level=quantize(log_odds).reshape(size_hw),
        defect=defect.reshape(size_hw),
        defects=len(class_map.defect_ids),
    )


def log_odds_of(
    probabilities: NDArray[np.float32], *, defect_weights: tuple[float, ...], class_map: ClassMap
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Log-odds float32 [pixels] and strongest defect uint8 [pixels], of float32 [classes, pixels]."""
    strongest = probabilities[class_map.defect_ids[0]] * np.float32(defect_weights[0])
    defect = np.zeros(strongest.shape, np.uint8)
    for position, class_id in enumerate(class_map.defect_ids[1:], start=1):
        weighted = probabilities[class_id] * np.float32(defect_weights[position])
        better = weighted > strongest
        defect[better] = position
        np.maximum(strongest, weighted, out=strongest)
    background = probabilities[list(class_map.background_ids)].max(axis=0)
    log_odds = np.log(np.maximum(strongest, _TINY)) - np.log(np.maximum(background, _TINY))
    return log_odds.astype(np.float32, copy=False), defect


def quantize(log_odds: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Log-odds → uint8, how many THRESHOLDS lie strictly below each."""
    step = THRESHOLDS[1] - THRESHOLDS[0]
    level = np.ceil((log_odds - np.float32(THRESHOLDS[0])) / np.float32(step))
    return np.asarray(np.clip(level, 0, len(THRESHOLDS)), np.uint8)


def scores_by_area(evidence: Evidence, *, areas_px: tuple[int, ...] = AREAS_PX) -> NDArray[np.int16]:
    """The image's score for each smallest area: an index into THRESHOLDS, or NEVER; int16 [areas].

    A region can only shrink as the threshold rises, so each score is found by bisection; the labellings are
    remembered between areas.
    """
    seen: dict[int, int] = {}

    def largest_px(threshold: int) -> int:
        if threshold not in seen:
            seen[threshold] = _largest_region_px(evidence, threshold=threshold)
        return seen[threshold]

    scores = np.full(len(areas_px), NEVER, np.int16)
    top = int(evidence.level.max()) - 1
    for position, area_px in enumerate(areas_px):
        low, high = NEVER, top
        while low < high:
            middle = (low + high + 1) // 2
            if largest_px(middle) >= area_px:
                low = middle
            else:
                high = middle - 1
        scores[position] = top = low
    return scores


def _largest_region_px(evidence: Evidence, *, threshold: int) -> int:
    """Area of the largest 8-connected region of one defect class at THRESHOLDS[threshold]."""
    rows = np.flatnonzero((evidence.level > threshold).any(axis=1))
    if not rows.size:
        return 0
    inside = slice(int(rows[0]), int(rows[-1]) + 1)
    above = evidence.level[inside] > threshold
    defect = evidence.defect[inside]
    largest = 0
    for position in range(evidence.defects):
        mask = above & (defect == position) if evidence.defects > 1 else above
        if np.count_nonzero(mask) <= largest:
            continue
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
        if len(stats) > 1:
            largest = max(largest, int(stats[1:, cv2.CC_STAT_AREA].max()))
    return largest


class IouCurve:
    """Mean defect IoU at every threshold at once, from one histogram: exact, and small for any images."""

    def __init__(self, class_map: ClassMap) -> None:
        self._class_map = class_map
        shape = (len(class_map.defect_ids), len(THRESHOLDS) + 1, len(class_map))
        self._histogram = np.zeros(shape, np.float64)

    def add(
        self,
        *,
        level: NDArray[np.uint8],
        defect: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        pixel_weights: NDArray[np.float32] | None = None,
    ) -> None:
        """Count pixels; all arrays of one shape. `pixel_weights`: how many pixels each stands for."""
        known = truth != IGNORE_LABEL
        cell = defect[known].astype(np.int64)
        cell *= self._histogram.shape[1]
        cell += level[known]
        cell *= self._histogram.shape[2]
        cell += truth[known]
        weights = None if pixel_weights is None else pixel_weights[known]
        self._histogram += np.bincount(cell, weights=weights, minlength=self._histogram.size).reshape(
            self._histogram.shape
        )

    def per_class(self) -> NDArray[np.float64]:
        """IoU float64 [defects, thresholds]; NaN where a class is absent from truth."""
        # A pixel of level q is a defect at thresholds k < q: sums from the top, without level 0.
        above = self._histogram[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        ious = np.full(above.shape[:2], np.nan)
        truths = self._histogram.sum(axis=(0, 1))
        for position, class_id in enumerate(self._class_map.defect_ids):
            if truths[class_id] == 0:
                continue
            hit = above[position, :, class_id]
            ious[position] = hit / (above[position].sum(axis=1) + truths[class_id] - hit)
        return ious

    def mean(self) -> NDArray[np.float64] | None:
        """Mean IoU over the defect classes present in truth, float64 [thresholds]; None when none is."""
        ious = self.per_class()
        present = ~np.isnan(ious[:, 0])
        mean: NDArray[np.float64] | None = ious[present].mean(axis=0) if present.any() else None
        return mean
