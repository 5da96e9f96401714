"""Where defects lie and what they cover: paths of varying width, and ellipses, at random places."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.synthetic_surfaces import Floats, SizeHw, shrink

Points = NDArray[np.float64]
"""float64 [count, 2]: (x, y) in px; whole numbers are pixel centres."""

_OVERSAMPLING = 4
_BORDER_PX = 5
"""Paths keep this far from the border of the picture, and windows reach this far beyond their path."""


def walk(headings: NDArray[np.float64], *, step_px: float) -> Points:
    """A path from the origin with one step for each heading (rad); [steps + 1, 2]."""
    steps = step_px * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])


def jagged_headings(count: int, *, start: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Headings (rad) that jump at every step around a direction that drifts slowly away from `start`."""
    drift = np.cumsum(rng.normal(0, 0.09, count))
    return np.asarray(start + drift + rng.normal(0, 0.42, count))


def heading_of(points: Points, index: int) -> float:
    """Where the path goes from its point `index`, rad."""
    ahead = points[index + 1] - points[index]
    return math.atan2(ahead[1], ahead[0])


def arc_length_px(points: Points) -> float:
    """Length along the path."""
    return float(np.hypot(*np.diff(points, axis=0).T).sum())


def place_path(points: Points, *, size_hw: SizeHw, rng: np.random.Generator) -> Points:
    """Move a path to a random place where all of it lies inside the picture; too long a path shrinks."""
    room = np.array(size_hw[::-1]) - 2 * _BORDER_PX
    extent = np.ptp(points, axis=0)
    points = points * min(1.0, float((room / np.maximum(extent, 1e-6)).min()))
    free = np.maximum(room - np.ptp(points, axis=0), 0)
    return np.asarray(points - points.min(axis=0) + _BORDER_PX + rng.uniform(0, 1, 2) * free)


def within(points: Points, *, size_hw: SizeHw) -> Points:
    """The beginning of a path, up to where it first comes close to the border of the picture."""
    far_corner = np.array(size_hw[::-1]) - _BORDER_PX
    inside = ((points >= _BORDER_PX) & (points <= far_corner)).all(axis=1)
    return points[np.logical_and.accumulate(inside)]


def draw_strokes(
    strokes: list[tuple[Points, NDArray[np.float64]]], *, size_hw: SizeHw
) -> tuple[tuple[int, int], Floats]:
    """Draw paths, each with its width in px at every point, into one window that holds them all.

    Returns (left, top) of the window, and the share of every pixel that is covered, float32 [height, width]
    in 0..1.
    """
    everything = np.concatenate([points for points, _ in strokes])
    low = np.maximum(np.floor(everything.min(axis=0)).astype(int) - _BORDER_PX, 0)
    high = np.minimum(np.ceil(everything.max(axis=0)).astype(int) + _BORDER_PX + 1, size_hw[::-1])
    width, height = (int(side) for side in high - low)
    fine = np.zeros((_OVERSAMPLING * height, _OVERSAMPLING * width), np.uint8)
    for points, widths_px in strokes:
        # The centre of pixel 0 lies between the fine pixels 1 and 2 of 0..3.
        path = ((points - low) * _OVERSAMPLING + (_OVERSAMPLING - 1) / 2).round().astype(int).tolist()
        for start, end, width_px in zip(path[:-1], path[1:], widths_px[1:], strict=True):
            cv2.line(fine, start, end, 255, max(1, round(_OVERSAMPLING * float(width_px))))
    coverage = shrink(fine, size_hw=(height, width)) / np.float32(255)
    return (int(low[0]), int(low[1])), coverage


@dataclass(frozen=True, slots=True)
class Spot:
    """A square window around an ellipse; rho: 0 in the middle, 1 on the ellipse; float32 [side, side]."""

    left: int
    top: int
    center_xy: tuple[float, float]
    distance_px: Floats
    rho: Floats


def place_spot(
    half_length_px: float, half_width_px: float, *, reach_px: int, size_hw: SizeHw, rng: np.random.Generator
) -> Spot:
    """An ellipse turned at random, at a random place where `reach_px` around it lies inside the picture."""
    x, y = (float(value) for value in rng.uniform(reach_px + 1, np.array(size_hw[::-1]) - reach_px - 1))
    left, top = round(x) - reach_px, round(y) - reach_px
    steps = np.arange(2 * reach_px + 1, dtype=np.float32)
    dx, dy = (left - x + steps)[None, :], (top - y + steps)[:, None]
    angle = rng.uniform(0, math.pi)
    along = math.cos(angle) * dx + math.sin(angle) * dy
    across = math.cos(angle) * dy - math.sin(angle) * dx
    rho = np.hypot(along / half_length_px, across / half_width_px)
    return Spot(left, top, (x, y), distance_px=np.hypot(dx, dy), rho=rho)
