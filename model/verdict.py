"""Defects and a recipe make a verdict, with its reasons in words that an inspector can check against the part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from data.classes import ClassMap
from data.defects import Defect
from model.recipe import Recipe
from model.rules import Limit, Quantity, Rules

Verdict = Literal["OK", "NG", "REVIEW"]

_WORST_FIRST: Final[tuple[Verdict, ...]] = ("NG", "REVIEW", "OK")
_MEASURED_AS: Final[dict[Quantity, str]] = {"area": "large", "length": "long", "total_area": "in total"}
_BELOW: Final[dict[Quantity, str]] = {"area": "smaller", "length": "shorter"}


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a part is, and why.

    Attributes:
        verdict: NG where a limit was reached, REVIEW where a person must decide, else OK.
        reasons: of NG and REVIEW the limits that led to it, of OK what was ignored or tolerated; a line a rule.
        counted: the defects that the recipe does not ignore, in their order.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    counted: tuple[Defect, ...]


def judge(defects: Sequence[Defect], *, recipe: Recipe, class_map: ClassMap) -> Ruling:
    """The verdict on a part with these defects.

    Raises:
        ValueError: a defect of a class that is no defect in `class_map`.
    """
    strange = {defect.class_id for defect in defects} - set(class_map.defect_ids)
    if strange:
        raise ValueError(f"defects of class {sorted(strange)}; expected one of {list(class_map.defect_ids)}")
    rulings = [
        _judge_class(
            [defect for defect in defects if defect.class_id == class_id],
            name=class_map.names[class_id],
            rules=recipe.rules_for(class_map.names[class_id]),
            mm_per_px=recipe.mm_per_px,
        )
        for class_id in class_map.defect_ids
    ]
    verdicts = {ruling.verdict for ruling in rulings}
    verdict: Verdict = next((worst for worst in _WORST_FIRST if worst in verdicts), "OK")
    counted = {defect for ruling in rulings for defect in ruling.counted}
    return Ruling(
        verdict=verdict,
        reasons=tuple(reason for one in rulings if one.verdict == verdict for reason in one.reasons),
        counted=tuple(defect for defect in defects if defect in counted),
    )


def _judge_class(defects: Sequence[Defect], *, name: str, rules: Rules, mm_per_px: float | None) -> Ruling:
    """The verdict on the defects of one class.

    Only defects the model is sure of can reach an NG limit; one that takes the others too means REVIEW.
    """
    counted, tolerated = list(defects), []
    for limit in rules.limits("ignore_below", mm_per_px=mm_per_px):
        kept = [defect for defect in counted if limit.is_reached([defect])]
        if len(kept) < len(counted):
            ignored = len(counted) - len(kept)
            tolerated.append(f"{ignored} {name} {_BELOW[limit.quantity]} than {limit} ignored")
        counted = kept
    ng_limits = rules.limits("ng", mm_per_px=mm_per_px)
    least = rules.review_below_confidence or 0.0
    sure = [defect for defect in counted if defect.mean_confidence >= least]
    certain = [
        f"{_tell(limit, sure, name=name)}, NG from {limit}" for limit in ng_limits if limit.is_reached(sure)
    ]
    if certain:
        return Ruling("NG", tuple(certain), tuple(counted))
    doubted = [
        f"{_tell(limit, counted, name=name)}, NG from {limit}, but {_doubt(limit, counted, least=least)}"
        for limit in ng_limits
        if limit.is_reached(counted)
    ]
    looked_at = [
        f"{_tell(limit, counted, name=name)}, REVIEW from {limit}"
        for limit in rules.limits("review", mm_per_px=mm_per_px)
        if limit.is_reached(counted)
    ]
    if doubted or looked_at:
        return Ruling("REVIEW", (*doubted, *looked_at), tuple(counted))
    if counted:
        why = "never NG" if rules.never_ng else "below every limit"
        tolerated.append(f"{len(counted)} {name} tolerated: {why}")
    return Ruling("OK", tuple(tolerated), tuple(counted))


def _tell(limit: Limit, defects: Sequence[Defect], *, name: str) -> str:
    """`crack 3.2 mm long`, `2 crack up to 3.2 mm long`, `crack 12 mm² in total`, `3 crack`."""
    if limit.quantity == "count":
        return f"{len(defects)} {name}"
    size = f"{limit.measured(defects)} {_MEASURED_AS[limit.quantity]}"
    several = len(_behind(limit, defects))
    if limit.quantity == "total_area" or several == 1:
        return f"{name} {size}"
    return f"{several} {name} up to {size}"


def _doubt(limit: Limit, defects: Sequence[Defect], *, least: float) -> str:
    """Why NG is not certain: how sure the model is of the defects behind it."""
    behind = _behind(limit, defects)
    unsure = [defect.mean_confidence for defect in behind if defect.mean_confidence < least]
    if len(behind) == 1:
        # Cut, not rounded: 59.9 % must not read as 60.
        return f"only {int(100 * unsure[0])} % sure, NG needs {100 * least:.3g} %"
    return f"{len(unsure)} of them less than {100 * least:.3g} % sure"


def _behind(limit: Limit, defects: Sequence[Defect]) -> Sequence[Defect]:
    """The defects that a reached limit is about: those that reach it alone, or all."""
    if limit.quantity in ("count", "total_area"):
        return defects
    return [defect for defect in defects if limit.is_reached([defect])]
