"""The contact sheet shows each class, leaves broken files out, and is the same each time."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data.classes import ClassMap
from data.contact_sheet import contact_sheet
from data.images import encode_png
from data.layout import LabelledImage, write_layout
from data.manifest import Manifest
from data.sources import open_dataset

CLASSES = ClassMap.from_names(("background", "scratch", "dent"))


def manifest_of(root: Path, labels: dict[str, NDArray[np.uint8]]) -> Manifest:
    """Dark grey pictures, so that every coloured pixel of the sheet was drawn."""
    images = [
        LabelledImage(name, "train", encode_png(np.full((*one.shape, 3), 70, np.uint8)), one, "test")
        for name, one in labels.items()
    ]
    write_layout(images, class_map=CLASSES, destination=root / "set")
    return open_dataset(root / "set")


def empty(height_px: int = 60, width_px: int = 90) -> NDArray[np.uint8]:
    return np.zeros((height_px, width_px), np.uint8)


def with_box(class_id: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
    labels = empty()
    labels[rows, columns] = class_id
    return labels


def drawn_px(sheet: NDArray[np.uint8], class_id: int, *, below_px: int = 0) -> int:
    """Pixels of the class's colour; the outlines are smoothed, so nearly its colour counts."""
    color = np.array(CLASSES.classes[class_id].color)
    return int((np.abs(sheet[below_px:].astype(int) - color).max(axis=2) < 40).sum())


def test_each_class_is_outlined_in_its_colour(tmp_path: Path) -> None:
    key = manifest_of(tmp_path / "without", {"ok": empty()})
    full = manifest_of(
        tmp_path / "with",
        {
            "ok": empty(),
            "scratched": with_box(1, slice(10, 40), slice(10, 60)),
            "dented": with_box(2, slice(10, 40), slice(10, 60)),
        },
    )
    before, after = contact_sheet(key), contact_sheet(full)
    assert after.dtype == np.uint8
    assert after.shape[0] > before.shape[0], "a row without pictures takes less room"
    for class_id in (1, 2):
        # Two panels with an outline of some 200 px each, above the square in the heading.
        assert drawn_px(after, class_id) > drawn_px(before, class_id) + 300


def test_a_defect_of_one_pixel_in_a_large_image_is_circled(tmp_path: Path) -> None:
    labels = empty(1200, 1600)
    labels[600, 800] = 1
    with_dot = drawn_px(contact_sheet(manifest_of(tmp_path / "dot", {"a": labels})), 1)
    without = drawn_px(contact_sheet(manifest_of(tmp_path / "none", {"a": empty(1200, 1600)})), 1)
    assert with_dot > without + 60


def test_the_sheet_is_the_same_each_time_and_another_by_seed(tmp_path: Path) -> None:
    manifest = manifest_of(
        tmp_path, {f"n{number}": with_box(1, slice(5, 9 + 3 * number), slice(5, 30)) for number in range(8)}
    )
    first = contact_sheet(manifest, images_per_class=2)
    np.testing.assert_array_equal(first, contact_sheet(manifest, images_per_class=2))
    assert (first != contact_sheet(manifest, images_per_class=2, seed=1)).any()


def test_broken_files_are_left_out(tmp_path: Path) -> None:
    manifest = manifest_of(
        tmp_path, {name: with_box(1, slice(5, 20), slice(5, 30)) for name in ("a", "b", "c", "d")}
    )
    whole = contact_sheet(manifest)
    for sample in manifest.samples[:3]:
        sample.image.write_bytes(b"no picture")
    assert drawn_px(contact_sheet(manifest), 1) < drawn_px(whole, 1) / 2
    manifest.samples[3].mask.write_bytes(b"no mask")
    assert contact_sheet(manifest).size > 0


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 400), (400, 3), (17, 16)], ids=str)
def test_images_of_any_shape_have_a_cell(tmp_path: Path, size_hw: tuple[int, int]) -> None:
    labels = np.full(size_hw, 1, np.uint8)
    assert contact_sheet(manifest_of(tmp_path, {"a": labels, "ok": np.zeros(size_hw, np.uint8)})).ndim == 3


def test_a_class_drawn_in_several_images_fills_its_row(tmp_path: Path) -> None:
    """Both classes in every image: each row still has its pictures."""
    both = with_box(1, slice(5, 20), slice(5, 30))
    both[30:50, 40:80] = 2
    sheet = contact_sheet(manifest_of(tmp_path, {f"n{number}": both for number in range(4)}))
    one_row = contact_sheet(manifest_of(tmp_path / "one", {"a": with_box(1, slice(5, 20), slice(5, 30))}))
    assert sheet.shape[0] > one_row.shape[0]
