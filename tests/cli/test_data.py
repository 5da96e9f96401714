"""`segnet data`: what it prints, what it writes, and when its exit code says stop."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cli.data import app
from data.classes import ClassMap
from data.images import encode_png, read_image
from data.layout import LabelledImage, write_layout
from data.sources import open_dataset

CLASSES = ClassMap.from_names(("background", "scratch"))


def picture(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (24, 32, 3)).astype(np.uint8))


def labels(rows: int = 2) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    mask = np.zeros((24, 32), np.uint8)
    mask[:rows, :8] = 1
    return mask


def write_set(root: Path, *, splits: tuple[str | None, ...] = ("train", "val", "test")) -> Path:
    images = [
        LabelledImage(f"plate{number}_{side}", split, picture(2 * number + (side == "b")), labels(), "test")
        for number, split in enumerate(splits)
        for side in "ab"
    ]
    write_layout(images, class_map=CLASSES, destination=root / "parts")
    return root / "parts"


def segnet_data(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_check_prints_the_table_and_draws_the_sheet(tmp_path: Path) -> None:
    root, sheet = write_set(tmp_path), tmp_path / "deep" / "sheet.png"
    result = segnet_data("check", root, "--sheet", sheet)
    assert result.exit_code == 0
    assert "fit for training: 0 errors, 0 warnings" in result.output
    # 16 of 24 x 32 px, in both images.
    assert "1 scratch" in result.output
    assert "2.08 % (2)" in result.output
    assert "32 x 24" in result.output
    assert read_image(sheet).shape[2] == 3


def test_the_sheet_lies_in_the_current_folder_unless_unwanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_set(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    segnet_data("check", root, "--no-sheet")
    assert not list(Path().iterdir())
    segnet_data("check", root)
    assert [path.name for path in Path().iterdir()] == ["parts-contact-sheet.png"]


def test_check_ends_with_1_on_errors_and_0_on_warnings(tmp_path: Path) -> None:
    root = write_set(tmp_path, splits=("train", "val"))
    result = segnet_data("check", root, "--no-sheet")
    assert result.exit_code == 0
    assert "fit for training: 0 errors, 1 warning" in result.output
    (root / "masks/train/plate0_a.png").unlink()
    result = segnet_data("check", root, "--no-sheet")
    assert result.exit_code == 1
    assert "plate0_a.png: has no mask" in result.output
    assert "not fit for training: 1 error, 1 warning" in result.output


def test_many_problems_of_a_kind_are_counted_unless_all_are_wanted(tmp_path: Path) -> None:
    root = write_set(tmp_path, splits=("train",) * 4 + ("val",))
    for mask in (root / "masks/train").iterdir():
        mask.write_bytes(b"no mask")
    short = segnet_data("check", root, "--no-sheet").output
    assert short.count("is no readable index mask") == 5
    assert "and 3 more of this kind (--all lists them)" in short
    assert segnet_data("check", root, "--no-sheet", "--all").output.count("is no readable index mask") == 8


def test_brackets_in_names_are_printed_as_they_are(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    (root / "images/train/part[red].jpg").touch()
    assert "part[red].jpg: has no mask" in segnet_data("check", root, "--no-sheet").output


def test_import_says_what_came_and_what_is_next(tmp_path: Path) -> None:
    source = tmp_path / "export"
    source.mkdir()
    (source / "a.png").write_bytes(picture(1))
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 32, "height": 24}],
        "categories": [{"id": 1, "name": "scratch"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 8, 0, 8, 2, 0, 2]]}
        ],
    }
    (source / "labels.json").write_text(json.dumps(content))
    result = segnet_data("import", source, tmp_path / "out", "--format", "coco")
    assert result.exit_code == 0
    assert "1 image; classes background, scratch" in result.output
    assert f"next: segnet data split {tmp_path / 'out'}" in result.output
    result = segnet_data("import", source, tmp_path / "out2", "--format", "coco", "--split", "train")
    assert f"next: segnet data check {tmp_path / 'out2'}" in result.output
    assert len(open_dataset(tmp_path / "out2").split("train")) == 1


def test_split_deals_by_part_and_what_was_dealt_passes_the_check(tmp_path: Path) -> None:
    root = write_set(tmp_path, splits=(None,) * 10)
    result = segnet_data("split", root, "--group-pattern", r"(plate\d+)")
    assert result.exit_code == 0
    assert "14 train, 2 val, 4 test" in result.output
    assert segnet_data("check", root, "--no-sheet").exit_code == 0


def test_split_without_groups_says_that_there_are_none(tmp_path: Path) -> None:
    root = write_set(tmp_path, splits=(None,) * 5)
    assert "no groups: if parts were photographed twice" in segnet_data("split", root).output
    result = segnet_data("split", root, "--overwrite", "--fractions", "0.5,0.5,0")
    assert "5 train, 5 val" in result.output
    assert "groups are those of the former split.csv" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--fractions", "0.5,0.5"], "expected three numbers", id="two-shares"),
        pytest.param(["--fractions", "a,b,c"], "expected three numbers", id="no-numbers"),
        pytest.param(["--group-pattern", "(.)", "--group-table", "x.csv"], "give one of them", id="both"),
    ],
)
def test_split_refuses_what_cannot_be_meant(tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segnet_data("split", write_set(tmp_path, splits=(None,) * 5), *options)


def test_real_data_are_fit_for_training(magnetic_tile: Path, tmp_path: Path) -> None:
    result = segnet_data("check", magnetic_tile, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0
    assert "fit for training: 0 errors" in result.output
    # The published split is said to keep tiles whole; the doctor found one on both sides.
    assert "looks like Crack_exp3_num_86892.jpg in train" in result.output
