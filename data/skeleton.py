"""The middle line of a region: thin it to a line of single pixels, then walk the longest way along it."""

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray


def thin(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Peel bool [height, width] from all sides until lines of single pixels, 8-connected, remain.

    What is connected stays so, holes stay open, and nothing vanishes. The time grows with the map's size and with
    the greatest width in it. Guo and Hall, "Parallel thinning with two-subiteration algorithms", CACM 32 (1989).
    """
    remaining = mask.astype(np.uint8)
    left, before = cv2.countNonZero(remaining), -1
    while left != before:
        for keep in _KEEP:
            # Sums of different powers of two: the eight neighbours as the bits of one byte.
            neighbours = cv2.filter2D(remaining, -1, _BITS, borderType=cv2.BORDER_CONSTANT)
            remaining = np.asarray(cv2.bitwise_and(remaining, cv2.LUT(neighbours, keep)), np.uint8)
        left, before = cv2.countNonZero(remaining), left
    return remaining.view(np.bool_)


def longest_path(skeleton: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The longest way through one connected skeleton without its side branches: [pixels, 2] rows and columns.

    It is exact where the skeleton has no loops; the longest path through many of them would take exponential
    time. So each loop is cut once, opposite to where it is entered: a ring is walked all around, and its two ends
    are neighbours. The time grows with the number of pixels.

    Raises:
        ValueError: the skeleton is empty.
    """
    rows, columns = np.nonzero(skeleton)
    if not len(rows):
        raise ValueError("the skeleton has no pixel: expected a connected line of at least one")
    # One number per pixel, with a column of nothing between the end of a row and the start of the next.
    row_step = skeleton.shape[1] + 1
    pixels = (rows * row_step + columns).tolist()
    path = np.array(_longest_tree_path(_parents(pixels, row_step=row_step), row_step=row_step))
    return np.stack([path // row_step, path % row_step], axis=1)


def _parents(pixels: list[int], *, row_step: int) -> dict[int, int]:
    """Who was reached from whom, nearest to the root first; the root comes first and is its own parent."""
    root = pixels[0]
    steps = (1, -1, row_step, -row_step, row_step + 1, row_step - 1, -row_step + 1, -row_step - 1)
    unseen = set(pixels) - {root}
    parents = {root: root}
    queue = [root]
    for pixel in queue:
        for step in steps:
            neighbour = pixel + step
            if neighbour in unseen:
                unseen.remove(neighbour)
                parents[neighbour] = pixel
                queue.append(neighbour)
    return parents


def _longest_tree_path(parents: dict[int, int], *, row_step: int) -> list[int]:
    """The longest of the paths that climb from one pixel to a common ancestor and descend to another."""
    depth = dict.fromkeys(parents, 0.0)
    deepest = {pixel: pixel for pixel in parents}
    root = next(iter(parents))
    longest, top, ends = 0.0, root, (root, root)
    for pixel, parent in reversed(parents.items()):
        if pixel == root:
            break
        reach = depth[pixel] + (1.0 if abs(pixel - parent) in (1, row_step) else math.sqrt(2))
        if depth[parent] + reach > longest:
            longest, top, ends = depth[parent] + reach, parent, (deepest[parent], deepest[pixel])
        if reach > depth[parent]:
            depth[parent], deepest[parent] = reach, deepest[pixel]
    ascent, descent = (_climb(end, top=top, parents=parents) for end in ends)
    return [*ascent, top, *reversed(descent)]


def _climb(pixel: int, *, top: int, parents: dict[int, int]) -> list[int]:
    """The pixels from here up to the top, which is left out."""
    climbed = []
    while pixel != top:
        climbed.append(pixel)
        pixel = parents[pixel]
    return climbed


def _keep_table(*, second: bool) -> NDArray[np.uint8]:
    """[256]: 1 where a pixel with these neighbours must stay in this half of a round."""
    keep = np.ones(256, np.uint8)
    for byte in range(256):
        north, north_east, east, south_east, south, south_west, west, north_west = (
            bool(byte >> bit & 1) for bit in range(8)
        )
        branches = (
            (not north and (north_east or east))
            + (not east and (south_east or south))
            + (not south and (south_west or west))
            + (not west and (north_west or north))
        )
        pairs = min(
            (north_west or north) + (north_east or east) + (south_east or south) + (south_west or west),
            (north or north_east) + (east or south_east) + (south or south_west) + (west or north_west),
        )
        # Each half takes from two sides only: both at once would wipe out a line of two pixels.
        facing = (
            (north or north_east or not south_east) and east
            if second
            else (south or south_west or not north_west) and west
        )
        keep[byte] = not (branches == 1 and 2 <= pairs <= 3 and not facing)
    return keep


_BITS: Final = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)
_KEEP: Final = (_keep_table(second=False), _keep_table(second=True))
