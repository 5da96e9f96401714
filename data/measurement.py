"""How long, how wide and how certain each defect is: what a recipe compares with its limits.

The length of a bent crack runs along its middle line; that of anything that fills its turned rectangle is the
rectangle's longer side. The width is area / length, so a disc of diameter d is d long and 0.79 d wide.

Measured against shapes drawn at up to 26 angles each; tests/data/test_measurement.py draws some of them:
- straight bars 1-9 px wide, rectangles, discs, ellipses: length within 2.3 px;
- circular arcs, sine waves and rings 1.4-9 px wide, bent to a radius of 3 widths or more: length within 6 %, and
  within 5 % or 2 px but for one in two hundred. Tighter bends, down to 1.6 widths: within 7 %. The error is mostly
  too short: bends are smoothed, and thinning eats a little more of a round end than its radius;
- width within 0.7 px, or 3 %. (Twice the distance transform's mean along the middle line, the other usual way,
  was off by up to 1.5 px on long bars and by more on short ones.)
"""

import math
from collections.abc import Collection
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from data.classes import IGNORE_LABEL
from data.defects import Defect
from data.regions import Region, find_regions
from data.skeleton import longest_path, thin

# Ellipses fill 0.79 of their rectangle and bars more, while a bow deeper than it is wide fills less. Where this
# much is filled the rectangle tells the length, and better: thinning answers with a blob's chance branches.
_FILLED: Final = 0.7
# Thinning sends a branch into each corner, along which the radius falls by 0.71 per px for a right angle. A branch
# that narrows faster than this (an opening of 53 degrees) is a corner of a blunt end and not a pointed tip.
_BLUNT_SLOPE: Final = 0.45
# OpenCV measures the radius to the centre of the nearest pixel outside. A straight edge lies half a pixel before it
# and a round one almost at it: a quarter errs least over both.
_BEFORE_CENTRE_PX: Final = 0.25
# Larger boxes are thinned on a coarser grid, so that a bent shape of millions of px takes about a second.
_MAX_BOX_PX: Final = 2**20
# Steps along a digital line go in eight directions only and add up to 8 % too much; averaged over five they
# follow the line itself, and still a bend of 10 px radius.
_SMOOTHED_STEPS: Final = 5


def measure_defects(
    labels: NDArray[np.uint8],
    *,
    confidence: NDArray[np.uint8],
    class_ids: Collection[int],
    min_area_px: int = 1,
    allowed: NDArray[np.bool_] | None = None,
) -> list[Defect]:
    """The defects in a label map, in the order of `find_regions`: largest first.

    Args:
        labels: uint8 [height, width], class ids.
        confidence: uint8 [height, width], the label's probability x 255.
        class_ids: the classes that are defects.
        min_area_px: smaller regions are left out.
        allowed: bool [height, width]; outside of it nothing is a defect, and a defect that crosses its edge is
            cut there. None allows everything.

    Raises:
        ValueError: a map of another type or size.
    """
    _check(confidence, named="confidence", dtype=np.uint8, size_hw=labels.shape)
    if allowed is not None:
        _check(allowed, named="allowed", dtype=np.bool_, size_hw=labels.shape)
        labels = np.where(allowed, labels, np.uint8(IGNORE_LABEL))
    regions = find_regions(labels, class_ids=class_ids, min_area_px=min_area_px)
    return [_measured(region, confidence=confidence) for region in regions]


def _check(values: NDArray[np.generic], *, named: str, dtype: type, size_hw: tuple[int, ...]) -> None:
    if values.dtype != dtype or values.shape != size_hw:
        raise ValueError(
            f"{named} is {values.dtype} {list(values.shape)}: "
            f"expected {np.dtype(dtype)} {list(size_hw)}, the size of the labels"
        )


def _measured(region: Region, *, confidence: NDArray[np.uint8]) -> Defect:
    left, top, right, bottom = region.box_xyxy
    height, width = confidence.shape
    certainty = confidence[top:bottom, left:right][region.mask]
    length_px = _length_px(region)
    return Defect(
        class_id=region.class_id,
        area_px=region.area_px,
        box_xyxy=region.box_xyxy,
        centroid_xy=region.centroid_xy,
        length_px=length_px,
        width_px=region.area_px / length_px,
        orientation_deg=region.orientation_deg,
        mean_confidence=float(certainty.mean()) / 255,
        peak_confidence=int(certainty.max()) / 255,
        touches_border=left == 0 or top == 0 or right == width or bottom == height,
    )


def _length_px(region: Region) -> float:
    if region.area_px >= _FILLED * region.length_px * region.width_px:
        return region.length_px
    # No way through a region is shorter than the region is long.
    return max(region.length_px, _middle_line_px(region.mask))


def _middle_line_px(mask: NDArray[np.bool_]) -> float:
    """Length of the middle line of bool [height, width], from edge to edge; of a ring, once around."""
    scale = math.ceil(math.sqrt(mask.size / _MAX_BOX_PX))
    shape = cv2.copyMakeBorder(_shrunk(mask, scale=scale), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    path = longest_path(thin(shape.view(np.bool_)))
    if len(path) > 3 and np.abs(path[0] - path[-1]).max() <= 1:
        return scale * float(_distances(np.concatenate([path, path[:1]]))[-1])
    to_outside = cv2.distanceTransform(shape, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    radius = to_outside[path[:, 0], path[:, 1]] - _BEFORE_CENTRE_PX
    distance = _distances(path)
    first = int(np.argmax(radius - _BLUNT_SLOPE * distance))
    last = int(np.argmax(radius + _BLUNT_SLOPE * distance))
    return scale * float(radius[first] + distance[last] - distance[first] + radius[last])


def _shrunk(mask: NDArray[np.bool_], *, scale: int) -> NDArray[np.uint8]:
    """Mask as uint8, `scale` times smaller; what was connected stays so."""
    pixels = mask.view(np.uint8)
    if scale == 1:
        return pixels
    window = np.ones((scale, scale), np.uint8)
    return np.asarray(cv2.dilate(pixels, window, anchor=(0, 0))[::scale, ::scale], np.uint8)


def _distances(path: NDArray[np.int64]) -> NDArray[np.float64]:
    """From the start to each pixel of a path [steps, 2], along its smoothed course: [steps], in px."""
    if len(path) == 1:
        return np.zeros(1)
    steps = np.diff(path, axis=0).astype(np.float32)
    smooth = cv2.blur(steps[:, None], (1, _SMOOTHED_STEPS), borderType=cv2.BORDER_REFLECT)[:, 0]
    return np.concatenate([[0.0], np.cumsum(np.hypot(smooth[:, 0], smooth[:, 1]))])
