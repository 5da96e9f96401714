"""How good a label map is, pixel by pixel and image by image; what was not measured is None, never 0 or NaN.

Sums are kept instead of means of means: a score over a split is the score of all its pixels, whatever the
image sizes, and parts counted apart can be merged. `training.region_metrics` counts defects and contours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.classes import IGNORE_LABEL, ClassMap


def ratio(part: float, whole: float) -> float | None:
    """part / whole; None when there is nothing to take a part of."""
    return float(part) / float(whole) if whole else None


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Mean of the values that were measured; None when none was."""
    known = [value for value in values if value is not None]
    return ratio(sum(known), len(known))


class Confusion:
    """Pixels counted by truth (rows) and prediction (columns), and the scores that follow from the counts.

    A class absent from the truth has no IoU, Dice and recall (None): there was nothing to find. Where it was
    predicted all the same, its precision is 0.0 and the classes that lost these pixels pay in their IoU. A
    class that was never predicted has no precision.

    Attributes:
        counts: int64 [classes, classes].
    """

    def __init__(self, class_count: int) -> None:
        self.counts: NDArray[np.int64] = np.zeros((class_count, class_count), np.int64)

    @property
    def class_count(self) -> int:
        """Number of classes."""
        return len(self.counts)

    def add(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Count pixels of two label maps of one shape, uint8 [...]; pixels whose truth is 255 do not count.

        Raises:
            ValueError: the shapes differ, or a label is no class number.
        """
        if truth.shape != predicted.shape:
            raise ValueError(
                f"truth is {truth.shape}, the prediction {predicted.shape}: they must be one shape"
            )
        # One pass over a small histogram of pairs: 256 x 256 cells cost less than masking large maps.
        pairs = truth.astype(np.uint16).ravel() << 8
        pairs |= predicted.ravel()
        cells = np.bincount(pairs, minlength=1 << 16).reshape(256, 256)
        cells[IGNORE_LABEL] = 0
        inside = cells[: self.class_count, : self.class_count]
        if cells.sum() != inside.sum():
            largest = int(max(index.max() for index in np.nonzero(cells)))
            raise ValueError(
                f"label {largest} is none of the {self.class_count} classes (0 to {self.class_count - 1}, "
                f"{IGNORE_LABEL} in the truth to ignore a pixel)"
            )
        self.counts += inside

    def merge(self, other: "Confusion") -> None:
        """Add what another one counted."""
        self.counts += other.counts

    def iou(self) -> list[float | None]:
        """Intersection over union by class."""
        hit, true, said = self.sums()
        return [self._of_true(h, t + s - h, t) for h, t, s in zip(hit, true, said, strict=True)]

    def dice(self) -> list[float | None]:
        """Dice, the F1 of pixels, by class."""
        hit, true, said = self.sums()
        return [self._of_true(2 * h, t + s, t) for h, t, s in zip(hit, true, said, strict=True)]

    def recall(self) -> list[float | None]:
        """Share of a class's true pixels that were found."""
        hit, true, _ = self.sums()
        return [ratio(h, t) for h, t in zip(hit, true, strict=True)]

    def precision(self) -> list[float | None]:
        """Share of the pixels given to a class that are of it."""
        hit, _, said = self.sums()
        return [ratio(h, s) for h, s in zip(hit, said, strict=True)]

    @property
    def mean_iou(self) -> float | None:
        """Mean IoU over the classes present in the truth, background included."""
        return mean_of_known(self.iou())

    def mean_defect_iou(self, class_map: ClassMap) -> float | None:
        """Mean IoU over the defect classes present in the truth."""
        iou = self.iou()
        return mean_of_known(iou[class_id] for class_id in class_map.defect_ids)

    def sums(self) -> tuple[list[int], list[int], list[int]]:
        """Pixels right, true and predicted, by class."""
        counts = self.counts
        return counts.diagonal().tolist(), counts.sum(axis=1).tolist(), counts.sum(axis=0).tolist()

    @staticmethod
    def _of_true(part: int, whole: int, true: int) -> float | None:
        return ratio(part, whole) if true else None


@dataclass(frozen=True)
class ReliabilityBin:
    """Pixels of similar stated confidence: the mean of it, the share that is right, their share of all."""

    confidence: float
    accuracy: float
    share: float


class Reliability:
    """Whether a stated confidence of 90 % is right nine times in ten (Guo et al., arXiv 1706.04599, section
    2).

    Confidence arrives as uint8, so the counts per level are all there is to keep, whatever the number of
    pixels.
    """

    def __init__(self, *, bins: int = 15) -> None:
        self._bins = bins
        self._pixels = np.zeros(256, np.int64)
        self._right = np.zeros(256, np.int64)

    def add(
        self, confidence: NDArray[np.uint8], *, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]
    ) -> None:
        """Count pixels; uint8 [...] of one shape, confidence 255 being certainty."""
        known = truth != IGNORE_LABEL
        self._pixels += np.bincount(confidence[known], minlength=256)
        self._right += np.bincount(confidence[known & (truth == predicted)], minlength=256)

    def bins(self) -> tuple[ReliabilityBin, ...]:
        """Bins of equal width that hold a pixel, by rising confidence."""
        total = int(self._pixels.sum())
        level = np.arange(256)
        bin_of = np.minimum(level * self._bins // 255, self._bins - 1)
        pixels, right, stated = (
            np.bincount(bin_of, weights=weights, minlength=self._bins)
            for weights in (self._pixels, self._right, self._pixels * level / 255.0)
        )
        return tuple(
            ReliabilityBin(
                confidence=float(stated[at] / pixels[at]),
                accuracy=float(right[at] / pixels[at]),
                share=float(pixels[at] / total),
            )
            for at in np.flatnonzero(pixels)
        )

    def ece(self) -> float | None:
        """Expected calibration error: mean distance of confidence and accuracy over pixels, or None."""
        bins = self.bins()
        return sum(one.share * abs(one.confidence - one.accuracy) for one in bins) if bins else None


def escape_rate(is_ng: Sequence[bool], *, called_ng: Sequence[bool]) -> float | None:
    """Share of the NG images that were called OK; None when no image is NG."""
    of_ng = [called for truth, called in zip(is_ng, called_ng, strict=True) if truth]
    return ratio(len(of_ng) - sum(of_ng), len(of_ng))


def overkill_rate(is_ng: Sequence[bool], *, called_ng: Sequence[bool]) -> float | None:
    """Share of the OK images that were called NG; None when no image is OK."""
    of_ok = [called for truth, called in zip(is_ng, called_ng, strict=True) if not truth]
    return ratio(sum(of_ok), len(of_ok))
