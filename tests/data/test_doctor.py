"""The doctor: every kind of trouble, planted one at a time into a sound data set, is found and named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data.classes import ClassMap
from data.doctor import DoctorReport, check_dataset
from data.images import encode_jpeg, encode_png
from data.layout import LabelledImage, write_layout
from data.masks import encode_labels

HEIGHT_PX, WIDTH_PX = 24, 32
CLASSES = ClassMap.from_names(("background", "scratch", "dent"))
EXIF_ORIENTATION = 0x0112


def surface(seed: int) -> NDArray[np.uint8]:
    """A picture like no other: noise, smoothed."""
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3)).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.0))


def labels_with(*class_ids: int) -> NDArray[np.uint8]:
    labels = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    for class_id in class_ids:
        labels[2 * class_id, 4:14] = class_id
    return labels


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Two images a split: one without a defect, one with both kinds."""
    images = [
        LabelledImage(
            f"{split}_{kind}", split, encode_png(surface(2 * number + len(kind) % 2)), labels, "test"
        )
        for number, split in enumerate(("train", "val", "test"))
        for kind, labels in (("ok", labels_with()), ("bad", labels_with(1, 2)))
    ]
    write_layout(images, class_map=CLASSES, destination=tmp_path / "sound")
    return tmp_path / "sound"


def messages(report: DoctorReport) -> list[str]:
    return [f"{problem.severity}: {problem}" for problem in report.problems]


def put_mask(root: Path, labels: NDArray[np.uint8], *, name: str = "train_bad", split: str = "train") -> None:
    (root / "masks" / split / f"{name}.png").write_bytes(encode_labels(labels, CLASSES))


def put_picture(root: Path, pixels: NDArray[np.uint8], *, exif: int | None = None) -> None:
    """In place of train_bad, perhaps with an EXIF orientation."""
    (root / "images/train/train_bad.png").unlink()
    tags = Image.Exif()
    if exif is not None:
        tags[EXIF_ORIENTATION] = exif
    Image.fromarray(pixels).save(root / "images/train/train_bad.jpg", quality=95, exif=tags)


def test_a_sound_data_set_has_no_problem_and_its_table_is_right(sound: Path) -> None:
    heard: list[tuple[int, int]] = []
    report = check_dataset(sound, on_progress=lambda done, total: heard.append((done, total)))
    assert messages(report) == []
    assert heard == [(number, 6) for number in range(1, 7)]
    assert report.class_names == ("background", "scratch", "dent")
    train, *_ = report.splits
    assert (train.split, train.images, train.without_defect, train.ignored_pixels) == ("train", 2, 1, 0)
    assert train.class_pixels == (2 * 768 - 20, 10, 10)
    assert train.class_images == (2, 1, 1)
    assert train.class_shares[1] == pytest.approx(10 / 1536)
    assert train.smallest_hw == train.largest_hw == (HEIGHT_PX, WIDTH_PX)
    assert report.manifest is not None
    assert report.manifest.splits == ("train", "val", "test")


def test_images_without_a_defect_are_counted_by_their_pixels(sound: Path) -> None:
    put_mask(sound, labels_with(1), name="train_ok")
    labels = labels_with()
    labels[0] = 255
    put_mask(sound, labels, name="val_ok", split="val")
    train, val, _ = check_dataset(sound).splits
    assert (train.without_defect, val.without_defect) == (0, 1)
    assert (train.ignored_pixels, val.ignored_pixels) == (0, WIDTH_PX)


def no_image(root: Path) -> None:
    (root / "images/train/train_bad.png").write_bytes(b"this is text")


def half_an_image(root: Path) -> None:
    path = root / "images/train/train_bad.png"
    path.write_bytes(path.read_bytes()[:-200])


def no_mask(root: Path) -> None:
    (root / "masks/train/train_ok.png").unlink()


def coloured_mask(root: Path) -> None:
    (root / "masks/train/train_ok.png").write_bytes(encode_png(surface(0)))


