"""What stands in the tables of an inspection: the columns of the images and of the defects, in their order."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.folder.inspection import Inspection
from data.classes import ClassMap
from data.defects import Defect, in_mm

Row = TypeVar("Row")
Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column: its name with the unit, the kind of its cells, its value in a row; None is an empty cell."""

    name: str
    kind: type[str] | type[bool] | type[int] | type[float]
    value: Callable[[Row], Cell]


@dataclass(frozen=True, slots=True)
class Found:
    """A row of the defects: the image it lies on and its number there, from 1, largest first."""

    image: str
    number: int
    defect: Defect


def image_columns(class_map: ClassMap, mm_per_px: float | None) -> list[Column[Inspection]]:
    """A row per image; `mm_per_px` None leaves the mm columns empty."""

    def count(class_id: int) -> Callable[[Inspection], int]:
        return lambda one: sum(defect.class_id == class_id for defect in one.defects)

    def largest_px(one: Inspection) -> int | None:
        return max((defect.area_px for defect in one.defects), default=None)

    return [
        Column("image", str, lambda one: one.key),
        Column("verdict", str, lambda one: one.verdict),
        Column("reasons", str, lambda one: "" if one.verdict == "ERROR" else "; ".join(one.reasons)),
        Column("width_px", int, lambda one: one.width_px),
        Column("height_px", int, lambda one: one.height_px),
        Column("defects", int, lambda one: len(one.defects)),
        *(
            Column(f"defects_{class_map.names[class_id]}", int, count(class_id))
            for class_id in class_map.defect_ids
        ),
        Column("largest_area_px", int, largest_px),
        Column("largest_area_mm2", float, lambda one: in_mm(largest_px(one), mm_per_px, power=2)),
        Column("mask", str, lambda one: one.mask),
        Column("overlay", str, lambda one: one.overlay),
        Column("sha256", str, lambda one: one.sha256),
        Column("error", str, lambda one: "; ".join(one.reasons) if one.verdict == "ERROR" else ""),
    ]


def defect_columns(class_map: ClassMap, mm_per_px: float | None) -> list[Column[Found]]:
    """A row per defect, likewise."""
    return [
        Column("image", str, lambda row: row.image),
        Column("number", int, lambda row: row.number),
        Column("class", str, lambda row: class_map.names[row.defect.class_id]),
        Column("area_px", int, lambda row: row.defect.area_px),
        Column("area_mm2", float, lambda row: in_mm(row.defect.area_px, mm_per_px, power=2)),
        Column("left_px", int, lambda row: row.defect.box_xyxy[0]),
        Column("top_px", int, lambda row: row.defect.box_xyxy[1]),
        Column("right_px", int, lambda row: row.defect.box_xyxy[2]),
        Column("bottom_px", int, lambda row: row.defect.box_xyxy[3]),
        Column("centroid_x_px", float, lambda row: row.defect.centroid_xy[0]),
        Column("centroid_y_px", float, lambda row: row.defect.centroid_xy[1]),
        Column("length_px", float, lambda row: row.defect.length_px),
        Column("length_mm", float, lambda row: in_mm(row.defect.length_px, mm_per_px)),
        Column("width_px", float, lambda row: row.defect.width_px),
        Column("width_mm", float, lambda row: in_mm(row.defect.width_px, mm_per_px)),
        Column("orientation_deg", float, lambda row: row.defect.orientation_deg),
        Column("mean_confidence", float, lambda row: row.defect.mean_confidence),
        Column("peak_confidence", float, lambda row: row.defect.peak_confidence),
        Column("touches_border", bool, lambda row: row.defect.touches_border),
    ]


def found_defects(inspections: Iterable[Inspection]) -> Iterator[Found]:
    """The rows for `defect_columns`."""
    for one in inspections:
        for number, defect in enumerate(one.defects, start=1):
            yield Found(one.key, number, defect)


def cells(row: Row, columns: Sequence[Column[Row]]) -> Iterator[Cell]:
    """Six digits of a fraction: more than was measured, and the same in every table."""
    for column in columns:
        value = column.value(row)
        yield float(f"{value:.6g}") if isinstance(value, float) else value
