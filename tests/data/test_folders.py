"""Folders of images with index or coloured masks, and the text files that say what a colour means."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data.classes import ClassMap
from data.folders import Color, class_map_of_colors, iterate_folder, read_color_map
from data.images import encode_png
from data.layout import LabelledImage
from data.manifest import DatasetError
from data.masks import encode_labels

CLASSES = ClassMap.from_names(("background", "scratch"))
LABELS = np.array([[0, 0, 1, 255], [0, 1, 1, 0]], np.uint8)
THREE = ClassMap.from_names(("background", "scratch", "dent"))
LABELS_OF_THREE = np.where(LABELS == 1, 2, LABELS).astype(np.uint8)
PICTURE = encode_png(np.full((2, 4, 3), 90, np.uint8))
COLORS: dict[str, Color] = {"background": (0, 0, 0), "scratch": (255, 0, 0), "void": (255, 255, 255)}


def painted(labels: NDArray[np.uint8]) -> bytes:
    pixels = np.zeros((*labels.shape, 3), np.uint8)
    pixels[labels == 1] = COLORS["scratch"]
    pixels[labels == 255] = COLORS["void"]
    return encode_png(pixels)


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def read(
    root: Path, *, colors: dict[str, Color] | None = None, unlabeled_is_background: bool = False
) -> list[LabelledImage]:
    return list(
        iterate_folder(
            root, class_map=CLASSES, colors=colors, unlabeled_is_background=unlabeled_is_background
        )
    )


@pytest.mark.parametrize(
    ("mask", "colors"),
    [
        pytest.param(encode_labels(LABELS, CLASSES), None, id="palette"),
        pytest.param(painted(LABELS), COLORS, id="coloured"),
    ],
)
def test_both_kinds_of_mask_give_the_same_labels(
    tmp_path: Path, mask: bytes, colors: dict[str, Color] | None
) -> None:
    (image,) = read(write(tmp_path, {"images/a.jpg": PICTURE, "masks/a.png": mask}), colors=colors)
    assert (image.name, image.split, image.content) == ("a", None, PICTURE)
    np.testing.assert_array_equal(image.labels, LABELS)


def test_folders_name_the_split_and_the_table_the_part(tmp_path: Path) -> None:
    mask = encode_labels(LABELS, CLASSES)
    root = write(
        tmp_path,
        {
            f"{kind}/{split}/{split}1.png": content
            for kind, content in (("images", PICTURE), ("masks", mask))
            for split in ("training", "valid", "night")
        },
    )
    (root / "split.csv").write_text("name,group\nvalid1,plate7\n")
    assert [(image.split, image.name, image.group) for image in read(root)] == [
        ("night", "night1", None),
        ("train", "training1", None),
        ("val", "valid1", "plate7"),
    ]


def test_a_table_names_split_and_part_of_a_flat_folder(tmp_path: Path) -> None:
    root = write(tmp_path, {"images/a.png": PICTURE, "masks/a.png": encode_labels(LABELS, CLASSES)})
    (root / "split.csv").write_text("name,split,group\na,test,plate1\n")
    (image,) = read(root)
    assert (image.split, image.group) == ("test", "plate1")


def test_a_missing_mask_is_an_error_unless_it_means_no_defect(tmp_path: Path) -> None:
    write(tmp_path, {"images/a.png": PICTURE})
    with pytest.raises(DatasetError, match=r"a\.png: no mask .*--unlabeled-is-background"):
        read(tmp_path)
    (image,) = read(tmp_path, unlabeled_is_background=True)
    np.testing.assert_array_equal(image.labels, np.zeros((2, 4), np.uint8))


@pytest.mark.parametrize(
    ("mask", "colors", "message"),
    [
        pytest.param(painted(LABELS), None, r"a\.png: .*--colors", id="coloured-without-a-map"),
        pytest.param(
            painted(LABELS),
            {"background": (0, 0, 0), "scratch": (255, 0, 0)},
            r"a\.png: ",
            id="unknown-colour",
        ),
        pytest.param(encode_labels(LABELS_OF_THREE, THREE), None, r"a\.png: unknown ids 2", id="unknown-id"),
        pytest.param(b"nothing", None, r"a\.png: ", id="no-image"),
    ],
)
def test_a_mask_that_cannot_be_meant_is_named(
    tmp_path: Path, mask: bytes, colors: dict[str, Color] | None, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read(write(tmp_path, {"images/a.jpg": PICTURE, "masks/a.png": mask}), colors=colors)


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="images: no such folder"):
        read(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "deep scratch:255,16,0",
        "deep scratch:255,16,0::",
        "1 deep_scratch #ff1000",
        "deep_scratch defect #FF1000",
        "deep_scratch 255 16 0",
        "3 deep_scratch 255, 16, 0",
        "255 16 0 deep_scratch",
        "255,16,0,deep_scratch",
    ],
)
def test_colour_maps_of_every_tool_are_read(tmp_path: Path, line: str) -> None:
    path = tmp_path / "colors.txt"
    path.write_text(f"# label:color_rgb:parts:actions\n\nbackground:0,0,0::\n{line}\n")
    (first, second) = read_color_map(path).items()
    assert first == ("background", (0, 0, 0))
    assert (second[0].replace(" ", "_"), second[1]) == ("deep_scratch", (255, 16, 0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "no colour in it", id="empty"),
        pytest.param("scratch\n", "line 1: 'scratch' is no colour", id="no-colour"),
        pytest.param("scratch 256 0 0\n", "line 1", id="beyond-255"),
        pytest.param("a 1 2 3\nb 1 2 3\n", "line 2: b or its colour", id="colour-twice"),
        pytest.param("a 1 2 3\na 1 2 4\n", "line 2: a or its colour", id="name-twice"),
    ],
)
def test_a_wrong_colour_map_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "colors.txt"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_color_map(path)


def test_a_colour_map_makes_the_classes_background_first() -> None:
    class_map = class_map_of_colors({"scratch": (255, 0, 0), "void": (9, 9, 9), "Background": (1, 1, 1)})
    assert class_map.names == ("Background", "scratch")
    assert class_map.defect_ids == (1,)
    assert class_map.classes[1].color == (255, 0, 0)
    with pytest.raises(DatasetError, match="no colour for background among scratch"):
        class_map_of_colors({"scratch": (255, 0, 0)})
