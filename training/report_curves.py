"""What the report's charts are drawn of: the run's log by epoch, image scores, escape against overkill."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from data.charts import Series
from training.calibration import Calibration
from training.evaluation import ImageRow
from training.report_charts import trade_off

#: What is drawn of a log row, by dotted name, with what the legend calls it.
_LOSS: Final = {"train.loss": "training crops", "val.loss": "validation images"}
_QUALITY: Final = {"val.mean_iou": "mean IoU", "val.mean_defect_iou": "mean defect IoU"}
_STYLES: Final = ("line-a", "line-b")


def loss_series(log: Sequence[Mapping[str, Any]]) -> list[Series]:
    """Training and validation loss by epoch, from rows of log.jsonl."""
    return _series(log, _LOSS)


def quality_series(log: Sequence[Mapping[str, Any]]) -> list[Series]:
    """Mean IoU and mean defect IoU by epoch, from rows of log.jsonl."""
    return _series(log, _QUALITY)


def legend(series: Sequence[Series]) -> Markup:
    """The line of names under a chart of lines."""
    names = (
        Markup('<span><i style="background:var(--{})"></i>{}</span>').format(one.style[-1], one.name)
        for one in series
    )
    return Markup('<p class="key">{}</p>').format(Markup("").join(names))


def margins(rows: Sequence[ImageRow], *, is_ng: bool) -> list[float]:
    """Margins of the OK or the NG images; what never fires is drawn just left of all others."""
    known = [row.margin for row in rows if row.margin is not None]
    floor = min([*known, 0.0]) - 1.0
    return [floor if row.margin is None else row.margin for row in rows if row.is_ng is is_ng]


def draw_trade_off(rows: Sequence[ImageRow], *, calibration: Calibration | None) -> Markup | None:
    """Escape against overkill, judged and where the decision was chosen; None without OK or NG images."""
    ok, ng = margins(rows, is_ng=False), margins(rows, is_ng=True)
    if not ok or not ng:
        return None
    bars = sorted({*ok, *ng, math.inf})
    judged = [(_share(margin >= bar for margin in ok), _share(margin < bar for margin in ng)) for bar in bars]
    curves = [Series("judged", tuple(judged), "line-a")]
    if calibration and calibration.ng_images and calibration.ok_images:
        points = [(one.overkill_rate, one.escape_rate) for one in calibration.curve]
        chosen_on = tuple((x, y) for x, y in points if x is not None and y is not None)
        curves.append(Series("chosen on", chosen_on, "line-b"))
    shipped = (
        _share(row.called_ng for row in rows if not row.is_ng),
        _share(not row.called_ng for row in rows if row.is_ng),
    )
    return trade_off(curves, chosen=shipped, target=calibration.max_escape_rate if calibration else None)


def _series(log: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[Series]:
    """The named numbers over the epoch (else the row's number); a name that no row holds is left out."""
    found = []
    for (name, called), style in zip(names.items(), _STYLES, strict=True):
        part, _, key = name.partition(".")
        points = [
            (float(row.get("epoch", at)), float(value))
            for at, row in enumerate(log)
            if isinstance(value := (row.get(part) or {}).get(key), (int, float))
        ]
        if points:
            found.append(Series(called, tuple(points), style))
    return found


def _share(flags: Iterable[bool]) -> float:
    """Share of true flags; of an iterable that is not empty."""
    counted = list(flags)
    return sum(counted) / len(counted)
