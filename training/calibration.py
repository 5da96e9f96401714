"""What calibration found, as values that can be stored beside a model and drawn in its report."""

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from model.contract import Decision

#: Stands beside a model whose decision was calibrated.
CALIBRATION_FILE: Final = "calibration.json"


class OperatingPoint(BaseModel):
    """What one threshold costs on the calibration split; rates are null where the split has no such image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float
    """Log-odds a pixel must exceed to be a defect."""
    min_area_px: int
    escape_rate: float | None
    overkill_rate: float | None
    mean_defect_iou: float | None


class ImageScore(BaseModel):
    """The highest threshold (log-odds) at which an image is still NG; null when it is OK at every one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    is_ng: bool
    score: float | None


class Calibration(BaseModel):
    """The decision, and everything a person needs to see why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision: Decision
    split: str
    max_escape_rate: float
    target_met: bool
    """Whether the threshold was set by the target; else by the best masks (see `notes`)."""
    ng_images: int
    ok_images: int
    chosen: OperatingPoint
    before: OperatingPoint
    """Plain argmax, every region counting."""
    best_mean_defect_iou: float | None
    """The best any threshold reaches: what the target costs in masks is the difference to `chosen`."""
    curve: tuple[OperatingPoint, ...]
    """Every threshold at the chosen smallest area, ascending."""
    images: tuple[ImageScore, ...]
    notes: tuple[str, ...]


def read_calibration(path: Path, *, decision: Decision) -> Calibration | None:
    """What `path` says of how `decision` was chosen; None without the file, or when it tells of another one.

    Raises:
        ValueError: the file holds something else.
    """
    if not path.is_file():
        return None
    calibration = Calibration.model_validate_json(path.read_bytes())
    return calibration if calibration.decision == decision else None
