"""COCO: polygons and run lengths become label maps, later annotations on top; broken files are named."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from data.classes import ClassMap
from data.coco import coco_class_names, iterate_coco, read_coco_files
from data.images import encode_png
from data.manifest import DatasetError

HEIGHT_PX, WIDTH_PX = 6, 8
CLASSES = ClassMap.from_names(("background", "scratch", "dent"))
# Corners lie on pixel edges, so that no rule about half pixels decides.
SQUARE = [1, 1, 4, 1, 4, 4, 1, 4]
EXPECTED = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
EXPECTED[1:4, 1:4] = 1


def coco(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": WIDTH_PX, "height": HEIGHT_PX}],
        "categories": [{"id": 9, "name": "dent"}, {"id": 3, "name": "scratch"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, **one} for one in annotations],
    }


def write(root: Path, content: object, *, file: str = "instances.json", image: str = "a.png") -> Path:
    for path in (root / file, root / image):
        path.parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(content))
    (root / image).write_bytes(encode_png(np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)))
    return root


def labels_in(root: Path, class_map: ClassMap = CLASSES) -> NDArray[np.uint8]:
    (image,) = iterate_coco(read_coco_files(root), source=root, class_map=class_map)
    return image.labels


def runs(mask: NDArray[np.bool_]) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


@pytest.mark.parametrize(
    "segmentation",
    [
        pytest.param([SQUARE], id="polygon"),
        pytest.param([[*SQUARE[:2], 2.5, 1, 4, 1, 4, 4, 1, 4]], id="fractions"),
        pytest.param([[1, 1, 4, 1, 4, 2, 1, 2], [1, 2, 4, 2, 4, 4, 1, 4]], id="two-parts"),
        pytest.param(runs(EXPECTED == 1), id="compressed-runs"),
        # Column by column: 6 + 1 outside, 3 inside, 3 outside, …
        pytest.param({"size": [6, 8], "counts": [7, 3, 3, 3, 3, 3, 26]}, id="plain-runs"),
    ],
)
def test_every_kind_of_outline_becomes_the_same_labels(tmp_path: Path, segmentation: object) -> None:
    root = write(tmp_path, coco({"segmentation": segmentation}))
    np.testing.assert_array_equal(labels_in(root), EXPECTED)


def test_the_later_annotation_lies_on_top(tmp_path: Path) -> None:
    below = {"segmentation": [SQUARE]}
    above = {"segmentation": [[2, 2, 8, 2, 8, 3, 2, 3]], "category_id": 9}
    expected = EXPECTED.copy()
    expected[2, 2:] = 2
    np.testing.assert_array_equal(labels_in(write(tmp_path, coco(below, above))), expected)


def test_an_image_without_annotations_shows_no_defect(tmp_path: Path) -> None:
    assert not labels_in(write(tmp_path, coco())).any()


def test_names_come_by_category_id_after_background(tmp_path: Path) -> None:
    content = coco()
    content["categories"] += [{"id": 1, "name": "Background"}, {"id": 4, "name": "ignore"}]
    assert coco_class_names(read_coco_files(write(tmp_path, content))) == ("background", "scratch", "dent")


def test_an_ignored_region_is_no_class(tmp_path: Path) -> None:
    content = coco({"segmentation": [SQUARE], "category_id": 4})
    content["categories"].append({"id": 4, "name": "ignore"})
    np.testing.assert_array_equal(labels_in(write(tmp_path, content)), EXPECTED * 255)


@pytest.mark.parametrize(
    ("file", "image", "split"),
    [
        pytest.param("annotations/instances_train2017.json", "train2017/a.png", "train", id="coco"),
        pytest.param("valid/_annotations.coco.json", "valid/a.png", "val", id="folder"),
        pytest.param("annotations/instances_default.json", "images/default/a.png", None, id="none"),
    ],
)
def test_the_split_stands_in_the_file_name(tmp_path: Path, file: str, image: str, split: str | None) -> None:
    root = write(tmp_path, coco(), file=file, image=image)
    (found,) = iterate_coco(read_coco_files(root), source=root, class_map=CLASSES)
    assert (found.name, found.split) == ("a", split)


def test_of_two_images_of_one_name_the_one_in_the_split_counts(tmp_path: Path) -> None:
    root = write(tmp_path, coco(), file="val.json", image="val/a.png")
    write(tmp_path, coco(), file="val.json", image="train/a.png")
    (root / "val/a.png").write_bytes(b"the right one")
    (found,) = iterate_coco(read_coco_files(root), source=root, class_map=CLASSES)
    assert found.content == b"the right one"


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        pytest.param({"bbox": [1, 1, 3, 3]}, "only a box", id="box"),
        pytest.param({"segmentation": []}, "only a box", id="empty"),
        pytest.param({"segmentation": [[1, 1, 3, 3]]}, "neither polygons nor run", id="two-points"),
        pytest.param({"segmentation": [[1, 1, 3, 3, 5, 5, 2]]}, "neither polygons nor run", id="odd"),
        pytest.param({"segmentation": [SQUARE, [1, 1]]}, "neither polygons nor run", id="second-part"),
        pytest.param({"segmentation": {"size": [6, 8]}}, "neither polygons nor run", id="no-counts"),
        pytest.param({"segmentation": ["x"]}, "neither polygons nor run", id="text"),
        pytest.param(
            {"segmentation": {"size": [8, 6], "counts": [48]}}, "run lengths for 6 x 8 px", id="turned-runs"
        ),
        pytest.param({"segmentation": [SQUARE], "category_id": 1}, "category 1, not both", id="category"),
        pytest.param({"segmentation": [SQUARE], "image_id": 1}, "image 1 of", id="image"),
    ],
)
def test_a_broken_annotation_is_named(tmp_path: Path, annotation: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        labels_in(write(tmp_path, coco(annotation)))
    assert "instances.json" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"images": [{"id": 1}]}, "file_name", id="image-without-name"),
        pytest.param({"categories": [{"id": 1}]}, "name", id="category-without-name"),
        pytest.param(
            {"images": [{"id": 1, "file_name": "a.png", "width": 0, "height": 6}]}, "needs id", id="no-size"
        ),
        pytest.param(
            {"images": [{"id": 1, "file_name": "../../b.png", "width": 8, "height": 6}]},
            "no image '../../b.png' below",
            id="outside",
        ),
        pytest.param({"annotations": None}, "no COCO file", id="no-annotations"),
    ],
)
def test_a_file_that_is_not_quite_coco_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        labels_in(write(tmp_path, copy.deepcopy(coco()) | change))


def test_what_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DatasetError, match=r"a\.json: no JSON"):
        read_coco_files(tmp_path)


def test_a_class_that_classes_txt_lacks_is_an_error(tmp_path: Path) -> None:
    root = write(tmp_path, coco({"segmentation": [SQUARE]}))
    with pytest.raises(DatasetError, match="'scratch' is not among the classes background, dent"):
        labels_in(root, ClassMap.from_names(("background", "dent")))
