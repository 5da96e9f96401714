"""Where a training crop lies in its image, and how it is cut out: turned, scaled, flipped, labels with their pixels."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from data.augment import AugmentSettings
from data.classes import IGNORE_LABEL
from data.sampling import Target

_INNER_SHARE = 0.6
"""A defect's drawn pixel lies anywhere in this inner share of the crop's side: seen off-centre, never cut off."""


def cut_crop(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], *, matrix: NDArray[np.float64], crop_px: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Cut a square out of an image and its labels by an affine map [2, 3] from crop to image coordinates.

    The image is interpolated and mirrored beyond its border; labels are taken from the nearest pixel (no new ids)
    and are 255 beyond it.
    """
    size, inverse = (crop_px, crop_px), cv2.WARP_INVERSE_MAP
    linear = cv2.INTER_NEAREST if _is_exact(matrix) else cv2.INTER_LINEAR
    cut = cv2.warpAffine(image, matrix, size, flags=linear | inverse, borderMode=cv2.BORDER_REFLECT_101)
    truth = cv2.warpAffine(
        labels,
        matrix,
        size,
        flags=cv2.INTER_NEAREST | inverse,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=IGNORE_LABEL,
    )
    return np.asarray(cut, np.uint8), np.asarray(truth, np.uint8)


def crop_matrix(
    target: Target,
    size_hw: tuple[int, ...],
    *,
    crop_px: int,
    augment: AugmentSettings,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """The affine map [2, 3] from crop pixels to image pixels: turn, scale and flip around the crop's middle."""
    angle = (
        math.radians(random.uniform(-augment.rotate_deg, augment.rotate_deg)) if augment.rotate_deg else 0.0
    )
    scale = math.exp(random.uniform(-1.0, 1.0) * math.log(augment.scale))
    turns = int(random.integers(4)) if augment.quarter_turns else 0
    flips = random.integers(2, size=2) * -2 + 1 if augment.flip else np.ones(2, np.int64)
    cosine, sine = math.cos(angle), math.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]]) / scale
    linear = linear @ np.round(np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), turns))
    linear = linear * flips
    # The middle of the crop, in image coordinates: near a defect, else wherever most of the crop lies inside.
    reach = crop_px / scale
    shift = random.uniform(-0.5, 0.5, size=2) * reach * (_INNER_SHARE if target.at_defect else 0.0)
    middle = np.array([target.x, target.y]) + shift
    for axis, length in enumerate((size_hw[1], size_hw[0])):
        margin = min(reach, length) / 2
        middle[axis] = np.clip(middle[axis], margin, length - margin)
    if target.at_defect:
        # In a turned crop near the image's border the defect may have gone over the crop's edge: bring it back.
        point, edge = np.array([target.x, target.y]), crop_px / 2 - 1.0
        seen_at = np.linalg.solve(linear, point - middle)
        if np.abs(seen_at).max() > edge + 1.0:
            middle = point - linear @ np.clip(seen_at, -edge, edge)
    if math.isclose(scale, 1.0) and not angle:
        middle = np.floor(middle)  # whole pixels: nothing is interpolated
    # Pixel centres: crop (i + 0.5) <-> image; warpAffine counts from the centre of the first pixel.
    centre = np.full(2, crop_px / 2)
    offset = middle - linear @ centre + linear @ np.full(2, 0.5) - 0.5
    return np.column_stack([linear, offset])


def _is_exact(matrix: NDArray[np.float64]) -> bool:
    """Whether the map takes whole pixels to whole pixels."""
    return bool(np.allclose(matrix, np.round(matrix), atol=1e-9))
