"""Find pictures that show the same thing on two sides of a split: the leak that makes a test score a lie.

A camera on a fixture sees the same scene every time, so a perceptual hash alone calls half of an inspection
set duplicates. Two steps instead: a difference hash (dHash, both directions, 512 bits) finds the candidates
in one matrix product, and the correlation of their fine structure decides. Measured on 394 pictures of a
ball screw, all from one fixture: two different ones reach 0.76 at most; a copy at 80 % size, brighter and
at JPEG quality 70 stays above 0.83.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

THUMBNAIL_PX = 192
"""Edge of the square grey picture that a fingerprint is taken from."""

SAME_STRUCTURE = 0.8
"""Correlation of the fine structure (-1…1) from which two pictures count as one."""

_HASH_CELLS = 16
_HASH_BITS = 2 * _HASH_CELLS * _HASH_CELLS
_MAX_DIFFERING_BITS = _HASH_BITS * 15 // 100
_FLAT_LEVELS = 1.0
_DETAIL_SIGMA_PX = 1.0
_CONTRAST_SIGMA_PX = 6.0
_DETAIL_STEPS = 40.0
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is left of a picture for comparison: 36 kB, whatever its size.

    bits: float32 [512], -1 or 1: is the next cell brighter?; detail: int8 [36864], local contrast without
    brightness; None for a picture too flat to tell from another flat one.
    """

    bits: NDArray[np.float32]
    detail: NDArray[np.int8] | None


@dataclass(frozen=True, slots=True)
class Likeness:
    """Two pictures (by position in the sequence that was asked about) that look the same, and how much."""

    first: int
    second: int
    correlation: float


def take_fingerprint(grey: NDArray[np.uint8]) -> Fingerprint:
    """The fingerprint of a grey picture, uint8 [192, 192], resized without keeping its aspect."""
    assert grey.shape == (THUMBNAIL_PX, THUMBNAIL_PX), grey.shape
    cells = _HASH_CELLS
    across = cv2.resize(grey, (cells + 1, cells), interpolation=cv2.INTER_AREA)
    down = cv2.resize(grey, (cells, cells + 1), interpolation=cv2.INTER_AREA)
    brighter = np.concatenate([(across[:, 1:] > across[:, :-1]).ravel(), (down[1:] > down[:-1]).ravel()])
    bits = np.where(brighter, 1, -1).astype(np.float32)
    if float(grey.std()) < _FLAT_LEVELS:
        return Fingerprint(bits=bits, detail=None)
    levels = grey.astype(np.float32)
    detail = levels - cv2.GaussianBlur(levels, (0, 0), _DETAIL_SIGMA_PX)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), _CONTRAST_SIGMA_PX)) + 1.0
    steps = np.clip(np.rint(detail / contrast * _DETAIL_STEPS), -127, 127)
    return Fingerprint(bits=bits, detail=steps.astype(np.int8).ravel())


def find_likenesses(prints: Sequence[Fingerprint], *, sides: Sequence[int]) -> tuple[Likeness, ...]:
    """For each picture its best likeness on a lower side, if any, the most alike first.

    `sides` gives each picture's side (0 train, 1 val, …); pictures of one side are not compared. 10 000
    pictures take some 10 s on one core: the hashes are one product of [n, 512] matrices.
    """
    usable = [index for index, fingerprint in enumerate(prints) if fingerprint.detail is not None]
    best: dict[int, Likeness] = {}
    for later, earlier in _candidates(prints, usable, sides).items():
        correlations = _correlate(prints, later, earlier)
        winner = int(np.argmax(correlations))
        if correlations[winner] >= SAME_STRUCTURE:
            best[later] = Likeness(earlier[winner], later, float(correlations[winner]))
    return tuple(sorted(best.values(), key=lambda likeness: (-likeness.correlation, likeness.second)))


def _candidates(
    prints: Sequence[Fingerprint], usable: Sequence[int], sides: Sequence[int]
) -> Mapping[int, list[int]]:
    """picture → pictures on a lower side whose hash differs in few bits."""
    found: dict[int, list[int]] = defaultdict(list)
    for side in sorted({sides[index] for index in usable})[1:]:
        later = [index for index in usable if sides[index] == side]
        earlier = np.array([index for index in usable if sides[index] < side])
        known = np.stack([prints[index].bits for index in earlier])
        for rows in _chunks(later):
            agreement = np.stack([prints[index].bits for index in rows]) @ known.T
            differing = (_HASH_BITS - agreement) / 2
            for row, column in zip(*np.nonzero(differing <= _MAX_DIFFERING_BITS), strict=True):
                found[rows[row]].append(int(earlier[column]))
    return found


def _correlate(prints: Sequence[Fingerprint], one: int, others: Sequence[int]) -> NDArray[np.float32]:
    """Correlation of the fine structure of one picture with each of the others."""
    result: list[NDArray[np.float32]] = []
    reference = _unit_rows(prints, [one])[0]
    for chunk in _chunks(others):
        result.append(_unit_rows(prints, chunk) @ reference)
    return np.concatenate(result)


def _unit_rows(prints: Sequence[Fingerprint], indices: Sequence[int]) -> NDArray[np.float32]:
    details = [prints[index].detail for index in indices]
    rows = np.stack([detail for detail in details if detail is not None]).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return unit


def _chunks(indices: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(indices), _ROWS_AT_ONCE):
        yield indices[start : start + _ROWS_AT_ONCE]
