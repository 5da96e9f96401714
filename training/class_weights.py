"""How much each defect class should count against the others: found on a sample of validation pixels.

A network trained on balanced crops is too fond of some classes. Relative weights mend that without training:
they are moved one class at a time, in steps, for the highest mean defect IoU that any background weight
reaches. Steps are coarse and small gains refused on purpose: validation sets hold few defects of each kind.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.classes import IGNORE_LABEL, ClassMap
from training.image_scores import IouCurve, log_odds_of, quantize

#: A weight moves by half a unit of log-odds at a time, and at most a factor 4.5 from 1.
_STEP: Final = 0.5
_MOST_STEPS: Final = 3
#: Mean IoU that a move must gain before it is believed.
_LEAST_GAIN: Final = 0.005
_ROUNDS: Final = 2


class PixelSample:
    """Pixels of many images, thinned where nothing is at stake; each knows how many it stands for."""

    def __init__(self, class_map: ClassMap, *, pixels_per_image: int, seed: int = 0) -> None:
        self._class_map = class_map
        self._pixels_per_image = pixels_per_image
        self._random = np.random.default_rng(seed)
        self._probabilities: list[NDArray[np.float32]] = []
        self._truth: list[NDArray[np.uint8]] = []
        self._weights: list[NDArray[np.float32]] = []

    def add(self, *, probabilities: NDArray[np.float32], truth: NDArray[np.uint8]) -> None:
        """Sample float32 [classes, height, width], uint8 [height, width]: mostly defects and near-defects."""
        flat = probabilities.reshape(len(probabilities), -1)
        labels = truth.ravel()
        background = flat[list(self._class_map.background_ids)].max(axis=0)
        known = labels != IGNORE_LABEL
        is_defect = np.isin(labels, self._class_map.defect_ids)
        at_stake = known & (is_defect | (background < 0.99))
        for stratum, share in ((at_stake, 0.9), (known & ~at_stake, 0.1)):
            pixels = np.flatnonzero(stratum)
            count = max(1, round(self._pixels_per_image * share))
            chosen = self._random.choice(pixels, count, replace=False) if len(pixels) > count else pixels
            if not len(chosen):
                continue
            self._probabilities.append(flat[:, chosen].copy())
            self._truth.append(labels[chosen])
            self._weights.append(np.full(len(chosen), len(pixels) / len(chosen), np.float32))

    def best_weights(self) -> tuple[float, ...]:
        """Relative weights in order of `defect_ids`, all 1 unless other weights are clearly better."""
        steps = [0] * len(self._class_map.defect_ids)
        if len(steps) < 2 or not self._truth:
            return (1.0,) * len(steps)
        probabilities = np.concatenate(self._probabilities, axis=1)
        truth, weights = np.concatenate(self._truth), np.concatenate(self._weights)

        def best_iou(candidate: list[int]) -> float:
            return self._best_iou(candidate, probabilities=probabilities, truth=truth, pixel_weights=weights)

        reached = best_iou(steps)
        for _ in range(_ROUNDS):
            before = list(steps)
            for position in range(len(steps)):
                # One step at a time, in the better direction, for as long as it pays.
                for direction in (1, -1):
                    while abs(steps[position] + direction) <= _MOST_STEPS:
                        tried = [*steps]
                        tried[position] += direction
                        iou = best_iou(tried)
                        if iou < reached + _LEAST_GAIN:
                            break
                        steps, reached = tried, iou
            if steps == before:
                break
        return tuple(math.exp(_STEP * count) for count in steps)

    def _best_iou(
        self,
        steps: list[int],
        *,
        probabilities: NDArray[np.float32],
        truth: NDArray[np.uint8],
        pixel_weights: NDArray[np.float32],
    ) -> float:
        """Highest mean defect IoU over all thresholds, with these weights, on the sample."""
        defect_weights = tuple(math.exp(_STEP * count) for count in steps)
        log_odds, defect = log_odds_of(
            probabilities, defect_weights=defect_weights, class_map=self._class_map
        )
        curve = IouCurve(self._class_map)
        curve.add(level=quantize(log_odds), defect=defect, truth=truth, pixel_weights=pixel_weights)
        mean = curve.mean()
        return float(mean.max()) if mean is not None else 0.0
