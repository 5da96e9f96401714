"""The list of samples: order, empty splits, and a digest that follows the content alone."""

import os
import shutil
from pathlib import Path

import pytest

from data.classes import ClassMap
from data.manifest import DatasetError, Manifest, Problem, Sample, ordered_splits, raise_for

CLASSES = ClassMap.from_names(("background", "scratch"))


def manifest_in(
    root: Path, *, split: str = "train", name: str = "a", classes: ClassMap = CLASSES
) -> Manifest:
    root.mkdir(exist_ok=True)
    image, mask = root / f"{name}.jpg", root / f"{name}.png"
    image.write_bytes(b"image")
    mask.write_bytes(b"mask")
    return Manifest(root=root, class_map=classes, samples=(Sample(name, image, mask, split),))


def test_known_splits_come_first_in_life_order() -> None:
    assert ordered_splits(["night", "test", "train", "val", "day", "test"]) == (
        "train",
        "val",
        "test",
        "day",
        "night",
    )


def test_an_empty_split_is_an_error_that_says_what_there_is(tmp_path: Path) -> None:
    manifest = manifest_in(tmp_path)
    assert [sample.name for sample in manifest.split("train")] == ["a"]
    with pytest.raises(DatasetError, match=r"no image in the split 'val'; it holds train"):
        manifest.split("val")


def test_the_digest_does_not_depend_on_place_or_date(tmp_path: Path) -> None:
    first = manifest_in(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    os.utime(tmp_path / "there" / "a.jpg", (0, 0))
    moved = Sample("a", tmp_path / "there" / "a.jpg", tmp_path / "there" / "a.png", "train")
    second = Manifest(root=tmp_path / "there", class_map=CLASSES, samples=(moved,))
    assert first.digest() == second.digest()
    assert len(first.digest()) == 64


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"split": "val"}, id="split"),
        pytest.param({"name": "b"}, id="name"),
        pytest.param({"classes": ClassMap.from_names(("background", "dent"))}, id="class-name"),
    ],
)
def test_the_digest_follows_what_training_would_notice(tmp_path: Path, change: dict[str, str]) -> None:
    assert manifest_in(tmp_path / "one").digest() != manifest_in(tmp_path / "two", **change).digest()  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_digest_follows_every_file(tmp_path: Path, suffix: str) -> None:
    manifest = manifest_in(tmp_path)
    before = manifest.digest()
    (tmp_path / f"a.{suffix}").write_bytes(b"other")
    assert manifest.digest() != before


def test_a_lost_file_is_no_digest(tmp_path: Path) -> None:
    manifest = manifest_in(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.png"):
        manifest.digest()


def test_warnings_do_not_stop(tmp_path: Path) -> None:
    raise_for([Problem("warning", tmp_path, "odd", "look")], root=tmp_path)


def test_one_error_is_said_alone(tmp_path: Path) -> None:
    problem = Problem("error", tmp_path / "x.png", "is broken", "repair it")
    with pytest.raises(DatasetError) as caught:
        raise_for([problem, Problem("warning", tmp_path, "odd", "look")], root=tmp_path)
    assert str(caught.value) == f"{tmp_path / 'x.png'}: is broken; repair it"
