"""LabelMe: every shape with an area becomes labels, later shapes on top; the rest is refused by name."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data.classes import ClassMap
from data.images import encode_png
from data.labelme import iterate_labelme, labelme_class_names, read_labelme_files
from data.layout import LabelledImage
from data.manifest import DatasetError
from data.masks import encode_labels

HEIGHT_PX, WIDTH_PX = 12, 16
CLASSES = ClassMap.from_names(("background", "dent", "scratch"))
PICTURE = encode_png(np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8))


def shape(
    points: Any, *, label: str = "scratch", kind: str | None = "polygon", **more: Any
) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, **more}


def write(root: Path, *shapes: dict[str, Any], name: str = "a", **more: Any) -> Path:
    content = {
        "imagePath": f"{name}.png",
        "imageData": None,
        "imageHeight": HEIGHT_PX,
        "imageWidth": WIDTH_PX,
        "shapes": shapes,
        **more,
    }
    path = root / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    path.with_suffix(".png").write_bytes(PICTURE)
    return root


def images_in(root: Path, *, unlabeled_is_background: bool = False) -> list[LabelledImage]:
    files = read_labelme_files(root)
    return list(
        iterate_labelme(
            files, source=root, class_map=CLASSES, unlabeled_is_background=unlabeled_is_background
        )
    )


def labels_in(root: Path) -> NDArray[np.uint8]:
    (image,) = images_in(root)
    return image.labels


def test_a_circle_holds_the_pixels_whose_centre_it_covers(tmp_path: Path) -> None:
    labels = labels_in(write(tmp_path, shape([[6, 6], [9, 6]], kind="circle")))
    rows, columns = np.mgrid[:HEIGHT_PX, :WIDTH_PX]
    inside = (columns + 0.5 - 6) ** 2 + (rows + 0.5 - 6) ** 2 <= 9
    np.testing.assert_array_equal(labels == 2, inside)
    assert inside.sum() == 32


@pytest.mark.parametrize(
    ("points", "kind"),
    [
        pytest.param([[2, 3], [8, 3], [8, 7], [2, 7]], "polygon", id="polygon"),
        pytest.param([[2, 3], [8, 3], [8, 7], [2, 7]], None, id="old-file-without-a-kind"),
        pytest.param([[8, 7], [2, 3]], "rectangle", id="rectangle-drawn-backwards"),
    ],
)
def test_an_outline_covers_its_inside(tmp_path: Path, points: list[list[int]], kind: str | None) -> None:
    labels = labels_in(write(tmp_path, shape(points, kind=kind)))
    expected = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    expected[3:7, 2:8] = 2
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize(
    ("corner_xy", "rows", "columns"),
    [
        pytest.param((5, 4), slice(4, 7), slice(5, 9), id="inside"),
        pytest.param((14, 10), slice(10, 12), slice(14, 16), id="beyond-the-right-lower-corner"),
        pytest.param((-2, -1), slice(0, 2), slice(0, 2), id="beyond-the-left-upper-corner"),
    ],
)
def test_a_mask_shape_is_pasted_and_cut(
    tmp_path: Path, corner_xy: tuple[int, int], rows: slice, columns: slice
) -> None:
    drawn = base64.b64encode(encode_labels(np.ones((3, 4), np.uint8), CLASSES)).decode()
    left, top = corner_xy
    labels = labels_in(
        write(tmp_path, shape([[left, top], [left + 3, top + 2]], kind="mask", mask=drawn, label="dent"))
    )
    expected = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    expected[rows, columns] = 1
    np.testing.assert_array_equal(labels, expected)


def test_a_later_shape_lies_on_top_and_background_cuts_a_hole(tmp_path: Path) -> None:
    labels = labels_in(
        write(
            tmp_path,
            shape([[0, 0], [10, 10]], kind="rectangle", label="dent"),
            shape([[2, 2], [7, 7]], kind="rectangle", label="_background_"),
            shape([[4, 4], [5, 5]], kind="rectangle", label="__ignore__"),
        )
    )
    assert (labels[1, 1], labels[3, 3], labels[4, 4]) == (1, 0, 255)


def test_names_are_sorted_and_background_and_ignore_are_no_classes(tmp_path: Path) -> None:
    names = ("scratch", "__ignore__", "dent", "_background_")
    write(tmp_path, *(shape([[0, 0], [1, 1]], kind="rectangle", label=name) for name in names))
    assert labelme_class_names(read_labelme_files(tmp_path)) == ("background", "dent", "scratch")


def test_an_image_nobody_labelled_is_an_error_unless_it_is_meant(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "b.png").write_bytes(PICTURE)
    with pytest.raises(DatasetError, match=r"b\.png: no LabelMe file.*--unlabeled-is-background"):
        images_in(tmp_path)
    images = images_in(tmp_path, unlabeled_is_background=True)
    assert [image.name for image in images] == ["a", "b"]
    assert images[1].labels.shape == (HEIGHT_PX, WIDTH_PX)
    assert not images[1].labels.any()


def test_the_folder_names_the_split(tmp_path: Path) -> None:
    write(tmp_path, name="train/a")
    write(tmp_path, name="valid/b")
    assert [(image.name, image.split) for image in images_in(tmp_path)] == [("a", "train"), ("b", "val")]


def test_an_image_path_of_another_machine_is_found_by_name(tmp_path: Path) -> None:
    write(tmp_path, imagePath="..\\line 3\\a.png")
    assert images_in(tmp_path)[0].content == PICTURE


def test_the_image_inside_the_file_serves_where_there_is_no_other(tmp_path: Path) -> None:
    write(tmp_path, imageData=base64.b64encode(PICTURE).decode())
    (tmp_path / "a.png").unlink()
    (image,) = images_in(tmp_path)
    assert (image.name, image.content) == ("a", PICTURE)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        pytest.param(shape([[0, 0], [5, 5]], kind="line"), "a line has no area", id="line"),
        pytest.param(shape([[0, 0], [5, 5]]), "2 points have no area", id="two-points"),
        pytest.param(shape([[0, 0, 0], [5, 5, 0]]), "no valid shape", id="three-coordinates"),
        pytest.param(shape([[0, 0]], kind="circle"), "no valid shape", id="circle-without-rim"),
        pytest.param(shape([], kind="rectangle"), "no valid shape", id="empty-rectangle"),
        pytest.param(shape([["x", 0]]), "no valid shape", id="text"),
        pytest.param(shape([[0, 0]], kind="mask"), "no valid shape", id="mask-without-mask"),
        pytest.param(shape([[0, 0]], kind="mask", mask="AAAA"), "no valid shape", id="mask-is-no-png"),
        pytest.param(shape([[0, 0], [5, 5], [0, 5]], label="rust"), "'rust' is not among", id="class"),
    ],
)
def test_a_shape_that_is_no_region_is_named(tmp_path: Path, broken: dict[str, Any], message: str) -> None:
    good = shape([[0, 0], [1, 1]], kind="rectangle")
    with pytest.raises(DatasetError, match=message) as caught:
        images_in(write(tmp_path, good, broken))
    assert f"a.json, shape 1 ({broken['label']})" in str(caught.value)


def test_other_json_files_are_passed_over_and_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"shapes": 3}')
    with pytest.raises(DatasetError, match="no LabelMe file"):
        read_labelme_files(tmp_path)
    write(tmp_path)
    assert len(read_labelme_files(tmp_path)) == 1
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DatasetError, match=r"broken\.json: no JSON"):
        read_labelme_files(tmp_path)
