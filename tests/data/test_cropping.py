"""What is cut out is what lay there, labels with their pixels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.cropping import cut_crop

CROP = 32


@given(top=st.integers(-20, 70), left=st.integers(-20, 90), turns=st.integers(0, 3), mirrored=st.booleans())
def test_whole_pixel_maps_cut_what_indexing_cuts(top: int, left: int, turns: int, mirrored: bool) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (50, 70, 3)).astype(np.uint8)
    labels = random.integers(0, 3, (50, 70)).astype(np.uint8)
    linear = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), turns) * (-1 if mirrored else 1, 1)
    # The crop's middle at (top + 16, left + 16), counted in pixel edges.
    offset = np.array([left + CROP / 2, top + CROP / 2]) - linear @ np.full(2, CROP / 2 - 0.5) - 0.5
    cut, truth = cut_crop(image, labels, matrix=np.column_stack([linear, offset]), crop_px=CROP)
    wide_image = np.pad(image, [(100, 100), (100, 100), (0, 0)], mode="reflect")
    wide_labels = np.pad(labels, 100, constant_values=255)
    window = slice(top + 100, top + 100 + CROP), slice(left + 100, left + 100 + CROP)
    for got, whole in ((cut, wide_image), (truth, wide_labels)):
        # Moving crop coordinates by 90 degrees turns the picture the other way.
        expected = np.rot90(whole[window], turns)
        np.testing.assert_array_equal(got, expected[:, ::-1] if mirrored else expected)
