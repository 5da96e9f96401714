"""The report of a model: one HTML file that opens anywhere, says how good it is, and shows why.

Everything is inside the file: style, charts (SVG) and pictures (JPEG). It needs no network, prints well, and
follows the reader's light or dark setting. Its numbers are those of the file's evaluation; nothing is
computed for show.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from data.charts import lines
from data.files import write_atomically
from data.page import render_page
from model.contract import Contract
from training.calibration import Calibration
from training.evaluation import Evaluation, ImageRow
from training.report_cases import Gallery
from training.report_charts import reliability, score_histogram
from training.report_curves import draw_trade_off, legend, loss_series, margins, quality_series
from training.report_rows import class_rows, confusion_rows, provenance_rows, tiles

_TEMPLATE: Final = Path(__file__).parent / "templates" / "report.html.j2"

METRICS_FILE: Final = "metrics.json"
IMAGES_FILE: Final = "images.csv"
REPORT_FILE: Final = "report.html"


def write_results(
    folder: Path,
    *,
    contract: Contract,
    digest: str,
    evaluation: Evaluation,
    others: Sequence[Evaluation] = (),
    calibration: Calibration | None = None,
    log: Sequence[Mapping[str, Any]] = (),
    galleries: Sequence[Gallery] = (),
    config_text: str = "",
) -> Path:
    """Write the scores for machines, a row per image, and the report for people; return the report.

    metrics.json holds the scores by split, of `others` too; images.csv and the report are about `evaluation`.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {
        "model": contract.name,
        "digest": digest,
        **{one.split: one.scores for one in (*others, evaluation)},
    }
    write_atomically(folder / METRICS_FILE, (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode())
    write_atomically(folder / IMAGES_FILE, evaluation.rows_csv().encode())
    return write_report(
        folder / REPORT_FILE,
        contract=contract,
        digest=digest,
        evaluation=evaluation,
        calibration=calibration,
        log=log,
        galleries=galleries,
        config_text=config_text,
    )


def write_report(
    out: Path,
    *,
    contract: Contract,
    digest: str,
    evaluation: Evaluation,
    calibration: Calibration | None = None,
    log: Sequence[Mapping[str, Any]] = (),
    galleries: Sequence[Gallery] = (),
    config_text: str = "",
) -> Path:
    """Write the report to `out`, whole or not at all, and return it; arguments as in `render_report`.

    Raises:
        OSError: the file cannot be written.
    """
    page = render_report(
        contract=contract,
        digest=digest,
        evaluation=evaluation,
        calibration=calibration,
        log=log,
        galleries=galleries,
        config_text=config_text,
    )
    return write_atomically(out, page.encode())


def render_report(
    *,
    contract: Contract,
    digest: str,
    evaluation: Evaluation,
    calibration: Calibration | None = None,
    log: Sequence[Mapping[str, Any]] = (),
    galleries: Sequence[Gallery] = (),
    config_text: str = "",
) -> str:
    """The page as text.

    Args:
        contract, digest: of the model file that was judged.
        evaluation: what judging it found.
        calibration: how its decision was chosen; drawn beside the judged split.
        log: the rows of log.jsonl, in order; keys that are not known are not drawn.
        galleries: from `training.report_cases.draw_galleries`.
        config_text: the run's configuration, folded away at the end.
    """
    scores, rows, split = evaluation.scores, evaluation.rows, evaluation.split
    loss, quality = loss_series(log), quality_series(log)
    pieces = render_page(
        _TEMPLATE,
        title=contract.name,
        subtitle=f"{contract.created_at:%d %B %Y} · model {digest[:12]}",
        lede=verdict_in_words(rows),
        notes=calibration.notes if calibration else (),
        tiles=tiles(scores, rows),
        split=split,
        count=len(rows),
        groups=len({row.group for row in rows}) if all(row.group for row in rows) else None,
        classes=class_rows(scores, contract.classes),
        confusion=confusion_rows(evaluation, contract.classes),
        ece=scores.get("ece"),
        charts={
            "scores": score_histogram(margins(rows, is_ng=False), margins(rows, is_ng=True), threshold=0.0),
            "trade_off": draw_trade_off(rows, calibration=calibration),
            "reliability": reliability(evaluation.reliability),
            "loss": lines(loss, x_label="epoch", y_label="loss", title="Loss by epoch"),
            "quality": lines(quality, x_label="epoch", y_label="IoU", title="Validation quality by epoch"),
        },
        keys={"loss": legend(loss), "quality": legend(quality)},
        calibration=calibration,
        galleries=galleries,
        provenance=provenance_rows(contract, digest=digest, calibration=calibration),
        config_text=config_text,
    )
    return "".join(pieces)


def verdict_in_words(rows: Sequence[ImageRow]) -> str:
    """The one sentence somebody reads who reads no more."""
    ng, ok = [row for row in rows if row.is_ng], [row for row in rows if not row.is_ng]
    missed, alarms = sum(not row.called_ng for row in ng), sum(row.called_ng for row in ok)
    said = []
    if ng:
        said.append(f"Of {len(ng)} bad images it let {missed or 'none'} pass")
    if ok:
        said.append(f"{'of' if ng else 'Of'} {len(ok)} good ones it turned {alarms or 'none'} away")
    if not said:
        return "There was no image to judge it on."
    return (
        "; ".join(said) + "." + ("" if ok else " There was no good image to see how many it would turn away.")
    )
