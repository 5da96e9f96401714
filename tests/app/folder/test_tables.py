"""The tables say what the rows say, the same in CSV and Parquet, and survive a spreadsheet."""

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from app.folder.inspection import Inspection
from app.folder.tables import Facts, write_coco, write_tables
from data.classes import ClassMap
from data.coco import coco_class_names, iterate_coco, read_coco_files
from data.images import encode_png
from data.masks import MaskError, encode_labels

NAMES = ["defects.csv", "defects.parquet", "inspections.csv", "inspections.parquet", "summary.json"]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, inspections: tuple[Inspection, ...], class_map: ClassMap, facts: Facts) -> Write:
    def write(
        *, folder: str = "out", mm_per_px: float | None = 0.1, rows: tuple[Inspection, ...] = inspections
    ) -> Path:
        out = tmp_path / folder
        out.mkdir(exist_ok=True)
        assert write_tables(out, rows, class_map=class_map, mm_per_px=mm_per_px, facts=facts) == ()
        return out

    return write


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))


def test_each_image_has_its_row(write: Write) -> None:
    rows = rows_of(write() / "inspections.csv")
    assert [row["image"] for row in rows] == ["a.jpg", "b.jpg", "c/ä.jpg", "d.jpg", "e.jpg"]
    assert rows[1] == {
        "image": "b.jpg",
        "verdict": "NG",
        "reasons": "2 crack up to 10 mm long, NG from 2 mm; dent 1.5 mm² large, NG from 1 mm²",
        "width_px": "320",
        "height_px": "160",
        "defects": "3",
        "defects_crack": "2",
        "defects_dent": "1",
        "defects_stain": "0",
        "largest_area_px": "300",
        "largest_area_mm2": "3.0",
        "mask": "masks/b.png",
        "overlay": "overlays/b.jpg",
        "sha256": "",
        "error": "",
    }
    assert (rows[0]["largest_area_px"], rows[0]["overlay"]) == ("", "")
    assert (rows[4]["verdict"], rows[4]["reasons"], rows[4]["error"]) == (
        "ERROR",
        "",
        "a JPEG that is cut off; copy it again",
    )


def test_each_defect_has_its_row(write: Write) -> None:
    rows = rows_of(write() / "defects.csv")
    assert [(row["image"], row["number"], row["class"]) for row in rows] == [
        ("b.jpg", "1", "crack"),
        ("b.jpg", "2", "dent"),
        ("b.jpg", "3", "crack"),
        ("d.jpg", "1", "crack"),
    ]
    assert list(rows[1].values())[3:] == [
        *("150", "1.5", "10", "20", "40", "60", "319.0", "159.0"),
        *("20.0", "2.0", "2.5", "0.25", "45.0", "0.75", "1.0", "True"),
    ]


def test_without_a_scale_the_mm_columns_are_empty(write: Write) -> None:
    out = write(mm_per_px=None)
    for name, columns in (
        ("inspections", ["largest_area_mm2"]),
        ("defects", ["area_mm2", "length_mm", "width_mm"]),
    ):
        for row in rows_of(out / f"{name}.csv"):
            assert [row[column] for column in columns] == [""] * len(columns)
        table = parquet.read_table(out / f"{name}.parquet")
        assert all(table[column].null_count == len(table) > 0 for column in columns)


@pytest.mark.parametrize("name", ["inspections", "defects"])
def test_parquet_holds_what_the_csv_holds(write: Write, name: str) -> None:
    out = write()
    cells = [
        {column: "" if cell is None else str(cell) for column, cell in row.items()}
        for row in parquet.read_table(out / f"{name}.parquet").to_pylist()
    ]
    assert cells == rows_of(out / f"{name}.csv")


def test_the_same_rows_give_the_same_bytes(write: Write) -> None:
    first, second = write(folder="one"), write(folder="two")
    assert sorted(path.name for path in first.iterdir()) == NAMES
    for name in NAMES:
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_a_file_name_never_becomes_a_formula(
    write: Write, inspections: tuple[Inspection, ...], start: str
) -> None:
    key = f'{start}HYPERLINK("x";"y").jpg'
    out = write(rows=(replace(inspections[1], key=key),))
    assert rows_of(out / "inspections.csv")[0]["image"] == f"'{key}"
    assert rows_of(out / "defects.csv")[2]["image"] == f"'{key}"
    assert parquet.read_table(out / "inspections.parquet")["image"].to_pylist() == [key]


def test_a_spreadsheet_is_told_that_it_is_utf_8(write: Write) -> None:
    out = write()
    for name in ("inspections.csv", "defects.csv"):
        assert (out / name).read_bytes().startswith(b"\xef\xbb\xbfimage,")


