"""Tiles cover every pixel once, and each pixel has real neighbours when it is judged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.tiling import Window, plan_tiles

PLANS = st.integers(0, 5).flatmap(
    lambda halo_px: st.tuples(
        st.tuples(st.integers(1, 32), st.integers(1, 60)),
        st.integers(2 * halo_px + 1, 2 * halo_px + 16),
        st.just(halo_px),
    )
)


@settings(deadline=None, max_examples=60)
@given(plan=PLANS)
def test_cores_cover_the_image_exactly_once(plan: tuple[tuple[int, int], int, int]) -> None:
    size_hw, tile_px, halo_px = plan
    count = np.zeros(size_hw, np.int64)
    for tile in plan_tiles(size_hw, tile_px=tile_px, halo_px=halo_px):
        assert min(tile.core.size_hw) > 0
        count[tile.core.slices] += 1
    assert (count == 1).all()


@settings(deadline=None, max_examples=60)
@given(plan=PLANS)
def test_every_tile_has_one_shape_and_lies_inside_the_image(plan: tuple[tuple[int, int], int, int]) -> None:
    size_hw, tile_px, halo_px = plan
    for tile in plan_tiles(size_hw, tile_px=tile_px, halo_px=halo_px):
        assert tile.padded.size_hw == (min(tile_px, size_hw[0]), min(tile_px, size_hw[1]))
        assert tile.padded.top >= 0
        assert tile.padded.bottom <= size_hw[0]
        assert tile.padded.left >= 0
        assert tile.padded.right <= size_hw[1]


@settings(deadline=None, max_examples=60)
@given(plan=PLANS)
def test_every_core_has_its_halo_or_the_edge_of_the_image(plan: tuple[tuple[int, int], int, int]) -> None:
    size_hw, tile_px, halo_px = plan
    for tile in plan_tiles(size_hw, tile_px=tile_px, halo_px=halo_px):
        core, padded = tile.core, tile.padded
        assert core.top - padded.top >= halo_px or core.top == padded.top == 0
        assert core.left - padded.left >= halo_px or core.left == padded.left == 0
        assert padded.bottom - core.bottom >= halo_px or core.bottom == padded.bottom == size_hw[0]
        assert padded.right - core.right >= halo_px or core.right == padded.right == size_hw[1]


@settings(deadline=None, max_examples=60)
@given(plan=PLANS)
def test_putting_the_cores_back_gives_the_image_back(plan: tuple[tuple[int, int], int, int]) -> None:
    size_hw, tile_px, halo_px = plan
    image = np.arange(size_hw[0] * size_hw[1]).reshape(size_hw)
    out = np.full_like(image, -1)
    for tile in plan_tiles(size_hw, tile_px=tile_px, halo_px=halo_px):
        answer = image[tile.padded.slices]
        out[tile.core.slices] = answer[tile.core_in_padded.slices]
    assert np.array_equal(out, image)


@pytest.mark.parametrize(
    ("size_hw", "starts"),
    [
        pytest.param((100, 64), [(0, 0)], id="smaller: one tile"),
        pytest.param((128, 128), [(0, 0)], id="just one tile"),
        pytest.param((128, 129), [(0, 0), (0, 1)], id="one pixel more: the second is shifted back"),
        pytest.param((128, 224), [(0, 0), (0, 96)], id="just two"),
        pytest.param((224, 224), [(0, 0), (0, 96), (96, 0), (96, 96)], id="row by row"),
        pytest.param((128, 352), [(0, 0), (0, 96), (0, 192), (0, 224)], id="the last is shifted back"),
    ],
)
def test_tiles_start_on_a_grid_and_the_last_ends_at_the_edge(
    size_hw: tuple[int, int], starts: list[tuple[int, int]]
) -> None:
    tiles = plan_tiles(size_hw, tile_px=128, halo_px=16)
    assert [(tile.padded.top, tile.padded.left) for tile in tiles] == starts


def test_neighbours_share_their_overlap_half_and_half() -> None:
    first, second = plan_tiles((128, 224), tile_px=128, halo_px=16)
    assert first.core == Window(0, 0, 128, 112)
    assert second.core == Window(0, 112, 128, 224)
    assert second.core_in_padded == Window(0, 16, 128, 128)


@pytest.mark.parametrize("stride", [8, 32])
def test_tiles_pool_on_the_grid_of_the_image_when_all_is_a_multiple_of_the_stride(stride: int) -> None:
    for tile in plan_tiles((stride * 37, stride * 23), tile_px=stride * 8, halo_px=stride):
        assert tile.padded.top % stride == tile.padded.left % stride == 0


@pytest.mark.parametrize(
    ("size_hw", "tile_px", "halo_px", "message"),
    [
        pytest.param((9, 9), 8, 4, "no core", id="halo of half a tile"),
        pytest.param((9, 9), 8, -1, "no core", id="negative halo"),
        pytest.param((9, 9), 0, 0, "no core", id="no tile"),
        pytest.param((0, 9), 8, 1, "at least one pixel", id="no image"),
    ],
)
def test_a_plan_that_leaves_nothing_is_refused(
    size_hw: tuple[int, int], tile_px: int, halo_px: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan_tiles(size_hw, tile_px=tile_px, halo_px=halo_px)
