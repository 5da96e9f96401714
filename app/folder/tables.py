"""The tables of an inspection, made anew from all its rows: CSV, Parquet, the summary, COCO.

The same rows give the same bytes, and no table is ever held whole.
"""

import codecs
import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from app.folder.columns import Cell, Column, Row, cells, defect_columns, found_defects, image_columns
from app.folder.inspection import Inspection
from app.folder.tally import Tally, take_tally
from data.classes import ClassMap
from data.files import open_atomically, write_atomically
from data.masks import Rle, read_labels, to_rle
from data.regions import Region, find_regions
from data.run_lengths import pack_runs, unpack_runs

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
_ROWS_PER_BATCH: Final = 10_000
_NO_PYARROW: Final = "no Parquet tables: they need pyarrow; install the extra `tables`, or use the CSV files"


@dataclass(frozen=True, slots=True)
class Facts:
    """What an inspection was made with, and when; digests are sha256 in hex, `images_per_s` None if unknown."""

    model_name: str
    model_version: str | None
    model_sha256: str
    recipe_name: str
    recipe_sha256: str
    provider: str
    started_at: datetime
    finished_at: datetime
    images_per_s: float | None


def write_tables(
    out: Path,
    inspections: Iterable[Inspection],
    *,
    class_map: ClassMap,
    mm_per_px: float | None,
    facts: Facts,
) -> tuple[str, ...]:
    """Write inspections and defects as .csv and .parquet, and summary.json; returns remarks for people.

    Args:
        out: the output folder; it must be there.
        inspections: in the order of their keys; gone through several times.
        mm_per_px: None leaves the mm columns empty.

    Raises:
        OSError: a file cannot be written; what stood there before stays.
    """
    images, defects = image_columns(class_map, mm_per_px), defect_columns(class_map, mm_per_px)
    _write_csv(out / "inspections.csv", columns=images, rows=inspections)
    _write_csv(out / "defects.csv", columns=defects, rows=found_defects(inspections))
    has_parquet = _write_parquet(out / "inspections.parquet", columns=images, rows=inspections)
    _write_parquet(out / "defects.parquet", columns=defects, rows=found_defects(inspections))
    summary = _summary(take_tally(inspections, class_map=class_map), class_map=class_map, facts=facts)
    write_atomically(out / "summary.json", (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())
    return () if has_parquet else (_NO_PYARROW,)


def write_coco(out: Path, inspections: Iterable[Inspection], *, class_map: ClassMap) -> Path:
    """Write OUT/coco.json: each connected region of the masks, as run lengths; `data.coco` reads it back.

    File names are the keys, so beside the inspected images it can be imported. Images without a mask are left
    out: COCO lists the images that were looked at.

    Raises:
        OSError: a mask is gone, or the file cannot be written.
        MaskError: a mask is none, or has ids beyond the class map.
    """
    path = out / "coco.json"
    categories = [{"id": class_id, "name": class_map.names[class_id]} for class_id in class_map.defect_ids]
    with open_atomically(path) as file:
        file.write(b'{"categories": %s,\n"images": [' % json.dumps(categories).encode())
        _write_items(file, _coco_images(inspections))
        file.write(b'],\n"annotations": [')
        _write_items(file, _coco_annotations(out, inspections, class_map=class_map))
        file.write(b"]}\n")
    return path


def _write_csv(path: Path, *, columns: Sequence[Column[Row]], rows: Iterable[Row]) -> None:
    # Excel takes a file without the mark for one in the system's code page, and breaks names beyond ASCII.
    with open_atomically(path) as file:
        writer = csv.writer(codecs.getwriter("utf-8-sig")(file), lineterminator="\n")
        writer.writerow(column.name for column in columns)
        writer.writerows([_csv_cell(cell) for cell in cells(row, columns)] for row in rows)


def _csv_cell(value: Cell) -> Cell:
    """A text that a spreadsheet would run as a formula gets an apostrophe: file names come from anywhere."""
    is_formula = isinstance(value, str) and value.startswith(_FORMULA_STARTS)
    return f"'{value}" if is_formula else value


def _write_parquet(path: Path, *, columns: Sequence[Column[Row]], rows: Iterable[Row]) -> bool:
    """Whether pyarrow is there; without it no older table is left beside newer CSV files."""
    try:
        import pyarrow as arrow
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        path.unlink(missing_ok=True)
        return False
    kinds = {str: arrow.string(), bool: arrow.bool_(), int: arrow.int64(), float: arrow.float64()}
    schema = arrow.schema([(column.name, kinds[column.kind]) for column in columns])
    left = iter(rows)
    with open_atomically(path) as file, ParquetWriter(file, schema) as writer:
        while batch := [tuple(cells(row, columns)) for row in islice(left, _ROWS_PER_BATCH)]:
            arrays = map(arrow.array, zip(*batch, strict=True), schema.types)
            writer.write_batch(arrow.record_batch(list(arrays), schema=schema))
    return True


def _summary(tally: Tally, *, class_map: ClassMap, facts: Facts) -> dict[str, Any]:
    return {
        "images": tally.images,
        "ok": tally.verdicts["OK"],
        "ng": tally.verdicts["NG"],
        "review": tally.verdicts["REVIEW"],
        "errors": tally.verdicts["ERROR"],
        "yield": tally.yield_share,
        "defects": {class_map.names[class_id]: count for class_id, count in tally.defects.items()},
        "images_per_s": facts.images_per_s,
        "model": {
            "name": facts.model_name,
            "version": facts.model_version,
            "sha256": facts.model_sha256,
        },
        "recipe": {"name": facts.recipe_name, "sha256": facts.recipe_sha256},
        "provider": facts.provider,
        "started_at": facts.started_at.isoformat(),
        "finished_at": facts.finished_at.isoformat(),
    }


def _write_items(file: BinaryIO, items: Iterable[dict[str, Any]]) -> None:
    for number, item in enumerate(items):
        file.write(b",\n" if number else b"\n")
        file.write(json.dumps(item).encode())


def _coco_images(inspections: Iterable[Inspection]) -> Iterator[dict[str, Any]]:
    for image_id, one in enumerate(inspections):
        if one.mask is not None:
            yield {"id": image_id, "file_name": one.key, "width": one.width_px, "height": one.height_px}


def _coco_annotations(
    out: Path, inspections: Iterable[Inspection], *, class_map: ClassMap
) -> Iterator[dict[str, Any]]:
    number = count()
    for image_id, one in enumerate(inspections):
        if one.mask is None:
            continue
        labels = read_labels(out / one.mask, class_count=len(class_map))
        for region in find_regions(labels, class_ids=class_map.defect_ids):
            left, top, right, bottom = region.box_xyxy
            yield {
                "id": next(number),
                "image_id": image_id,
                "category_id": region.class_id,
                "bbox": [left, top, right - left, bottom - top],
                "area": region.area_px,
                "segmentation": _run_lengths(region, size_hw=(labels.shape[0], labels.shape[1])),
                "iscrowd": 0,
            }


def _run_lengths(region: Region, *, size_hw: tuple[int, int]) -> Rle:
    """The region in its whole image; only the columns it lies in are ever drawn, for large images have many."""
    height, width = size_hw
    left, top, right, bottom = region.box_xyxy
    columns = np.zeros((height, right - left), np.bool_)
    columns[top:bottom] = region.mask
    runs = unpack_runs(to_rle(columns)["counts"].encode())
    runs[0] += left * height
    # Runs of zeros and ones take turns, beginning with zeros.
    if len(runs) % 2 == 0:
        runs.append(0)
    runs[-1] += (width - right) * height
    return Rle(size=[height, width], counts=pack_runs(runs))
