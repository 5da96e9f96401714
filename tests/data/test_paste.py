"""Pasting defects: what is added, what is refused, and that labels say exactly what was added."""

import numpy as np
import pytest

from data.classes import IGNORE_LABEL, ClassMap
from data.paste import paste_defects

CLASSES = ClassMap.from_names(["background", "pit", "crack"])


def flat(level: int, *, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    return np.full((size, size, 3), level, np.uint8), np.zeros((size, size), np.uint8)


def donor_with_pit(level: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """A square pit of half the surface's light, 8 x 8 px, in the middle."""
    image, labels = flat(level)
    image[28:36, 28:36], labels[28:36, 28:36] = level // 2, 1
    return image, labels


def test_a_whole_defect_is_pasted_with_its_label_and_at_the_light_of_its_new_place() -> None:
    donor_image, donor_labels = donor_with_pit(100)
    image, labels = flat(150)
    pasted, truth = paste_defects(
        image, labels, donor_image=donor_image, donor_labels=donor_labels, class_map=CLASSES
    )
    assert np.array_equal(truth, donor_labels)
    # 50 of 100 there is 75 of 150 here; the +1 of the means costs less than a grey level.
    assert abs(int(pasted[32, 32, 0]) - 75) <= 1
    assert (pasted[:20] == 150).all()
    assert (image == 150).all(), "what is given is not changed"
    assert not labels.any()


def cut_by_the_edge() -> tuple[np.ndarray, np.ndarray]:
    image, labels = flat(100)
    labels[0:8, 28:36] = 1
    return image, labels


def cut_by_its_images_border() -> tuple[np.ndarray, np.ndarray]:
    image, labels = donor_with_pit()
    labels[:28] = IGNORE_LABEL
    return image, labels


def large() -> tuple[np.ndarray, np.ndarray]:
    image, labels = flat(100)
    labels[8:56, 8:56] = 1
    return image, labels


def of_another_light() -> tuple[np.ndarray, np.ndarray]:
    return donor_with_pit(20)


@pytest.mark.parametrize("donor", [cut_by_the_edge, cut_by_its_images_border, large, of_another_light])
def test_what_would_look_pasted_is_left_out(donor) -> None:
    donor_image, donor_labels = donor()
    image, labels = flat(150)
    pasted, truth = paste_defects(
        image, labels, donor_image=donor_image, donor_labels=donor_labels, class_map=CLASSES
    )
    assert np.array_equal(pasted, image)
    assert not truth.any()


@pytest.mark.parametrize("already", [IGNORE_LABEL, 2])
def test_nothing_is_pasted_over_unlabelled_pixels_or_another_defect(already: int) -> None:
    donor_image, donor_labels = donor_with_pit()
    image, labels = flat(100)
    labels[30, 30] = already
    _, truth = paste_defects(
        image, labels, donor_image=donor_image, donor_labels=donor_labels, class_map=CLASSES
    )
    assert np.array_equal(truth, labels)
