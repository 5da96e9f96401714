"""Dealing images to splits: whole groups, rare classes on every side, the same each time."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.classes import ClassMap
from data.images import encode_png
from data.layout import LabelledImage, write_layout
from data.manifest import DatasetError
from data.sources import open_dataset
from data.splits import assign_splits, groups_from_column, groups_from_pattern, split_folder
from data.tables import read_rows, read_split_table

CLASSES = ClassMap.from_names(("background", "scratch"))


def own_groups(count: int) -> dict[str, str]:
    return {f"image{number:03}": f"image{number:03}" for number in range(count)}


def test_shares_are_met_where_groups_are_single_images() -> None:
    dealt = assign_splits(own_groups(100))
    assert Counter(dealt.values()) == {"train": 70, "val": 10, "test": 20}


@given(
    groups=st.dictionaries(st.text("abc", min_size=1, max_size=4), st.sampled_from("uvwxyz"), min_size=8),
    seed=st.integers(0, 9),
)
def test_no_group_ever_stands_on_two_sides(groups: dict[str, str], seed: int) -> None:
    if len(set(groups.values())) < 3:
        return
    dealt = assign_splits(groups, seed=seed)
    assert dealt.keys() == groups.keys()
    assert set(dealt.values()) == {"train", "val", "test"}
    sides: dict[str, set[str]] = {}
    for name, split in dealt.items():
        sides.setdefault(groups[name], set()).add(split)
    assert all(len(splits) == 1 for splits in sides.values())


def test_the_deal_depends_on_content_and_seed_alone() -> None:
    groups = own_groups(40)
    backwards = dict(reversed(groups.items()))
    assert assign_splits(groups) == assign_splits(backwards)
    assert assign_splits(groups) != assign_splits(groups, seed=1)


def test_a_rare_class_reaches_every_split() -> None:
    classes = {f"image{number:03}": [1] for number in (3, 50, 77)}
    dealt = assign_splits(own_groups(100), classes=classes)
    assert {dealt[name] for name in classes} == {"train", "val", "test"}


def test_a_class_in_one_group_goes_to_train() -> None:
    for seed in range(5):
        assert assign_splits(own_groups(30), classes={"image007": [2]}, seed=seed)["image007"] == "train"


@pytest.mark.parametrize(
    ("count", "fractions", "message"),
    [
        pytest.param(9, {"train": 0.5, "val": 0.2}, "their sum 1", id="sum"),
        pytest.param(9, {"train": 1.2, "val": -0.2}, "each above 0", id="negative"),
        pytest.param(2, {"train": 0.7, "val": 0.1, "test": 0.2}, "cannot fill 3 splits", id="too-few"),
        pytest.param(0, {"train": 1.0}, "cannot fill 1 splits", id="nothing"),
    ],
)
def test_what_cannot_be_dealt_is_an_error(count: int, fractions: dict[str, float], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        assign_splits(own_groups(count), fractions=fractions)


@pytest.mark.parametrize(
    "pattern",
    [pytest.param(r"(plate\d+)_", id="first"), pytest.param(r"(x)?(?P<group>plate\d+)", id="named")],
)
def test_a_pattern_finds_the_part_in_the_name(pattern: str) -> None:
    names = ["plate1_left", "plate1_right", "plate22_left"]
    assert list(groups_from_pattern(names, pattern=pattern).values()) == ["plate1", "plate1", "plate22"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        pytest.param("(", "no regular expression", id="invalid"),
        pytest.param(r"plate\d+", "holds no group", id="no-brackets"),
        pytest.param(r"(sheet\d+)", "finds no group in the name 'plate1'", id="no-match"),
    ],
)
def test_a_pattern_that_does_not_help_is_an_error(pattern: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        groups_from_pattern(["plate1"], pattern=pattern)


def test_a_column_names_the_part(tmp_path: Path) -> None:
    table = tmp_path / "parts.csv"
    table.write_text("name,Serial\na.jpg,P1\nb,P1\n")
    assert groups_from_column(["a", "b"], table=table, column="serial") == {"a": "P1", "b": "P1"}
    with pytest.raises(DatasetError, match=r"no serial for 1 images, the first 'c'"):
        groups_from_column(["a", "c"], table=table, column="serial")
    with pytest.raises(DatasetError, match="no column 'batch'; it has name, serial"):
        groups_from_column(["a"], table=table, column="batch")


@pytest.fixture
def flat_folder(tmp_path: Path) -> Path:
    """Twelve photographs of six plates; three plates have a scratch."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    clean = np.zeros((8, 8), np.uint8)
    scratched = clean.copy()
    scratched[2, 2:6] = 1
    images = [
        LabelledImage(
            f"plate{plate}_{side}", None, encode_png(pixels), scratched if plate < 3 else clean, "test"
        )
        for plate in range(6)
        for side in "ab"
    ]
    write_layout(images, class_map=CLASSES, destination=tmp_path / "flat")
    return tmp_path / "flat"


