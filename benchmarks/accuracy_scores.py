"""From finished runs to the rows of a table: means and spread over seeds, and how far the test images bear them out.

Folds are pooled: the pixels of all judged images make one IoU of a class. Two kinds of doubt stand side by side. The
spread over seeds is what training anew would change. The interval is what other test parts would change: whole parts
are drawn with replacement, since images of one part resemble each other (the cluster bootstrap, as in
`training.gate.bootstrap`), the same draw for all rows; it takes the mean of a row's seeds.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from accuracy_runs import Result
from numpy.typing import NDArray

from data.classes import ClassMap
from training.evaluation import ImageRow

_DRAWS, _TAIL = 2000, 0.025
_NOTHING: Final = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean over seeds, and their standard deviation; None with one seed."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread | None":
        """None where nothing was measured."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        return cls(statistics.mean(known), statistics.stdev(known) if len(known) > 1 else None)


@dataclass(frozen=True, slots=True)
class RowScores:
    """A row on the test images, shares in 0…1.

    Attributes:
        iou: mean over the judged classes, by argmax. low, high: its 95 % interval.
        gain, gain_low, gain_high: its difference from the first row of the same group, and that one's interval; None
            for the first row itself.
        by_class: IoU by judged class, by argmax.
        decided: the mean IoU as the model file decides.
        auroc: how well the surest region of an image tells NG from OK, whatever the threshold: 0.5 is chance; mean over
            folds, each model's by itself.
        escape, overkill: as the model file decides; None where it was not calibrated.
        val: the best epoch's monitored score, mean over folds.
    """

    iou: Spread
    low: float
    high: float
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    by_class: tuple[Spread | None, ...]
    decided: Spread | None
    auroc: Spread | None
    escape: Spread | None
    overkill: Spread | None
    val: Spread | None


def judged_classes(class_map: ClassMap) -> tuple[str, ...]:
    """The classes that the mean is taken over: the defects, or all where none is a defect."""
    return tuple(class_map.names[at] for at in class_map.defect_ids) or tuple(class_map.names)


def score_rows(found: Sequence[Result], *, class_map: ClassMap, monitor: str) -> dict[str, RowScores]:
    """Every row that has a finished run, by name."""
    names = judged_classes(class_map)
    by_row: dict[str, list[Result]] = {}
    for result in found:
        by_row.setdefault(result.row.name, []).append(result)
    seeds_of = {name: _by_seed(results) for name, results in by_row.items()}
    drawn = {name: _drawn([one.argmax for one in seeds], names=names) for name, seeds in seeds_of.items()}
    first_of: dict[str, str] = {}
    scored = {}
    for name, results in by_row.items():
        first = first_of.setdefault(results[0].row.group, name)
        scored[name] = _score(
            seeds_of[name], drawn=drawn[name], names=names, monitor=monitor, first=drawn[first]
        )
    return scored


@dataclass(frozen=True, slots=True)
class _Seed:
    """A row's runs of one seed: all its folds. Images are pooled; `aurocs` and `logs` are a run's own."""

    argmax: tuple[ImageRow, ...]
    decided: tuple[ImageRow, ...]
    aurocs: tuple[float | None, ...]
    logs: tuple[Sequence[Mapping[str, Any]], ...]


def _by_seed(results: Sequence[Result]) -> list[_Seed]:
    runs_of: dict[int, list[Result]] = {}
    for result in results:
        runs_of.setdefault(result.seed, []).append(result)
    return [
        _Seed(
            argmax=tuple(row for run in runs for row in run.argmax.rows),
            decided=tuple(row for run in runs if run.decided for row in run.decided.rows),
            # Margins are above a model's own decision: those of two models make no common order.
            aurocs=tuple(auroc((run.decided or run.argmax).rows) for run in runs),
            logs=tuple(run.log for run in runs),
        )
        for runs in runs_of.values()
    ]


