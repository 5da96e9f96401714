"""What judging a model on a split found, as values: scores, a row per image, and what charts are drawn of."""

import csv
import io
from typing import Any

from pydantic import BaseModel, ConfigDict

from training.metrics import ReliabilityBin


class ImageRow(BaseModel):
    """One image: what it is, what it was called, and how sure the model was.

    `margin` is how far, in log-odds, its surest region lies above the model's decision: NG at 0 and above,
    and null when nothing in it comes near. Regions are counted whatever their class is called
    (`training.region_metrics`); only `found_by_class` asks for the very class: for each that is in its truth, how
    many of how many true regions were found. `mean_defect_iou` is over those classes, null on an OK image.
    `pixels_by_class`: of each class in its truth or its prediction, how many pixels are right, true, and predicted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    group: str | None
    is_ng: bool
    called_ng: bool
    margin: float | None
    regions: int
    true_regions: int
    missed_regions: int
    false_regions: int
    found_by_class: dict[str, tuple[int, int]]
    mean_defect_iou: float | None
    pixels_by_class: dict[str, tuple[int, int, int]]

    @property
    def part(self) -> str:
        """What it shows: its group, or itself when nothing is known of others that show the same."""
        return self.group or self.name

    @property
    def verdict(self) -> str:
        """One word for the four ways it can go."""
        if self.is_ng:
            return "caught" if self.called_ng else "escape"
        return "overkill" if self.called_ng else "passed"


class Evaluation(BaseModel):
    """A model's results on one split; `scores` is what a model file and `metrics.json` keep of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str
    scores: dict[str, Any]
    rows: tuple[ImageRow, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Pixels by truth (rows) and prediction (columns)."""
    reliability: tuple[ReliabilityBin, ...]

    def rows_csv(self) -> str:
        """Every image's row as CSV, the verdict behind the name: to sort, filter and look up the missed."""
        text = io.StringIO()
        by_class = ("found_by_class", "pixels_by_class")
        fields = [name for name in ImageRow.model_fields if name not in ("name", *by_class)]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["name", "verdict", *fields, "found_by_class"])
        for row in self.rows:
            found = "; ".join(
                f"{name} {part} of {whole}" for name, (part, whole) in row.found_by_class.items()
            )
            writer.writerow([row.name, row.verdict, *(getattr(row, field) for field in fields), found])
        return text.getvalue()
