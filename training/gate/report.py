"""The gate's report: the verdict, what it rests on, and the images that changed most, both ways.

gate.html is one file that needs no network; gate.json beside it is the result for machines, and what a job that was
cut off reads to know that the gate has spoken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from data.classes import ClassMap
from data.files import write_atomically
from data.manifest import Manifest
from data.page import render_page
from training.evaluate import Predicts
from training.evaluation import Evaluation, ImageRow
from training.gate.bootstrap import LEVEL
from training.gate.cases import draw_changes
from training.gate.charts import interval, reach_of
from training.gate.finding import Finding, in_words
from training.gate.verdict import GateError, GateResult

_TEMPLATE: Final = Path(__file__).parent / "templates" / "gate.html.j2"

GATE_FILE: Final = "gate.json"
GATE_REPORT_FILE: Final = "gate.html"

_TITLES: Final = {
    "promote": "Promote {label}",
    "refuse": "Refuse {label}",
    "needs a person": "{label} needs a person",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One of the two models: its name in the store, itself in the classes of the golden set, and its results."""

    label: str
    model: Predicts
    digest: str
    evaluation: Evaluation


def write_gate_report(
    folder: Path, result: GateResult, *, champion: Judged, candidate: Judged, manifest: Manifest
) -> Path:
    """Write FOLDER/gate.html and then gate.json, each whole or not at all; return the page.

    Args:
        manifest: what both were judged on, in the classes of both (`training.gate.relabel`).

    Raises:
        DatasetError: a golden image cannot be read any more.
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = _render(result, champion=champion, candidate=candidate, manifest=manifest)
    out = write_atomically(folder / GATE_REPORT_FILE, page.encode())
    write_atomically(folder / GATE_FILE, (result.model_dump_json(indent=2) + "\n").encode())
    return out


def read_gate(path: Path) -> GateResult | None:
    """What a gate.json says; None where there is none.

    Raises:
        GateError: it is no result of this gate.
        OSError: it cannot be read.
    """
    try:
        return GateResult.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise GateError(f"{path}: no result of the gate; remove it, and the gate judges anew") from error


def _render(result: GateResult, *, champion: Judged, candidate: Judged, manifest: Manifest) -> str:
    rates = [one for one in result.findings if one.low is not None]
    rows = champion.evaluation.rows, candidate.evaluation.rows
    reach = reach_of(rates)
    why = result.summary.partition(": ")[2]
    golden = f"{result.images} golden images of {result.parts} parts"
    pieces = render_page(
        _TEMPLATE,
        title=_TITLES[result.verdict].format(label=candidate.label),
        subtitle=f"Gate · candidate {candidate.label} against champion {champion.label} · {golden}",
        # The title has said the verdict.
        lede=why[:1].upper() + why[1:],
        notes=(),
        tiles=_tiles(result, champion.label),
        verdict=result.verdict,
        reasons=result.reasons,
        labels=(champion.label, candidate.label),
        level=LEVEL,
        reach=reach,
        rates=[(one, interval(one, reach=reach)) for one in rates],
        guards=[_guard_row(one) for one in result.findings if one.low is None and one.champion is not None],
        blind=[one.text for one in result.findings if one.champion is None],
        tables=[_four_fields(*rows, is_ng=True), _four_fields(*rows, is_ng=False)],
        classes=_class_rows(result, manifest.class_map),
        changes=draw_changes(
            manifest,
            models=(champion.model, candidate.model),
            evaluations=(champion.evaluation, candidate.evaluation),
        ),
        provenance=_provenance(result, champion=champion, candidate=candidate),
    )
    return "".join(pieces)


def _tiles(result: GateResult, label: str) -> list[dict[str, Any]]:
    """The candidate's headline numbers, each with the champion's."""
    told = (
        ("Escape", "escape_rate", True),
        ("Overkill", "overkill_rate", True),
        ("Defects found", "defect_recall", True),
        ("Defect IoU", "mean_defect_iou", False),
        ("Mean IoU", "mean_iou", False),
    )
    return [
        {
            "name": name,
            "value": result.candidate.get(key),
            "is_share": is_share,
            "detail": f"{label}: {_told(result.champion.get(key), is_share=is_share)}",
        }
        for name, key, is_share in told
    ]


def _told(value: float | None, *, is_share: bool) -> str:
    if value is None:
        return "not measured"
    return in_words(value, unit="share") if is_share else f"{value:.3f}"


def _guard_row(finding: Finding) -> dict[str, Any]:
    """A guard for the table; what it allows is what its text says behind the values."""
    return {
        "what": finding.what,
        "values": [
            in_words(value or 0.0, unit=finding.unit) for value in (finding.champion, finding.candidate)
        ],
        "rule": finding.text.partition(": ")[2],
        "holds": finding.verdict != "guard",
    }


def _four_fields(before: Sequence[ImageRow], after: Sequence[ImageRow], *, is_ng: bool) -> dict[str, Any]:
    """How many images both, one, or none of the models called rightly."""
    pairs = [
        (old.called_ng == is_ng, new.called_ng == is_ng)
        for old, new in zip(before, after, strict=True)
        if old.is_ng == is_ng
    ]
    return {
        "is_ng": is_ng,
        "images": len(pairs),
        "count": {
            f"{old:d}{new:d}": pairs.count((old, new)) for old in (True, False) for new in (True, False)
        },
    }


def _class_rows(result: GateResult, class_map: ClassMap) -> list[dict[str, Any]]:
    """Each class's scores in the masks: pairs of champion and candidate, None where it was not measured."""
    both = result.champion.get("classes", {}), result.candidate.get("classes", {})
    columns = ("iou", "precision", "recall", "boundary_f", "false_alarms_per_image")
    return [
        {"name": one.name, "color": one.color}
        | {key: [scores.get(one.name, {}).get(key) for scores in both] for key in columns}
        for one in class_map.classes
    ]


def _provenance(result: GateResult, *, champion: Judged, candidate: Judged) -> list[tuple[str, str]]:
    rows = [("Judged", f"{datetime.now(UTC):%Y-%m-%d %H:%M %Z}, on the split {result.split}")]
    for role, one in (("Champion", champion), ("Candidate", candidate)):
        contract = one.model.contract
        rows.append((role, f"{one.label}, {contract.name}, made {contract.created_at:%Y-%m-%d %H:%M %Z}"))
        rows.append((f"{role}'s digest", one.digest))
        rows.append((f"{role}'s data", contract.provenance.data_sha256))
    settings = ", ".join(f"{name} {value:g}" for name, value in result.settings.model_dump().items())
    rows.append(("Settings of the gate", settings))
    return rows
