"""`segnet inspect` from outside: what it writes, what it says, and with which exit code."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from app.folder.journal import JournalError
from app.folder.run import StrictError
from app.folder.sources import SourceError
from cli import inspect
from data.images import encode_png
from model.recipe import RecipeError
from model.store import ModelStore


@pytest.fixture
def model(repository: Path) -> Path:
    """Red pixels are scratches, blue ones pits."""
    return repository / "tests" / "promises" / "format_1.onnx"


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """One sound part, and one in a folder below with two scratches of 96 px."""
    write_part(tmp_path / "parts" / "sound.png")
    write_part(tmp_path / "parts" / "line 2" / "scratched.png", squares=2)
    return tmp_path / "parts"


def write_part(path: Path, *, squares: int = 0) -> None:
    image = np.full((60, 80, 3), 128, np.uint8)
    for number in range(squares):
        image[20:30, 5 + 20 * number : 15 + 20 * number] = (255, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(image))


def segnet_inspect(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(inspect.command)
    given = [*map(str, arguments), "--device", "cpu"]
    return CliRunner().invoke(app, given, catch_exceptions=False)


def rows(out: Path, table: str = "inspections") -> list[dict[str, str]]:
    return list(csv.DictReader((out / f"{table}.csv").read_text(encoding="utf-8-sig").splitlines()))


def test_a_folder_becomes_masks_tables_and_a_report(model: Path, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = segnet_inspect(parts, "--model", model, "--out", out, "--coco", "--mm-per-px", 0.5)
    assert result.exit_code == 0
    assert "in all: 1 NG, 1 OK" in result.stdout
    assert [(row["image"], row["verdict"]) for row in rows(out)] == [
        ("line 2/scratched.png", "NG"),
        ("sound.png", "OK"),
    ]
    defects = rows(out, "defects")
    assert [(row["class"], row["area_px"], row["area_mm2"]) for row in defects] == [
        ("scratch", "96", "24.0")
    ] * 2
    written = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert {str(path) for path in written if path.parts[0] != ".segnet"} == {
        "masks/sound.png", "masks/line 2/scratched.png", "overlays/sound.jpg", "overlays/line 2/scratched.jpg",
        "thumbnails/line 2/scratched.jpg", "inspections.csv", "defects.csv", "inspections.parquet", "defects.parquet",
        "summary.json", "report.html", "coco.json",
    }  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["images"], summary["yield"], summary["defects"]["scratch"]) == (2, 0.5, 2)


def test_a_version_of_a_store_inspects(model: Path, parts: Path, tmp_path: Path) -> None:
    ModelStore(tmp_path / "store").add(model, by="a test")
    out = tmp_path / "out"
    segnet_inspect(parts, "--model", "store://v1", "--store", tmp_path / "store", "--out", out)
    assert [row["verdict"] for row in rows(out)] == ["NG", "OK"]


def test_a_recipe_decides(model: Path, parts: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "lenient"\n[default]\nng_count = 3\n')
    segnet_inspect(parts, "--model", model, "--out", tmp_path / "out", "--recipe", recipe)
    assert [row["verdict"] for row in rows(tmp_path / "out")] == ["OK", "OK"]


def test_a_recipe_that_contradicts_itself_is_refused_before_anything_is_written(
    model: Path, parts: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "odd"\n[default]\nignore_below_area_px = 50\nng_area_px = 10\n')
    with pytest.raises(RecipeError, match="50"):
        segnet_inspect(parts, "--model", model, "--out", tmp_path / "out", "--recipe", recipe)
    assert not (tmp_path / "out").exists()


def test_only_what_is_new_or_changed_is_inspected(model: Path, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segnet_inspect(parts, "--model", model, "--out", out)
    write_part(parts / "new.png", squares=1)
    write_part(parts / "sound.png", squares=3)
    result = segnet_inspect(parts, "--model", model, "--out", out)
    assert "2 images in" in result.stdout
    assert [(row["image"], row["verdict"], row["defects"]) for row in rows(out)] == [
        ("line 2/scratched.png", "NG", "2"),
        ("new.png", "NG", "1"),
        ("sound.png", "NG", "3"),
    ]


def test_an_image_that_cannot_be_judged_is_a_row_and_exit_code_3(
    model: Path, parts: Path, tmp_path: Path
) -> None:
    (parts / "damaged.png").write_bytes(b"")
    out = tmp_path / "out"
    result = segnet_inspect(parts, "--model", model, "--out", out)
    assert result.exit_code == 3
    assert "1 images; see inspections.csv" in result.stderr
    assert [(row["verdict"], "empty file" in row["error"]) for row in rows(out)] == [
        ("ERROR", True), ("NG", False), ("OK", False),
    ]  # fmt: skip


def test_strict_stops_there_and_the_image_is_tried_again(model: Path, parts: Path, tmp_path: Path) -> None:
    (parts / "damaged.png").write_bytes(b"")
    out = tmp_path / "out"
    with pytest.raises(StrictError, match=r"damaged\.png: an empty file"):
        segnet_inspect(parts, "--model", model, "--out", out, "--strict")
    write_part(parts / "damaged.png")
    assert segnet_inspect(parts, "--model", model, "--out", out, "--strict").exit_code == 0
    assert [row["verdict"] for row in rows(out)] == ["OK", "NG", "OK"]


def test_another_recipe_needs_another_folder_or_a_restart(model: Path, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segnet_inspect(parts, "--model", model, "--out", out)
    with pytest.raises(JournalError, match="another recipe"):
        segnet_inspect(parts, "--model", model, "--out", out, "--mm-per-px", 0.1)
    segnet_inspect(parts, "--model", model, "--out", out, "--mm-per-px", 0.1, "--restart")
    assert rows(out, "defects")[0]["area_mm2"] == "0.96"


def test_the_output_may_lie_in_the_inspected_folder(model: Path, parts: Path) -> None:
    for _ in range(2):
        segnet_inspect(parts, "--model", model, "--out", parts / "out")
    assert len(rows(parts / "out")) == 2


@pytest.mark.parametrize("source", ["nowhere", "parts/empty"])
def test_nothing_to_inspect_is_said(model: Path, parts: Path, tmp_path: Path, source: str) -> None:
    (parts / "empty").mkdir()
    with pytest.raises(SourceError, match=r"no such folder|no image"):
        segnet_inspect(tmp_path / source, "--model", model, "--out", tmp_path / "out")