def unknown_id(root: Path) -> None:
    labels = labels_with(1, 2)
    labels[20, :3] = 7
    Image.fromarray(labels).save(root / "masks/train/train_bad.png")


def other_size(root: Path) -> None:
    put_mask(root, labels_with(1, 2)[:20])


def mask_before_the_exif_turn(root: Path) -> None:
    put_picture(root, surface(50), exif=6)


def mask_after_the_exif_turn(root: Path) -> None:
    put_picture(root, np.ascontiguousarray(surface(50).swapaxes(0, 1)), exif=6)


def sixteen_bits(root: Path) -> None:
    grey = surface(50)[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(root / "images/train/train_bad.png")


def two_frames(root: Path) -> None:
    (root / "images/train/train_bad.png").unlink()
    first, second = (Image.fromarray(surface(seed)) for seed in (50, 51))
    first.save(root / "images/train/train_bad.tif", save_all=True, append_images=[second])


def all_ignored(root: Path) -> None:
    put_mask(root, np.full((HEIGHT_PX, WIDTH_PX), 255, np.uint8), name="train_ok")


def same_file_in_test(root: Path) -> None:
    shutil.copy(root / "images/train/train_ok.png", root / "images/test/test_ok.png")


def same_file_twice(root: Path) -> None:
    shutil.copy(root / "images/train/train_ok.png", root / "images/train/train_bad.png")


def brighter_copy_in_val(root: Path) -> None:
    pixels = np.asarray(Image.open(root / "images/train/train_ok.png"))
    brighter = np.clip(pixels * 1.1 + 6, 0, 255).astype(np.uint8)
    (root / "images/val/val_ok.png").write_bytes(encode_png(brighter))


def class_missing_in_train(root: Path) -> None:
    put_mask(root, labels_with(1))


def class_missing_in_val(root: Path) -> None:
    put_mask(root, labels_with(1), name="val_bad", split="val")


def class_nowhere(root: Path) -> None:
    for split in ("train", "val", "test"):
        put_mask(root, labels_with(1), name=f"{split}_bad", split=split)


def defects_drawn_as_255(root: Path) -> None:
    for split in ("train", "val", "test"):
        labels = np.where(labels_with(2) == 2, 255, labels_with(1)).astype(np.uint8)
        put_mask(root, labels, name=f"{split}_bad", split=split)


def group_on_two_sides(root: Path) -> None:
    (root / "split.csv").write_text("name,group\ntrain_ok,plate1\ntest_ok,plate1\n")


def same_name(root: Path) -> None:
    for kind in ("images", "masks"):
        (root / kind / "val/val_ok.png").rename(root / kind / "val/train_ok.png")


def no_val(root: Path) -> None:
    for kind in ("images", "masks"):
        shutil.rmtree(root / kind / "val")


def no_test(root: Path) -> None:
    for kind in ("images", "masks"):
        shutil.rmtree(root / kind / "test")


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        pytest.param(no_image, "error: */train_bad.png: is no readable image", id="no-image"),
        pytest.param(half_an_image, "error: */train_bad.png: is no readable image", id="half-an-image"),
        pytest.param(no_mask, "error: */images/train/train_ok.png: has no mask", id="no-mask"),
        pytest.param(
            coloured_mask, "error: */masks/train/train_ok.png: is no readable index mask", id="coloured-mask"
        ),
        pytest.param(
            unknown_id,
            "error: */masks/train/train_bad.png: holds the unknown ids 7 (3 pixels)",
            id="unknown-id",
        ),
        pytest.param(
            other_size,
            "error: */masks/train/train_bad.png: is 32 x 20 px, its image 32 x 24 px",
            id="other-size",
        ),
        pytest.param(
            mask_before_the_exif_turn,
            "error: */train_bad.png: fits train_bad.jpg only before its EXIF turn",
            id="mask-before-the-exif-turn",
        ),
        pytest.param(
            mask_after_the_exif_turn,
            "warning: */train_bad.jpg: is turned by EXIF (orientation 6)",
            id="mask-after-the-exif-turn",
        ),
        pytest.param(sixteen_bits, "warning: */train_bad.png: has 16 bits per channel", id="sixteen-bits"),
        pytest.param(two_frames, "warning: */train_bad.tif: holds 2 frames", id="two-frames"),
        pytest.param(
            all_ignored, "warning: */train_ok.png: is all 255, which means ignore", id="all-ignored"
        ),
        pytest.param(
            same_file_in_test,
            "error: */test_ok.png: is the same file as train_ok.png in train",
            id="same-file-in-test",
        ),
        pytest.param(
            same_file_twice,
            "warning: */train_ok.png: is the same file as train_bad.png",
            id="same-file-twice",
        ),
        pytest.param(
            brighter_copy_in_val,
            "warning: */val_ok.png: looks like train_ok.png in train",
            id="brighter-copy-in-val",
        ),
        pytest.param(
            class_missing_in_train,
            "error: */classes.txt: class 2 (dent) is in no mask of train, only of val, test",
            id="class-missing-in-train",
        ),
        pytest.param(
            class_missing_in_val,
            "warning: */classes.txt: class 2 (dent) is in no mask of val",
            id="class-missing-in-val",
        ),
        pytest.param(
            class_nowhere,
            "warning: */classes.txt: class 2 (dent) is in no mask; add images of it",
            id="class-nowhere",
        ),
        pytest.param(
            defects_drawn_as_255,
            "warning: */classes.txt: class 2 (dent) is in no mask; if 255 was to mean it",
            id="defects-drawn-as-255",
        ),
        pytest.param(
            group_on_two_sides,
            "error: */test_ok.png: group plate1 stands in train and test",
            id="group-on-two-sides",
        ),
        pytest.param(
            same_name, "warning: */val/train_ok.png: has the same name as an image of train", id="same-name"
        ),
        pytest.param(no_val, "error: *: no image in the split val", id="no-val"),
        pytest.param(no_test, "warning: *: no image in the split test", id="no-test"),
    ],
)
def test_what_is_planted_is_found_alone(sound: Path, plant: Callable[[Path], None], expected: str) -> None:
    plant(sound)
    (found,) = messages(check_dataset(sound))
    severity, _, rest = expected.partition("*")
    assert found.startswith(severity)
    assert rest in found


