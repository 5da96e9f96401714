"""The one door for imports: what comes in through it opens with `open_dataset`, or nothing is left behind."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.classes import ClassMap
from data.formats import ImportSettings, import_dataset
from data.images import encode_jpeg, encode_png
from data.layout import LabelledImage, check_name, write_layout
from data.manifest import DatasetError
from data.masks import encode_labels, read_labels
from data.sources import open_dataset

CLASSES = ClassMap.from_names(("background", "scratch"))
LABELS = np.zeros((6, 8), np.uint8)
LABELS[1:4, 1:4] = 1
PICTURE = encode_jpeg(np.full((6, 8, 3), 120, np.uint8))
SQUARE = [1, 1, 4, 1, 4, 4, 1, 4]


def image(name: str = "a", **changes: Any) -> LabelledImage:
    return dataclasses.replace(LabelledImage(name, "train", PICTURE, LABELS, f"{name}.json"), **changes)


def coco_source(root: Path, *, split: str | None = "train") -> Path:
    root.mkdir()
    (root / "a.jpg").write_bytes(PICTURE)
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 8, "height": 6}],
        "categories": [{"id": 1, "name": "scratch"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [SQUARE]}],
    }
    (root / f"instances_{split or 'default'}.json").write_text(json.dumps(content))
    return root


def labelme_source(root: Path) -> Path:
    (root / "train").mkdir(parents=True)
    (root / "train/a.jpg").write_bytes(PICTURE)
    shape = {"label": "scratch", "shape_type": "polygon", "points": [[1, 1], [4, 1], [4, 4], [1, 4]]}
    content = {"imagePath": "a.jpg", "imageHeight": 6, "imageWidth": 8, "shapes": [shape]}
    (root / "train/a.json").write_text(json.dumps(content))
    return root


def folder_source(root: Path) -> Path:
    for kind, name, content in (
        ("images", "a.jpg", PICTURE),
        ("masks", "a.png", encode_labels(LABELS, CLASSES)),
    ):
        (root / kind / "train").mkdir(parents=True)
        (root / kind / "train" / name).write_bytes(content)
    (root / "classes.txt").write_text("0 background\n1 scratch\n")
    return root


def painted_source(root: Path) -> Path:
    folder_source(root)
    pixels = np.where((LABELS == 1)[..., None], (255, 0, 0), (0, 0, 0)).astype(np.uint8)
    (root / "masks/train/a.png").write_bytes(encode_png(pixels))
    (root / "classes.txt").unlink()
    (root / "colors.txt").write_text("scratch 255 0 0\nbackground 0 0 0\n")
    return root


@pytest.mark.parametrize(
    ("source", "format_name"),
    [
        pytest.param(coco_source, "coco", id="coco"),
        pytest.param(labelme_source, "labelme", id="labelme"),
        pytest.param(folder_source, "folder", id="folder"),
        pytest.param(painted_source, "folder", id="painted"),
    ],
)
def test_every_format_comes_out_as_the_same_data_set(tmp_path: Path, source: Any, format_name: str) -> None:
    root = source(tmp_path / "source")
    colors = root / "colors.txt"
    imported = import_dataset(
        root,
        destination=tmp_path / "new" / "place",
        format_name=format_name,
        settings=ImportSettings(colors=colors if colors.exists() else None),
    )
    assert (imported.images, imported.has_splits) == (1, True)
    manifest = open_dataset(tmp_path / "new" / "place")
    assert manifest.class_map.names == ("background", "scratch")
    (sample,) = manifest.split("train")
    assert sample.image.read_bytes() == PICTURE, "images are copied byte for byte"
    np.testing.assert_array_equal(read_labels(sample.mask), LABELS)


def test_without_a_split_the_folder_is_flat(tmp_path: Path) -> None:
    source = coco_source(tmp_path / "source", split=None)
    imported = import_dataset(source, destination=tmp_path / "out", format_name="coco")
    assert not imported.has_splits
    assert (tmp_path / "out/images/a.jpg").is_file()
    assert (tmp_path / "out/masks/a.png").is_file()


def test_a_split_given_beats_the_source(tmp_path: Path) -> None:
    import_dataset(
        coco_source(tmp_path / "source"),
        destination=tmp_path / "out",
        format_name="coco",
        settings=ImportSettings(split="test"),
    )
    assert open_dataset(tmp_path / "out").splits == ("test",)


def test_classes_given_fix_ids_roles_and_colours(tmp_path: Path) -> None:
    classes = tmp_path / "classes.txt"
    classes.write_text("0 background\n1 dent\n2 scratch defect #0000ff\n")
    import_dataset(
        coco_source(tmp_path / "source"),
        destination=tmp_path / "out",
        format_name="coco",
        settings=ImportSettings(classes=classes),
    )
    manifest = open_dataset(tmp_path / "out")
    assert manifest.class_map == ClassMap.read(classes)
    np.testing.assert_array_equal(read_labels(manifest.samples[0].mask), LABELS * 2)


def test_a_defect_must_not_be_what_nobody_outlined(tmp_path: Path) -> None:
    classes = tmp_path / "classes.txt"
    classes.write_text("0 scratch defect\n1 background\n")
    with pytest.raises(DatasetError, match=r"class 0 \(scratch\) is a defect"):
        import_dataset(
            coco_source(tmp_path / "source"),
            destination=tmp_path / "out",
            format_name="coco",
            settings=ImportSettings(classes=classes),
        )


def test_groups_travel_with_their_images(tmp_path: Path) -> None:
    images = [image("a", group="plate1"), image("b", split="val"), image("c", group="plate1")]
    write_layout(images, class_map=CLASSES, destination=tmp_path / "out")
    assert [(s.name, s.group) for s in open_dataset(tmp_path / "out").samples] == [
        ("a", "plate1"),
        ("c", "plate1"),
        ("b", None),
    ]


def test_splits_may_hold_images_of_the_same_name(tmp_path: Path) -> None:
    count = write_layout([image(), image(split="val")], class_map=CLASSES, destination=tmp_path / "out")
    assert count == 2
    assert len(open_dataset(tmp_path / "out").samples) == 2


@pytest.mark.parametrize(
    ("images", "message"),
    [
        pytest.param([], "no image to write", id="none"),
        pytest.param([image(), image()], "would both become 'a'", id="twice"),
        pytest.param([image("a"), image("b", split=None)], "some to none", id="split-and-none"),
        pytest.param(
            [image(labels=LABELS.T.copy())], "labels of 6 x 8 px for an image of 8 x 6", id="turned"
        ),
        pytest.param([image(labels=LABELS * 7)], "a.json: unknown ids 7", id="unknown-id"),
        pytest.param([image(content=b"text")], "a.json: no readable image", id="no-image"),
        pytest.param([image("a/b")], "'a/b' is no file name", id="name-with-a-slash"),
        pytest.param([image(split="..")], "'..' is no file name", id="split-that-leaves"),
    ],
)
def test_what_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, images: list[LabelledImage], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        write_layout(images, class_map=CLASSES, destination=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_import_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupted() -> Iterator[LabelledImage]:
        yield image()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_layout(interrupted(), class_map=CLASSES, destination=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_import_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").touch()
    with pytest.raises(DatasetError, match="out is not empty"):
        import_dataset(coco_source(tmp_path / "source"), destination=tmp_path / "out", format_name="coco")


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    import_dataset(coco_source(tmp_path / "source"), destination=tmp_path / "out", format_name="coco")
    assert open_dataset(tmp_path / "out").samples


def test_a_source_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: no such file or folder"):
        import_dataset(tmp_path / "nowhere", destination=tmp_path / "out", format_name="coco")


def test_a_folder_needs_classes_from_somewhere(tmp_path: Path) -> None:
    root = folder_source(tmp_path / "source")
    (root / "classes.txt").unlink()
    with pytest.raises(DatasetError, match=r"no classes\.txt; write"):
        import_dataset(root, destination=tmp_path / "out", format_name="folder")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a\\b", "nul\0", "a:b"])
def test_names_that_some_system_cannot_store_are_refused(name: str) -> None:
    with pytest.raises(DatasetError, match="is no file name"):
        check_name(name, origin="here")


def test_our_own_formats_do_not_load_datumaro(repository: Path) -> None:
    code = (
        "import data.formats, data.coco, data.labelme, data.folders, sys; sys.exit('datumaro' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=repository).returncode == 0
