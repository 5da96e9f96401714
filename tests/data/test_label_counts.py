"""Ids are counted exactly, whatever the shape."""

import numpy as np
import pytest

from data.label_counts import count_labels


@pytest.mark.parametrize("size_hw", [(0, 5), (1, 1), (3, 2_000_000), (1500, 1501)], ids=str)
def test_every_pixel_is_counted_once(size_hw: tuple[int, int]) -> None:
    labels = np.arange(size_hw[0] * size_hw[1]).astype(np.uint8).reshape(size_hw)
    counts = count_labels(labels)
    whole, rest = divmod(labels.size, 256)
    assert counts.tolist() == [whole + (label < rest) for label in range(256)]
