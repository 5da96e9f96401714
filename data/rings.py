"""Closed rings around pixels: traced along pixel edges, and filled again without losing a pixel.

Coordinates are (x, y); whole numbers lie between pixels: pixel (0, 0) is the square from (0, 0) to (1, 1).
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]
"""float64 [points, 2] of (x, y), closed without repeating the first point."""


def trace_rings(mask: NDArray[np.bool_]) -> list[tuple[Ring, tuple[Ring, ...]]]:
    """The outer ring of each 8-connected part of bool [height, width], with the rings of its holes."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return []
    top, left = int(rows[0]), int(columns[0])
    cut = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    # OpenCV walks through pixel centres. In a doubled mask the centres 2x and 2x + 1 of one pixel tell its
    # left edge from its right, so the exact edges can be recovered.
    doubled = cut.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    corner = np.array((left, top), np.float64)
    rings = [_along_edges(np.asarray(contour, np.int32).reshape(-1, 2)) + corner for contour in contours]
    holes: dict[int, list[Ring]] = {at: [] for at, row in enumerate(hierarchy[0]) if row[3] < 0}
    for ring, row in zip(rings, hierarchy[0], strict=True):
        if row[3] >= 0:
            holes[int(row[3])].append(ring)
    return [(rings[at], tuple(inner)) for at, inner in holes.items()]


def fill_rings(mask: NDArray[np.bool_], rings: Sequence[Ring]) -> None:
    """Set the pixels of bool [height, width] whose centre lies inside, by the even-odd rule over all rings.

    For each row it counts the edges that are crossed on the way from the left to each centre.
    """
    points = np.concatenate(rings)
    first, last = _centres_between(points[:, 1], below=mask.shape[0])
    left, right = _centres_between(points[:, 0], below=mask.shape[1])
    if first >= last or left >= right:
        return
    crossings = np.zeros((last - first, right - left + 1), np.uint32)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            start, stop = _centres_between(np.array((y0, y1)), below=last)
            row = np.arange(max(start, first), stop)
            if y0 == y1 or not row.size:
                continue
            x = x0 + (row + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            column = np.clip(np.ceil(x - 0.5), left, right).astype(np.int64)
            crossings[row - first, column - left] += 1
    mask[first:last, left:right] |= crossings[:, :-1].cumsum(axis=1) % 2 == 1


def _centres_between(coordinates: NDArray[np.float64], *, below: int) -> tuple[int, int]:
    """Half-open range of the pixels whose centre lies between the least and the largest coordinate."""
    ends = np.clip(np.ceil([coordinates.min() - 0.5, coordinates.max() - 0.5]), 0, below)
    return int(ends[0]), int(ends[1])


def _along_edges(centres: NDArray[np.integer[Any]]) -> Ring:
    """Contour points of a doubled mask → corners between pixels; a diagonal step falls onto one corner."""
    corners = ((centres + 1) // 2).astype(np.float64)
    ring: Ring = corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
    return ring