def test_a_lone_defect_class_that_is_nowhere_is_an_error(sound: Path) -> None:
    (sound / "classes.txt").write_text("0 background\n1 rust\n")
    for split in ("train", "val", "test"):
        put_mask(sound, labels_with(), name=f"{split}_bad", split=split)
    (problem,) = check_dataset(sound).errors
    assert "class 1 (rust) is in no mask" in problem.what


def test_many_problems_are_all_reported_errors_first(sound: Path) -> None:
    for plant in (sixteen_bits, no_test, coloured_mask):
        plant(sound)
    report = check_dataset(sound)
    severities = [problem.severity for problem in report.problems]
    assert severities == sorted(severities)
    assert len(report.errors) >= 1
    assert len(report.warnings) >= 2
    assert len(report.problems) == len(report.errors) + len(report.warnings)


def test_without_classes_nothing_else_is_read(sound: Path) -> None:
    (sound / "classes.txt").unlink()
    report = check_dataset(sound)
    assert report.manifest is None
    assert messages(report) == [
        f"error: {sound / 'classes.txt'}: this file is missing; "
        "write one line per class: `0 background`, `1 scratch`, …"
    ]


def test_a_flat_folder_without_a_table_is_still_looked_at(tmp_path: Path) -> None:
    images = [LabelledImage("a", None, encode_jpeg(surface(1)), labels_with(1, 2), "test")]
    write_layout(images, class_map=CLASSES, destination=tmp_path / "flat")
    unknown_path = tmp_path / "flat/masks/a.png"
    Image.fromarray(np.full((HEIGHT_PX, WIDTH_PX), 9, np.uint8)).save(unknown_path)
    report = check_dataset(tmp_path / "flat")
    assert [problem.file.name for problem in report.errors] == ["split.csv", "a.png"]
    assert report.splits[0].images == 1


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        check_dataset(tmp_path / "nowhere")
