"""The tables of a report: numbers as the template wants them, what was not measured as None."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from data.classes import ClassMap
from model.contract import Contract
from training.calibration import Calibration
from training.evaluation import Evaluation, ImageRow

#: Beyond this many classes a confusion matrix is no longer read.
_MOST_CLASSES_IN_MATRIX: Final = 16


def tiles(scores: Mapping[str, Any], rows: Sequence[ImageRow]) -> list[dict[str, Any]]:
    """The five headline numbers, each with what it counts."""
    ng, ok = [row for row in rows if row.is_ng], [row for row in rows if not row.is_ng]
    defects, missed = sum(row.true_regions for row in rows), sum(row.missed_regions for row in rows)
    told = (
        ("Escape", "escape_rate", True, f"{sum(not row.called_ng for row in ng)} of {len(ng)} NG called OK"),
        ("Overkill", "overkill_rate", True, f"{sum(row.called_ng for row in ok)} of {len(ok)} OK called NG"),
        ("Defects found", "defect_recall", True, f"{defects - missed} of {defects} regions"),
        ("Defect IoU", "mean_defect_iou", False, "mean over defect classes"),
        ("Mean IoU", "mean_iou", False, "background included"),
    )
    return [
        {"name": name, "value": scores.get(key), "is_share": is_share, "detail": detail}
        for name, key, is_share, detail in told
    ]


def class_rows(scores: Mapping[str, Any], class_map: ClassMap) -> list[dict[str, Any]]:
    """The per-class table: every class of the contract, what was not measured as None."""
    columns = ("iou", "dice", "precision", "recall", "boundary_f", "defect_recall", "false_alarms_per_image")
    measured = scores.get("classes", {})
    return [
        {
            "name": one.name,
            "color": one.color,
            **{key: measured.get(one.name, {}).get(key) for key in columns},
        }
        for one in class_map.classes
    ]


def confusion_rows(evaluation: Evaluation, class_map: ClassMap) -> list[dict[str, Any]]:
    """Each truth row as shares of its pixels; None cells for a class that truth does not hold."""
    if not evaluation.confusion or len(class_map) > _MOST_CLASSES_IN_MATRIX:
        return []
    return [
        {"name": name, "cells": [count / sum(row) if sum(row) else None for count in row]}
        for name, row in zip(class_map.names, evaluation.confusion, strict=True)
    ]


def provenance_rows(
    contract: Contract, *, digest: str, calibration: Calibration | None
) -> list[tuple[str, str]]:
    """What made this model, row by row: (name, value)."""
    rows = [("Model digest", digest), ("Made", f"{contract.created_at:%Y-%m-%d %H:%M %Z}")]
    for name, value in contract.provenance.model_dump(mode="json").items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {version}" for key, version in value.items())
        rows.append((_as_label(name), str(value)))
    parity = contract.parity
    rows.append(
        (
            "Agreement with the trained network",
            f"{parity.label_agreement:.4%} of {parity.pixels:,} pixels, probabilities within "
            f"{parity.max_probability_error:.1e}",
        )
    )
    weights = zip(contract.classes.names, contract.decision.weights, strict=True)
    rows.append(("Decision weights", ", ".join(f"{name} {weight:.4g}" for name, weight in weights)))
    rows.append(("Smallest region that counts", f"{contract.decision.min_area_px} px"))
    if calibration:
        rows.append((f"Decision chosen on {calibration.split}", _chosen_in_words(calibration)))
    return rows


def _chosen_in_words(calibration: Calibration) -> str:
    """What the choice of the decision rests on and what it changed."""
    before, chosen = calibration.before, calibration.chosen
    return (
        f"{calibration.ng_images} NG and {calibration.ok_images} OK images, escape target "
        f"{_rate(calibration.max_escape_rate)}; against plain argmax escape went from "
        f"{_rate(before.escape_rate)} to {_rate(chosen.escape_rate)}, overkill from "
        f"{_rate(before.overkill_rate)} to {_rate(chosen.overkill_rate)}"
    )


def _as_label(field: str) -> str:
    """data_sha256 -> Data SHA-256."""
    words = field.replace("_", " ")
    return (words[0].upper() + words[1:]).replace("sha256", "SHA-256")


def _rate(value: float | None) -> str:
    """A rate in a sentence."""
    return "unknown" if value is None else f"{value:.1%}"
