"""Escape, overkill and each class's recall, of two models on the same images: better, worse, or neither for sure.

Two witnesses speak on each rate: the bootstrap's interval, and the exact test of the parts that changed
(`training.gate.bootstrap`). One is enough to call a rate worse, both are needed to call it better: a refusal by mistake
costs another training, a promotion by mistake costs escapes. Neither is heard on fewer parts than would prove
something if they all agreed (five). The level is not corrected for the number of rates: that would hide what one
class lost among many.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.evaluation import Evaluation
from training.gate.bootstrap import LEVEL, Comparison, PairedCounts, compare, mid_p
from training.gate.finding import Finding, FindingVerdict, from_to
from training.gate.settings import GateSettings

_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class _Rate:
    """A rate to compare."""

    counts: PairedCounts
    margin: float
    lower_is_better: bool


def compare_rates(
    champion: Evaluation, candidate: Evaluation, *, settings: GateSettings
) -> tuple[Finding, ...]:
    """A finding on each rate that the images show; the two evaluations are of the same images in the same order."""
    rates = _rates(champion, candidate, settings=settings)
    compared = compare(
        {what: rate.counts for what, rate in rates.items()},
        parts=[row.part for row in champion.rows],
        resamples=settings.resamples,
        seed=settings.seed,
    )
    return tuple(
        _finding(what, rates[what], found, margin_parts=settings.margin_parts)
        for what, found in compared.items()
        if found is not None
    )


def _rates(champion: Evaluation, candidate: Evaluation, *, settings: GateSettings) -> dict[str, _Rate]:
    is_ng = np.array([row.is_ng for row in champion.rows], np.float64)
    before, after = (np.array([row.called_ng for row in one.rows], float) for one in (champion, candidate))
    missed = PairedCounts(is_ng * (1 - before), is_ng * (1 - after), whole=is_ng)
    alarmed = PairedCounts((1 - is_ng) * before, (1 - is_ng) * after, whole=1 - is_ng)
    rates = {
        "escape rate": _Rate(missed, settings.escape_margin, lower_is_better=True),
        "overkill rate": _Rate(alarmed, settings.overkill_margin, lower_is_better=True),
    }
    for name in sorted({name for row in champion.rows for name in row.found_by_class}):
        counts = PairedCounts(
            _regions(champion, name, at=0),
            _regions(candidate, name, at=0),
            whole=_regions(champion, name, at=1),
        )
        rates[f"recall of {name}"] = _Rate(counts, settings.recall_margin, lower_is_better=False)
    return rates


def _regions(evaluation: Evaluation, name: str, *, at: int) -> NDArray[np.float64]:
    """True regions of a class in each image: those found (0), or all (1)."""
    return np.array([row.found_by_class.get(name, (0, 0))[at] for row in evaluation.rows], float)


def _finding(what: str, rate: _Rate, found: Comparison, *, margin_parts: float) -> Finding:
    margin = max(rate.margin, margin_parts / found.parts)
    verdict = _verdict(found, margin=margin, lower_is_better=rate.lower_is_better)
    better, worse = found.raised, found.lowered
    if rate.lower_is_better:
        better, worse = worse, better
    change = found.candidate - found.champion
    said = _said(verdict, is_gain=(change > 0) != rate.lower_is_better)
    text = (
        f"{what} {said}: {from_to(found.champion, found.candidate, unit='share')}, a change of "
        f"{100 * change:+.1f} points (95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f}; "
        f"of {found.parts} parts {better} better, {worse} worse)"
    )
    return Finding(
        what=what,
        verdict=verdict,
        text=text,
        champion=found.champion,
        candidate=found.candidate,
        low=found.low,
        high=found.high,
        margin=margin,
        lower_is_better=rate.lower_is_better,
        parts=found.parts,
        better_parts=better,
        worse_parts=worse,
    )


def _verdict(found: Comparison, *, margin: float, lower_is_better: bool) -> FindingVerdict:
    """What the two witnesses say; a rise of the rate stands for good, so one that should fall is turned over."""
    change, low, high = found.candidate - found.champion, found.low, found.high
    more_parts = found.raised - found.lowered
    if lower_is_better:
        change, low, high, more_parts = -change, -high, -low, -more_parts
    level = 1 - LEVEL
    is_enough = mid_p(found.parts, 0) < level
    interval_is_clear = is_enough and not low <= 0.0 <= high
    parts_are_clear = found.p_value < level and change * more_parts > 0
    if change < 0 and (interval_is_clear or parts_are_clear):
        return "worse"
    if interval_is_clear and parts_are_clear:
        return "better"
    return "unclear" if interval_is_clear or abs(change) > margin + _ROUNDING else "same"


def _said(verdict: FindingVerdict, *, is_gain: bool) -> str:
    if verdict == "same":
        return "changes by no more than its margin"
    way = "better" if is_gain else "worse"
    return f"is {way} beyond doubt" if verdict == way else f"is {way}, but perhaps by chance"
