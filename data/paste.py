"""Paste the defects of one crop into another: a few defects, on every surface that there is.

A few NG parts teach a network their very surface beside the defect; on the surfaces of many OK parts the defect is all
that stays the same. After "Simple Copy-Paste" (arXiv 2012.07177), with the light matched around each defect: without
that the pasted patch's brightness gives it away.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from data.classes import IGNORE_LABEL, ClassMap
from data.regions import find_regions

_RIM_PX = 2
"""Pixels around a defect that come along, so that its own edge is seen and not the cut."""
_RING_PX = 8
"""Width of the ring around that, whose mean light is made equal."""
_LARGEST_SHARE = 0.25
"""A defect that covers more of its crop leaves too little surface to compare: it stays where it is."""
_MOST_GAIN = 1.6
"""Surfaces whose light differs by more than this factor are not mixed."""


def paste_defects(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    *,
    donor_image: NDArray[np.uint8],
    donor_labels: NDArray[np.uint8],
    class_map: ClassMap,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A crop with the donor's whole defects in it, uint8 RGB [height, width, 3] and uint8 [height, width].

    All four arrays are of one size. Defects that the donor's edge or its image's border cuts, that are large, or that
    would lie on unlabelled pixels or on another defect are left out; so what comes back may be the crop as it was.
    """
    image, labels = image.copy(), labels.copy()
    height, width = labels.shape
    for region in find_regions(donor_labels, class_ids=class_map.defect_ids):
        left, top, right, bottom = region.box_xyxy
        if min(left, top) <= 0 or right >= width or bottom >= height:
            continue
        if region.area_px > _LARGEST_SHARE * labels.size:
            continue
        mask = np.zeros((height, width), np.uint8)
        mask[top:bottom, left:right] = region.mask
        rim = _dilate(mask, _RIM_PX)
        free = np.isin(labels[rim > 0], class_map.background_ids).all()
        if not free or (donor_labels[rim > 0] == IGNORE_LABEL).any():
            continue
        ring = (_dilate(rim, _RING_PX) > rim) & np.isin(donor_labels, class_map.background_ids)
        gain = _gain(image, donor_image, ring=ring)
        if gain is None:
            continue
        share = np.maximum(cv2.GaussianBlur(rim.astype(np.float32), (0, 0), 1.0) * rim, mask)[..., None]
        mixed = share * (donor_image * gain) + (1.0 - share) * image
        image = np.clip(np.round(mixed), 0, 255).astype(np.uint8)
        labels[mask > 0] = region.class_id
    return image, labels


def _dilate(mask: NDArray[np.uint8], by_px: int) -> NDArray[np.uint8]:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by_px + 1, 2 * by_px + 1))
    return np.asarray(cv2.dilate(mask, disc), np.uint8)


def _gain(
    image: NDArray[np.uint8], donor_image: NDArray[np.uint8], *, ring: NDArray[np.bool_]
) -> NDArray[np.float32] | None:
    """Factor float32 [3] from the donor's light to the crop's around a defect; None where they cannot be matched."""
    if not ring.any():
        return None
    here = image[ring].mean(axis=0) + 1.0
    there = donor_image[ring].mean(axis=0) + 1.0
    gain = (here / there).astype(np.float32)
    return gain if (gain < _MOST_GAIN).all() and (gain > 1.0 / _MOST_GAIN).all() else None