def test_equal_shares_of_any_name_make_folds() -> None:
    classes = {f"image{at:03}": [1] for at in range(8)}
    dealt = assign_splits(own_groups(40), fractions=dict.fromkeys("abcd", 0.25), classes=classes)
    assert Counter(dealt.values()) == dict.fromkeys("abcd", 10)
    assert Counter(dealt[name] for name in classes) == dict.fromkeys("abcd", 2)


def test_a_folder_is_not_split_without_anything_to_train_on(flat_folder: Path) -> None:
    with pytest.raises(DatasetError, match="no share for train"):
        split_folder(flat_folder, fractions={"val": 1.0})


def test_a_flat_folder_is_split_by_part_and_opens(flat_folder: Path) -> None:
    dealt = split_folder(flat_folder, group_pattern=r"(plate\d)")
    manifest = open_dataset(flat_folder)
    assert {sample.name: sample.split for sample in manifest.samples} == dealt
    assert {sample.group for sample in manifest.samples} == {f"plate{number}" for number in range(6)}
    assert all(dealt[f"plate{number}_a"] == dealt[f"plate{number}_b"] for number in range(6))
    assert {dealt[f"plate{number}_a"] for number in range(3)} == {"train", "val", "test"}


def test_a_table_is_not_overwritten_unasked(flat_folder: Path) -> None:
    split_folder(flat_folder)
    before = (flat_folder / "split.csv").read_bytes()
    with pytest.raises(DatasetError, match="--overwrite"):
        split_folder(flat_folder, seed=5)
    assert (flat_folder / "split.csv").read_bytes() == before
    split_folder(flat_folder, seed=5, overwrite=True)
    assert (flat_folder / "split.csv").read_bytes() != before


def test_dealing_anew_keeps_the_groups_of_the_table(flat_folder: Path) -> None:
    split_folder(flat_folder, group_pattern=r"(plate\d)")
    split_folder(flat_folder, seed=3, overwrite=True)
    rows, _ = read_split_table(flat_folder / "split.csv", needs_split=True)
    assert rows is not None
    assert rows["plate4_a"].group == "plate4"
    assert rows["plate4_a"].split == rows["plate4_b"].split


def test_dealing_anew_keeps_columns_that_are_not_ours(flat_folder: Path) -> None:
    table = flat_folder / "split.csv"
    split_folder(flat_folder)
    lines = table.read_text(encoding="utf-8").splitlines()
    lines = [f"{line},{'camera' if at == 0 else f'c{at}'}" for at, line in enumerate(lines)]
    table.write_text("\n".join(lines[:-1]), encoding="utf-8")  # the last image has no row
    split_folder(flat_folder, group_pattern=r"(plate\d)", overwrite=True)
    rows = read_rows(table)
    assert list(rows[0]) == ["name", "split", "group", "camera"]
    assert [row["camera"] for row in rows] == [*(f"c{at}" for at in range(1, 12)), ""]


def test_split_folders_are_not_split_again(flat_folder: Path) -> None:
    for kind in ("images", "masks"):
        files = list((flat_folder / kind).iterdir())
        (flat_folder / kind / "train").mkdir()
        for file in files:
            file.rename(flat_folder / kind / "train" / file.name)
    with pytest.raises(DatasetError, match="has a folder per split already"):
        split_folder(flat_folder)


def test_a_broken_mask_stops_the_split_and_is_named(flat_folder: Path) -> None:
    (flat_folder / "masks" / "plate0_a.png").write_bytes(b"no png")
    with pytest.raises(DatasetError, match=r"plate0_a\.png"):
        split_folder(flat_folder)
    assert not (flat_folder / "split.csv").exists()
