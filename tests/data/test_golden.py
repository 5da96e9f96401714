"""The golden set: frozen whole, opened only as it was frozen."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.classes import ClassMap
from data.golden import GoldenError, find_golden, freeze, has_golden, open_golden, read_seal
from data.images import encode_png
from data.layout import LabelledImage, write_layout
from data.manifest import DatasetError, Manifest
from data.pixels import read_pair
from data.sources import open_dataset

CLASSES = ClassMap.from_names(("background", "scratch"))


def image(name: str, *, split: str, seed: int, group: str | None = None) -> LabelledImage:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    labels = random.choice(np.array([0, 1, 255], np.uint8), (6, 8))
    return LabelledImage(name, split, encode_png(pixels), labels, "test", group)


@pytest.fixture
def parts(tmp_path: Path) -> Manifest:
    images = (
        image("a", split="train", seed=1),
        image("b", split="night", seed=2, group="plate1"),
        image("c", split="night", seed=3),
    )
    write_layout(images, class_map=CLASSES, destination=tmp_path / "parts")
    return open_dataset(tmp_path / "parts")


@pytest.fixture
def golden(parts: Manifest, tmp_path: Path) -> Path:
    freeze(parts, split="night", destination=tmp_path / "golden")
    return tmp_path / "golden"


def test_what_was_frozen_comes_back_as_the_test_split(parts: Manifest, golden: Path) -> None:
    manifest = open_golden(golden)
    assert [(s.name, s.split, s.group) for s in manifest.samples] == [
        ("b", "test", "plate1"),
        ("c", "test", None),
    ]
    assert manifest.class_map == CLASSES
    for before, after in zip(parts.split("night"), manifest.samples, strict=True):
        assert after.image.read_bytes() == before.image.read_bytes()
        _, labels = read_pair(before, class_map=CLASSES)
        assert np.array_equal(read_pair(after, class_map=CLASSES)[1], labels)


def test_the_seal_says_what_was_frozen_and_nobody_may_write(golden: Path) -> None:
    seal = read_seal(golden)
    assert seal.images == 2
    assert seal.digest == open_golden(golden).digest()
    assert sorted(seal.files) == [
        "classes.txt",
        "images/test/b.png",
        "images/test/c.png",
        "masks/test/b.png",
        "masks/test/c.png",
        "split.csv",
    ]
    assert all(path.stat().st_mode & 0o222 == 0 for path in golden.rglob("*.*"))


def test_a_golden_set_is_found_where_one_is_and_looked_at(golden: Path) -> None:
    assert find_golden(golden) == open_golden(golden)
    (golden / "one more.txt").touch()
    with pytest.raises(GoldenError, match=r"one more\.txt added"):
        find_golden(golden)


def test_an_empty_folder_takes_the_golden_set(parts: Manifest, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert freeze(parts, split="night", destination=tmp_path / "empty").images == 2
    assert has_golden(tmp_path / "empty")


@pytest.mark.parametrize("exists", [False, True], ids=["missing", "empty"])
def test_without_a_golden_set_the_way_to_one_is_told(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "golden"
    if exists:
        folder.mkdir()
    assert not has_golden(folder)
    assert find_golden(folder) is None
    with pytest.raises(
        GoldenError, match=r"holds no golden set, .*; `segnet init DIR --data DATA` freezes the test split"
    ):
        open_golden(folder)


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        pytest.param(
            lambda root: overwrite(root / "masks/test/b.png", (root / "masks/test/c.png").read_bytes()),
            r"is not what was frozen on \d{4}-\d\d-\d\d: masks/test/b.png changed; take it from a backup",
            id="another-mask",
        ),
        pytest.param(
            lambda root: overwrite(root / "split.csv", b"name,split,group\nc,test,plate1\n"),
            "split.csv changed",
            id="another-group",
        ),
        pytest.param(
            lambda root: overwrite(root / "classes.txt", b"0 background\n1 pit\n"),
            "classes.txt changed",
            id="another-class",
        ),
        pytest.param(
            lambda root: [(root / kind / "test/b.png").unlink() for kind in ("images", "masks")],
            "images/test/b.png, masks/test/b.png missing",
            id="an-image-less",
        ),
        pytest.param(
            lambda root: (root / "images/test/b.png").rename(root / "images/test/d.png"),
            "images/test/b.png missing, images/test/d.png added",
            id="renamed",
        ),
        pytest.param(
            lambda root: [(root / f"{number}.txt").touch() for number in range(5)],
            r"0.txt, 1.txt, 2.txt and 2 more added",
            id="many-files-more",
        ),
        pytest.param(
            lambda root: (root / "seal.json").unlink(),
            r"has no seal.json, so it is no golden set; name a folder that `segnet init` froze",
            id="no-seal",
        ),
        pytest.param(
            lambda root: overwrite(root / "seal.json", b"{}"), r"seal.json: damaged \(", id="damaged-seal"
        ),
        pytest.param(
            lambda root: overwrite(
                root / "seal.json", (root / "seal.json").read_bytes().replace(b'"digest": "', b'"digest": "0')
            ),
            "seal.json does not belong to the images beside it",
            id="another-seal",
        ),
    ],
)
def test_what_was_changed_by_hand_is_refused_by_name(
    golden: Path, harm: Callable[[Path], object], message: str
) -> None:
    harm(golden)
    with pytest.raises(GoldenError, match=message):
        open_golden(golden)


def test_what_a_file_manager_leaves_is_no_change(golden: Path) -> None:
    (golden / "images/test/Thumbs.db").touch()
    (golden / ".DS_Store").touch()
    assert len(open_golden(golden).samples) == 2


def test_a_golden_set_is_never_replaced(parts: Manifest, golden: Path) -> None:
    with pytest.raises(GoldenError, match="is not empty, and a golden set stays what it is"):
        freeze(parts, split="train", destination=golden)
    assert len(open_golden(golden).samples) == 2


def test_what_cannot_be_frozen_leaves_nothing_behind(parts: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no image in the split 'test'; it holds train, night"):
        freeze(parts, split="test", destination=tmp_path / "golden")
    parts.split("night")[1].mask.write_bytes(b"no mask")
    with pytest.raises(DatasetError, match=r"c\.png"):
        freeze(parts, split="night", destination=tmp_path / "golden")
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]
