"""From a label map to defects: each connected patch of one class, with what a recipe can ask about it."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from data.label_counts import count_labels


@dataclass(frozen=True, eq=False)
class Region:
    """One connected patch of one class.

    Attributes:
        class_id: id in the class map.
        area_px: number of its pixels.
        box_xyxy: half-open box (left, top, right, bottom), so `labels[top:bottom, left:right]`.
        centroid_xy: mean column and row of its pixels; pixel centres lie on whole numbers.
        mask: bool [box_height, box_width], its pixels inside the box.
    """

    class_id: int
    area_px: int
    box_xyxy: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]
    mask: NDArray[np.bool_]

    @property
    def length_px(self) -> float:
        """Longer side of the smallest turned rectangle around its pixels: how long a scratch is."""
        return self._turned_rectangle[0]

    @property
    def width_px(self) -> float:
        """Shorter side of the same rectangle."""
        return self._turned_rectangle[1]

    @property
    def orientation_deg(self) -> float:
        """Direction of the longer side, in [0, 180): 0 is horizontal, 90 vertical, turning clockwise."""
        return self._turned_rectangle[2]

    @cached_property
    def _turned_rectangle(self) -> tuple[float, float, float]:
        """(longer side px, shorter side px, direction of the longer side in degrees)."""
        # The ends of each row have the same hull, and are thousands of points where pixels are millions.
        rows = np.arange(len(self.mask))
        first, last = self.mask.argmax(axis=1), self.mask.shape[1] - 1 - self.mask[:, ::-1].argmax(axis=1)
        columns = np.concatenate([first, last])
        centres = np.stack([columns, np.concatenate([rows, rows])], axis=1).astype(np.float32)
        box = cv2.boxPoints(cv2.minAreaRect(cv2.convexHull(centres)))
        first, second = box[1] - box[0], box[2] - box[1]
        longer, shorter = sorted((first, second), key=lambda side: -float(np.hypot(*side)))
        degrees = float(np.degrees(np.arctan2(longer[1], longer[0]))) % 180.0
        # A hair below 180 is a rounding error of 0.
        degrees = 0.0 if degrees > 179.999 else degrees
        # From centre to centre half a pixel is missing at either end.
        return float(np.hypot(*longer)) + 1.0, float(np.hypot(*shorter)) + 1.0, degrees


def find_regions(
    labels: NDArray[np.uint8], *, class_ids: Collection[int], min_area_px: int = 1
) -> list[Region]:
    """The 8-connected regions of the given classes in uint8 [height, width], largest first.

    Touching regions of different classes stay apart; those below `min_area_px` are left out. Equal areas come
    in the order of class, top and left.

    Raises:
        ValueError: not uint8 [height, width].
    """
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise ValueError(f"{labels.dtype} {list(labels.shape)}: expected labels uint8 [height, width]")
    counts = count_labels(labels)
    found: list[Region] = []
    for class_id in class_ids:
        if counts[class_id] >= max(1, min_area_px):
            found += _regions_of(labels, class_id=class_id, min_area_px=min_area_px)
    return sorted(
        found, key=lambda region: (-region.area_px, region.class_id, region.box_xyxy[1], region.box_xyxy[0])
    )


def _regions_of(labels: NDArray[np.uint8], *, class_id: int, min_area_px: int) -> list[Region]:
    inside = (labels == class_id).view(np.uint8)
    _, components, stats, centroids = cv2.connectedComponentsWithStats(inside, connectivity=8)
    regions: list[Region] = []
    for component in range(1, len(stats)):
        left, top, width, height, area_px = (int(value) for value in stats[component])
        if area_px < min_area_px:
            continue
        box = left, top, left + width, top + height
        regions.append(
            Region(
                class_id=class_id,
                area_px=area_px,
                box_xyxy=box,
                centroid_xy=(float(centroids[component, 0]), float(centroids[component, 1])),
                mask=np.asarray(components[box[1] : box[3], box[0] : box[2]] == component),
            )
        )
    return regions
