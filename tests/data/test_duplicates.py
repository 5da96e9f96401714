"""Finding the same part on two sides of a split: copies are found, two pictures of one fixture are not."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from data.duplicates import SAME_STRUCTURE, THUMBNAIL_PX, find_likenesses, take_fingerprint
from data.images import encode_jpeg, read_image, read_thumbnail

Grey = NDArray[np.uint8]


def scene(seed: int) -> Grey:
    """What a camera on a fixture sees: the same shading every time, and grain that only this part has."""
    rows, columns = np.mgrid[:THUMBNAIL_PX, :THUMBNAIL_PX] / THUMBNAIL_PX
    shading = 90 + 60 * np.sin(5 * columns) * np.cos(3 * rows)
    grain = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 60, shading.shape), (0, 0), 1.2)
    return np.clip(shading + grain, 0, 255).astype(np.uint8)


def brighter(grey: Grey) -> Grey:
    return np.clip(grey * 1.2 + 10, 0, 255).astype(np.uint8)


def as_jpeg(grey: Grey) -> Grey:
    return read_image(encode_jpeg(np.repeat(grey[..., None], 3, axis=2), quality=70))[..., 0]


def noisy(grey: Grey) -> Grey:
    noise = np.random.default_rng(9).normal(0, 3, grey.shape)
    return np.clip(grey + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("change", [np.copy, brighter, as_jpeg, noisy], ids=lambda change: change.__name__)
def test_a_copy_on_the_other_side_is_found(change: object) -> None:
    assert callable(change)
    prints = [take_fingerprint(scene(seed)) for seed in range(5)]
    prints.append(take_fingerprint(change(scene(3))))
    (likeness,) = find_likenesses(prints, sides=[0, 0, 0, 0, 0, 2])
    assert (likeness.first, likeness.second) == (3, 5)
    assert SAME_STRUCTURE <= likeness.correlation <= 1.0001


def test_pictures_of_one_fixture_are_not_alike() -> None:
    prints = [take_fingerprint(scene(seed)) for seed in range(12)]
    assert find_likenesses(prints, sides=[0] * 6 + [1] * 6) == ()


def test_a_fixture_with_marks_of_its_own_does_not_make_two_parts_alike() -> None:
    """Half of the fine structure belongs to the fixture: the hashes agree, the correlation decides."""
    rows, columns = np.mgrid[:THUMBNAIL_PX, :THUMBNAIL_PX] / THUMBNAIL_PX
    shading = 128 + 100 * np.sin(5 * columns + 1) * np.cos(3 * rows)
    marks, first, second = (
        cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 8, shading.shape), (0, 0), 1.2)
        for seed in range(3)
    )
    prints = [
        take_fingerprint(np.clip(shading + marks + own, 0, 255).astype(np.uint8)) for own in (first, second)
    ]
    assert (prints[0].bits != prints[1].bits).mean() < 0.15, "or the hashes would decide it"
    assert find_likenesses(prints, sides=[0, 1]) == ()


def test_pictures_of_one_side_are_not_compared() -> None:
    prints = [take_fingerprint(scene(1))] * 3
    assert find_likenesses(prints, sides=[1, 1, 1]) == ()
    assert find_likenesses([], sides=[]) == ()


def test_each_picture_names_its_best_likeness_on_a_lower_side_most_alike_first() -> None:
    prints = [
        take_fingerprint(grey) for grey in (noisy(scene(1)), scene(1), scene(2), scene(1), noisy(scene(2)))
    ]
    found = find_likenesses(prints, sides=[0, 0, 0, 1, 2])
    assert [(likeness.first, likeness.second) for likeness in found] == [(1, 3), (2, 4)]
    assert found[0].correlation == pytest.approx(1.0, abs=1e-3)


def test_flat_pictures_are_never_alike() -> None:
    flat = take_fingerprint(np.full((THUMBNAIL_PX, THUMBNAIL_PX), 90, np.uint8))
    assert flat.detail is None
    assert find_likenesses([flat, flat], sides=[0, 1]) == ()


def test_a_large_picture_and_its_small_copy_are_alike() -> None:
    fine = cv2.resize(scene(4), (800, 600), interpolation=cv2.INTER_CUBIC)
    coarse = cv2.resize(fine, (640, 480), interpolation=cv2.INTER_AREA)
    prints = [
        take_fingerprint(
            read_thumbnail(encode_jpeg(np.repeat(grey[..., None], 3, axis=2)), edge_px=THUMBNAIL_PX)
        )
        for grey in (fine, coarse)
    ]
    assert len(find_likenesses(prints, sides=[0, 1])) == 1