def test_line_breaks_and_commas_in_names_stay_in_their_cell(
    write: Write, inspections: tuple[Inspection, ...]
) -> None:
    out = write(rows=(replace(inspections[0], key='a\n",b.jpg'),))
    assert [row["image"] for row in rows_of(out / "inspections.csv")] == ['a\n",b.jpg']


def test_tables_without_rows_have_their_columns(write: Write) -> None:
    out = write(rows=())
    assert (out / "defects.csv").read_text(encoding="utf-8-sig").count("\n") == 1
    table = parquet.read_table(out / "defects.parquet")
    assert (len(table), table.column_names[:3]) == (0, ["image", "number", "class"])
    assert json.loads((out / "summary.json").read_bytes())["yield"] is None


def test_without_pyarrow_there_is_a_remark_and_no_old_parquet(
    write: Write,
    inspections: tuple[Inspection, ...],
    class_map: ClassMap,
    facts: Facts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = write()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (remark,) = write_tables(out, inspections, class_map=class_map, mm_per_px=None, facts=facts)
    assert "pyarrow" in remark
    assert sorted(path.name for path in out.iterdir()) == [name for name in NAMES if "parquet" not in name]


def test_the_summary_counts_and_says_what_with(write: Write) -> None:
    assert json.loads((write() / "summary.json").read_bytes()) == {
        "images": 5,
        "ok": 2,
        "ng": 1,
        "review": 1,
        "errors": 1,
        "yield": 0.5,
        "defects": {"crack": 3, "dent": 1, "stain": 0},
        "images_per_s": None,
        "model": {"name": "tiles", "version": "7", "sha256": "cd"},
        "recipe": {"name": "incoming", "sha256": "ef"},
        "provider": "CPUExecutionProvider",
        "started_at": "2026-03-04T12:30:00+00:00",
        "finished_at": "2026-03-04T12:45:00+00:00",
    }


def masks(size_hw: tuple[int, int] = (8, 12)) -> dict[str, NDArray[np.uint8]]:
    """A ring with a stain in its hole, regions at all four borders, one that fills all, and none."""
    ring = np.zeros(size_hw, np.uint8)
    ring[1:6, 2:7], ring[2:5, 3:6], ring[3, 4] = 1, 0, 3
    borders = np.zeros(size_hw, np.uint8)
    borders[:, 0], borders[0, 4:7], borders[-1, 3:9], borders[2:5, -1] = 1, 2, 1, 3
    return {
        "a.png": ring,
        "b.png": borders,
        "c/ä.png": np.full(size_hw, 2, np.uint8),
        "d.png": np.zeros(size_hw, np.uint8),
    }


def write_masks(out: Path, class_map: ClassMap) -> tuple[Inspection, ...]:
    """Masks below `out` and their rows, and an image that could not be read."""
    rows = []
    for key, labels in masks().items():
        path = out / "masks" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_labels(labels, class_map))
        height, width = labels.shape
        rows.append(Inspection(key, "OK", width_px=width, height_px=height, mask=f"masks/{key}"))
    return (*rows, Inspection("e.png", "ERROR", ("cut off",)))


def test_coco_comes_back_as_the_masks_it_was_made_from(tmp_path: Path, class_map: ClassMap) -> None:
    out, images = tmp_path / "out", tmp_path / "images"
    path = write_coco(out, write_masks(out, class_map), class_map=class_map)
    for key, labels in masks().items():
        (images / key).parent.mkdir(parents=True, exist_ok=True)
        (images / key).write_bytes(encode_png(np.zeros((*labels.shape, 3), np.uint8)))
    shutil.copy(path, images)
    files = read_coco_files(images)
    assert coco_class_names(files) == class_map.names
    read = list(iterate_coco(files, source=images, class_map=class_map))
    assert [one.name for one in read] == ["a", "b", "ä", "d"]
    for one, labels in zip(read, masks().values(), strict=True):
        np.testing.assert_array_equal(one.labels, labels)


def test_coco_tells_box_and_area_of_each_region(tmp_path: Path, class_map: ClassMap) -> None:
    rows = write_masks(tmp_path, class_map)
    content = json.loads(write_coco(tmp_path, rows[:1], class_map=class_map).read_bytes())
    assert [(one["category_id"], one["bbox"], one["area"]) for one in content["annotations"]] == [
        (1, [2, 1, 5, 5], 16),
        (3, [4, 3, 1, 1], 1),
    ]


def test_a_mask_with_an_unknown_id_is_named(tmp_path: Path, class_map: ClassMap) -> None:
    rows = write_masks(tmp_path, class_map)
    with pytest.raises(MaskError, match=r"a\.png: unknown ids 3"):
        write_coco(tmp_path, rows, class_map=ClassMap.from_names(("background", "crack", "dent")))
    assert not (tmp_path / "coco.json").exists()
