"""A thinned region keeps its shape's lines, and the longest of them is found."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from data.skeleton import longest_path, thin

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=10), elements=st.booleans())


def _mask(*rows: str) -> NDArray[np.bool_]:
    return np.array([[letter == "#" for letter in row] for row in rows])


def _parts_and_holes(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """How many 8-connected parts, and how many 4-connected holes between them."""
    parts, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    outside_and_holes, _ = cv2.connectedComponents(
        np.pad(~mask, 1, constant_values=True).astype(np.uint8), connectivity=4
    )
    return parts - 1, outside_and_holes - 2


def _length_px(path: NDArray[np.int64]) -> float:
    return float(np.hypot(*np.diff(path, axis=0).T).sum())


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(_mask("#"), id="one pixel"),
        pytest.param(_mask("#####"), id="along a row"),
        pytest.param(_mask("#..", ".#.", "..#"), id="diagonal"),
        pytest.param(_mask(".##.", "#..#", ".##."), id="ring"),
        pytest.param(_mask("#...#", ".#.#.", "..#..", "..#.."), id="fork"),
    ],
)
def test_what_is_one_pixel_wide_stays_as_it_is(line: NDArray[np.bool_]) -> None:
    assert np.array_equal(thin(line), line)


def test_a_bar_becomes_its_middle_row() -> None:
    thinned = thin(np.ones((5, 15), np.bool_))
    assert set(np.nonzero(thinned)[0].tolist()) == {2}
    assert np.count_nonzero(thinned) == pytest.approx(15 - 5 + 1, abs=1)


@settings(deadline=None)
@given(mask=MASKS)
def test_thinning_takes_pixels_away_but_no_part_and_no_hole(mask: NDArray[np.bool_]) -> None:
    thinned = thin(mask)
    assert not (thinned & ~mask).any()
    assert _parts_and_holes(thinned) == _parts_and_holes(mask)
    assert np.array_equal(thin(thinned), thinned)


@pytest.mark.parametrize(
    ("skeleton", "ends", "steps"),
    [
        pytest.param(_mask("#"), {(0, 0)}, 1, id="one pixel"),
        pytest.param(_mask("...", "###"), {(1, 0), (1, 2)}, 3, id="along a row"),
        pytest.param(_mask("#..", ".#.", "..#"), {(0, 0), (2, 2)}, 3, id="diagonal"),
        pytest.param(_mask("..#..", "..#..", "#####"), {(2, 0), (2, 4)}, 5, id="without its side branch"),
        pytest.param(
            _mask("#.......", ".#......", "..#.....", "########"),
            {(0, 0), (3, 7)},
            8,
            id="slanted steps are longer: 3 of them outdo 3 straight ones",
        ),
        pytest.param(
            _mask(".##", "#..", ".##"), {(0, 2), (2, 2)}, 5, id="the right edge does not touch the left"
        ),
    ],
)
def test_the_longest_path_runs_from_end_to_end(
    skeleton: NDArray[np.bool_], ends: set[tuple[int, int]], steps: int
) -> None:
    path = longest_path(skeleton)
    assert {tuple(path[0].tolist()), tuple(path[-1].tolist())} == ends
    assert len(path) == steps


def test_a_ring_is_walked_all_around() -> None:
    ring = _mask(".###.", "#...#", "#...#", "#...#", ".###.")
    path = longest_path(ring)
    assert len(path) == np.count_nonzero(ring) == 12
    assert np.abs(path[0] - path[-1]).max() == 1


@settings(deadline=None)
@given(mask=MASKS)
def test_the_path_steps_from_neighbour_to_neighbour_and_no_two_pixels_are_further_apart(
    mask: NDArray[np.bool_],
) -> None:
    mask[0, 0] = True
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    skeleton = thin(parts == parts[0, 0])
    path = longest_path(skeleton)
    assert skeleton[path[:, 0], path[:, 1]].all()
    assert len(np.unique(path, axis=0)) == len(path)
    assert (np.abs(np.diff(path, axis=0)).max(axis=1, initial=0) == 1)[: len(path) - 1].all()

    pixels = np.argwhere(skeleton)
    offsets = np.abs(pixels[:, None] - pixels[None])
    apart = np.where(offsets.max(axis=2) <= 1, np.hypot(*np.moveaxis(offsets, 2, 0)), np.inf)
    for between in range(len(pixels)):
        apart = np.minimum(apart, apart[:, between, None] + apart[None, between])
    # A loop may be walked the longer way round.
    assert _length_px(path) >= apart.max() - 1e-9


def test_many_loops_take_no_longer_than_their_pixels() -> None:
    net = np.zeros((301, 301), np.bool_)
    net[::4] = net[:, ::4] = True
    path = longest_path(net)
    assert len(np.unique(path, axis=0)) == len(path)
    assert len(path) >= 301


def test_an_empty_skeleton_has_no_path() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        longest_path(np.zeros((3, 3), np.bool_))
