"""Padding mirrors at the right and lower border, and cropping undoes it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.padding import pad_to_multiple


@given(
    height=st.integers(2, 40),
    width=st.integers(2, 40),
    multiple=st.sampled_from([1, 4, 32]),
    least_px=st.sampled_from([0, 20, 64]),
)
def test_the_image_stays_at_the_upper_left_and_the_rest_mirrors_it(
    height: int, width: int, multiple: int, least_px: int
) -> None:
    image = np.random.default_rng(height * 41 + width).integers(0, 256, (height, width, 3), np.uint8)
    padded = pad_to_multiple(image, multiple, least_px=least_px)
    for before, after in zip(image.shape[:2], padded.shape[:2], strict=True):
        assert after % multiple == 0
        assert max(before, least_px) <= after < max(before, least_px) + multiple
    below, right = padded.shape[0] - height, padded.shape[1] - width
    np.testing.assert_array_equal(padded, np.pad(image, [(0, below), (0, right), (0, 0)], mode="reflect"))


def test_an_image_that_fits_is_passed_on_as_it_is() -> None:
    image = np.zeros((64, 32, 3), np.uint8)
    assert pad_to_multiple(image, 32) is image


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 5), (5, 1)])
def test_a_row_of_pixels_is_repeated(size_hw: tuple[int, int]) -> None:
    image = np.arange(size_hw[0] * size_hw[1] * 3, dtype=np.uint8).reshape(*size_hw, 3)
    padded = pad_to_multiple(image, 8)
    assert padded.shape == (8, 8, 3)
    np.testing.assert_array_equal(
        padded, np.pad(image, [(0, 8 - size_hw[0]), (0, 8 - size_hw[1]), (0, 0)], "edge")
    )
