"""How good a label map is, defect by defect and along its contours: what a pixel count cannot say.

A line of ten thousand pixels outweighs a hundred pits in an IoU; here each connected defect counts once.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from data.classes import IGNORE_LABEL, ClassMap
from data.regions import Region, find_regions
from training.metrics import ratio

#: Share of a region that must lie on the other side's defects for the two to be about the same thing. Masks
#: of thin defects seldom agree to the pixel, and a chance touch of two blobs is no find.
LEAST_COVER: Final = 0.1
#: How far a contour may be off, in pixels: about what two people drawing the same defect differ by.
BOUNDARY_TOLERANCE_PX: Final = 2


@dataclass(frozen=True)
class ImageDefects:
    """Regions of one image, whatever their class is called: a scratch found as a crack is found.

    `found_by_class` alone asks for the very class: by id, how many of how many true regions were found as that.
    """

    true: int
    missed: int
    predicted: int
    false: int
    found_by_class: dict[int, tuple[int, int]]


class DefectCounts:
    """True defects found and false alarms raised, by region.

    A true region (8-connected, one class) is found when predicted regions cover at least `LEAST_COVER` of it;
    a predicted region is a false alarm when less than that share of it lies on true defects. By class, only
    the same class counts; in the totals, any defect class does. Predicted regions below `min_area_px` do not
    exist, as in the service; true ones always count. Pixels whose truth is ignored belong to nobody.
    """

    def __init__(self, class_map: ClassMap, *, min_area_px: int = 1) -> None:
        self._ids = class_map.defect_ids
        self._min_area_px = min_area_px
        self._images = 0
        self._totals = np.zeros(4, np.int64)
        self._by_class = {class_id: np.zeros(4, np.int64) for class_id in self._ids}

    def add(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> ImageDefects:
        """Count one image, uint8 [height, width] twice, and say what it added to the totals."""
        self._images += 1
        true = find_regions(truth, class_ids=self._ids)
        shown = np.where(truth == IGNORE_LABEL, np.uint8(IGNORE_LABEL), predicted)
        said = find_regions(shown, class_ids=self._ids, min_area_px=self._min_area_px)
        true_map, said_map = _paint(true, like=truth), _paint(said, like=truth)
        counts = np.zeros(4, np.int64)
        by_class = {class_id: np.zeros(4, np.int64) for class_id in self._ids}
        for regions, other, at in ((true, said_map, 0), (said, true_map, 2)):
            for region in regions:
                left, top, right, bottom = region.box_xyxy
                under = other[top:bottom, left:right][region.mask]
                # For the totals any defect counts (what is painted is not 255), for the class only its own.
                least_px = LEAST_COVER * region.area_px
                alone = np.count_nonzero(under != IGNORE_LABEL) < least_px
                alone_in_class = np.count_nonzero(under == region.class_id) < least_px
                counts[at : at + 2] += np.array([1, alone])
                by_class[region.class_id][at : at + 2] += np.array([1, alone_in_class])
        self._totals += counts
        found: dict[int, tuple[int, int]] = {}
        for class_id, added in by_class.items():
            self._by_class[class_id] += added
            if added[0]:
                found[class_id] = int(added[0] - added[1]), int(added[0])
        return ImageDefects(
            true=int(counts[0]),
            missed=int(counts[1]),
            predicted=int(counts[2]),
            false=int(counts[3]),
            found_by_class=found,
        )

    def recall(self, class_id: int | None = None) -> float | None:
        """Share of the true regions that were found: of one class, or of all; None when there is none."""
        true, missed, _, _ = self._of(class_id)
        return ratio(true - missed, true)

    def false_alarms_per_image(self, class_id: int | None = None) -> float | None:
        """Predicted regions on no true defect, per image; None when there is no image."""
        return ratio(self._of(class_id)[3], self._images)

    def _of(self, class_id: int | None) -> list[int]:
        counts: list[int] = (self._totals if class_id is None else self._by_class[class_id]).tolist()
        return counts


class BoundaryScore:
    """Boundary F by class: how many contour pixels lie within a tolerance of the other side's contour.

    Precision and recall of contour pixels are taken over all images together (Csurka et al., BMVC 2013, who
    score images one by one). A contour runs where a class meets another known class (4-neighbours), so
    neither the image's edge nor an ignored area makes one. A class whose truth has no contour has no score
    (None).
    """

    def __init__(self, class_count: int, *, tolerance_px: int = BOUNDARY_TOLERANCE_PX) -> None:
        self._tolerance_px = tolerance_px
        # Columns: true pixels, those of them matched, predicted pixels, those of them matched.
        self._counts = np.zeros((class_count, 4), np.int64)

    def add(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Count the contours of one image, uint8 [height, width] twice."""
        known = truth != IGNORE_LABEL
        for class_id in range(len(self._counts)):
            masks = [(labels == class_id) & known for labels in (truth, predicted)]
            if not any(mask.any() for mask in masks):
                continue
            true, said = (_contour(mask, known=known) for mask in masks)
            self._counts[class_id] += (
                np.count_nonzero(true),
                np.count_nonzero(true & _widened(said, self._tolerance_px)),
                np.count_nonzero(said),
                np.count_nonzero(said & _widened(true, self._tolerance_px)),
            )

    def f_scores(self) -> list[float | None]:
        """Boundary F by class: harmonic mean of contour precision and recall, 0.0 when nothing matches."""
        scores: list[float | None] = []
        for true, true_matched, said, said_matched in self._counts.tolist():
            recall, precision = ratio(true_matched, true), ratio(said_matched, said) or 0.0
            if recall is None:
                scores.append(None)
            else:
                scores.append((ratio(2 * recall * precision, recall + precision)) or 0.0)
        return scores


def _paint(regions: list[Region], *, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A map of the given regions' classes, 255 elsewhere."""
    painted = np.full(like.shape, IGNORE_LABEL, np.uint8)
    for region in regions:
        left, top, right, bottom = region.box_xyxy
        painted[top:bottom, left:right][region.mask] = region.class_id
    return painted


def _contour(mask: NDArray[np.bool_], *, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the mask beside a known pixel outside it."""
    return np.asarray(mask & _widened(known & ~mask, 1))


def _widened(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    return np.asarray(cv2.dilate(mask.view(np.uint8), _disc(radius_px))).astype(bool)


@cache
def _disc(radius_px: int) -> NDArray[np.uint8]:
    """Pixels within a Euclidean distance, uint8 [side, side]; OpenCV's own ellipse is no exact disc."""
    at = np.arange(-radius_px, radius_px + 1)
    return (at[:, None] ** 2 + at[None, :] ** 2 <= radius_px**2).astype(np.uint8)