def _score(
    seeds: Sequence[_Seed],
    *,
    drawn: NDArray[np.float64],
    names: Sequence[str],
    monitor: str,
    first: NDArray[np.float64],
) -> RowScores:
    by_argmax = [count_parts(one.argmax, names=names)[1].sum(axis=0) for one in seeds]
    by_decision = [count_parts(one.decided, names=names)[1].sum(axis=0) for one in seeds if one.decided]
    iou = Spread.of([mean_iou(counts) for counts in by_argmax])
    assert iou is not None, "a test split shows at least one judged class"
    low, high = np.nanquantile(drawn, (_TAIL, 1 - _TAIL))
    difference = drawn[1:] - first[1:]
    is_first = drawn is first
    gain_low, gain_high = np.nanquantile(difference, (_TAIL, 1 - _TAIL))
    return RowScores(
        iou=iou,
        low=float(low),
        high=float(high),
        gain=None if is_first else float(drawn[0] - first[0]),
        gain_low=None if is_first else float(gain_low),
        gain_high=None if is_first else float(gain_high),
        by_class=tuple(Spread.of([_iou(counts[at]) for counts in by_argmax]) for at in range(len(names))),
        decided=Spread.of([mean_iou(counts) for counts in by_decision]),
        auroc=Spread.of([_mean(one.aurocs) for one in seeds]),
        escape=Spread.of([_share(one.decided, of_ng=True, called_ng=False) for one in seeds]),
        overkill=Spread.of([_share(one.decided, of_ng=False, called_ng=True) for one in seeds]),
        val=Spread.of([_mean([_best(log, monitor=monitor) for log in one.logs]) for one in seeds]),
    )


def _iou(counts: NDArray[np.float64]) -> float | None:
    """Of [right, true, predicted] pixels; None for a class that the truth does not show."""
    right, true, said = counts.tolist()
    return right / (true + said - right) if true else None


def _share(rows: Sequence[ImageRow], *, of_ng: bool, called_ng: bool) -> float | None:
    called = [row.called_ng for row in rows if row.is_ng == of_ng]
    return called.count(called_ng) / len(called) if called else None


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one is missing: a mean of the others would be of something else."""
    known = [value for value in values if value is not None]
    return statistics.mean(known) if values and len(known) == len(values) else None


def _best(log: Sequence[Mapping[str, Any]], *, monitor: str) -> float | None:
    values = (row["val"][monitor] for row in log)
    return max((value for value in values if value is not None), default=None)


def count_parts(
    rows: Sequence[ImageRow], *, names: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The parts by name, and float64 [parts, classes, 3]: their pixels that are right, true and predicted."""
    parts, part_of = np.unique([row.part for row in rows], return_inverse=True)
    counts = np.zeros((len(parts), len(names), 3))
    pixels = [[row.pixels_by_class.get(name, _NOTHING) for name in names] for row in rows]
    np.add.at(counts, part_of, np.array(pixels, np.float64))
    return tuple(parts.tolist()), counts


def mean_iou(counts: NDArray[np.float64]) -> float:
    """Of float64 [classes, 3] pixels right, true, predicted: mean over the classes that are in the truth."""
    return float(_mean_iou(counts[None])[0])


def _mean_iou(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of float64 [draws, classes, 3]; NaN for a draw without any class."""
    right, true, said = np.moveaxis(counts, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(true > 0, right / (true + said - right), 0.0)
        return np.asarray(iou.sum(axis=1) / (true > 0).sum(axis=1))


def _drawn(seeds: Sequence[Sequence[ImageRow]], *, names: Sequence[str]) -> NDArray[np.float64]:
    """Mean IoU, mean over a row's seeds, float64 [1 + draws]: on the parts as they are, and on each draw of them."""
    of_seeds = []
    for rows in seeds:
        parts, counts = count_parts(rows, names=names)
        # Seeded and by sorted names: the same draws for every row of a study.
        chosen = np.random.default_rng(0).integers(len(parts), size=(_DRAWS, len(parts)))
        times = np.stack([np.bincount(draw, minlength=len(parts)) for draw in chosen])
        times = np.concatenate([np.ones((1, len(parts))), times])
        of_seeds.append(_mean_iou(np.einsum("dp,pcn->dcn", times, counts)))
    return np.asarray(np.mean(of_seeds, axis=0))


def auroc(rows: Sequence[ImageRow]) -> float | None:
    """Probability that an NG image's margin is above an OK image's (equal: one half); None without both kinds.

    An image that nothing comes near to being a defect in is below all others.
    """
    margins = np.array([-np.inf if row.margin is None else row.margin for row in rows])
    is_ng = np.array([row.is_ng for row in rows], bool)
    ng, ok = margins[is_ng][:, None], margins[~is_ng][None]
    if not ng.size or not ok.size:
        return None
    return float(((ng > ok) + (ng == ok) / 2).mean())
