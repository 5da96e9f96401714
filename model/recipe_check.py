"""Say what a recipe means, class by class, and find what cannot have been meant."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Final

from model.contract import Contract
from model.recipe import Recipe, RecipeError, allowed_mask
from model.rules import Effect, Limit, Quantity, Rules, as_written

#: A stand-in for an image where shares are all that is known of its zones.
_ANY_SIDE_PX: Final = 1000
_OF_WHAT: Final[dict[Quantity, str]] = {
    "area": "area",
    "length": "length",
    "total_area": "in total",
    "count": "of them",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong (`is_error`) or odd in a recipe, and what to do, in one sentence."""

    text: str
    is_error: bool


def explain(recipe: Recipe, *, contract: Contract | None) -> list[str]:
    """The recipe as sentences: of the model's classes, or of those it names; then scale and zones."""
    lines = [
        f"{names}: {_sentence(rules, mm_per_px=recipe.mm_per_px)}"
        for rules, names in _names_by_rules(recipe, contract).items()
    ]
    scale = recipe.mm_per_px
    lines.append(
        "sizes in px: no mm_per_px" if scale is None else f"one pixel is {as_written(scale)} mm wide"
    )
    inside, outside = len(recipe.regions_of_interest), len(recipe.exclusion_zones)
    if inside or outside:
        lines.append(f"zones: {inside} to look at, {outside} to leave out")
    return lines


def find_contradictions(recipe: Recipe, *, contract: Contract | None) -> list[Finding]:
    """What contradicts itself or the model, errors first; empty: nothing found.

    Without a contract the model's classes and its smallest area are not asked.
    """
    found = list(_of_zones(recipe))
    names_by_rules = _names_by_rules(recipe, contract)
    for rules, names in names_by_rules.items():
        found += _of_rules(names, rules, mm_per_px=recipe.mm_per_px)
        if contract is not None:
            least_px = contract.decision.min_area_px
            found += _of_model(names, rules, min_area_px=least_px, mm_per_px=recipe.mm_per_px)
    if all(rules.never_ng and not rules.limits("review", mm_per_px=None) for rules in names_by_rules):
        found.append(Finding("every part is OK: no class can lead to NG or REVIEW", is_error=True))
    return sorted(found, key=lambda finding: not finding.is_error)


def _names_by_rules(recipe: Recipe, contract: Contract | None) -> dict[Rules, str]:
    """Classes to which the same applies, so that it is told once: `crack, pore`."""
    names: list[str] = list(recipe.classes)
    if contract is not None:
        names = [contract.classes.names[class_id] for class_id in contract.classes.defect_ids]
    by_rules: dict[Rules, list[str]] = {}
    for name in names:
        by_rules.setdefault(recipe.rules_for(name), []).append(name)
    if contract is None:
        by_rules.setdefault(recipe.default, []).append("every other class")
    return {rules: ", ".join(alike) for rules, alike in by_rules.items()}


def _sentence(rules: Rules, *, mm_per_px: float | None) -> str:
    """`ignored below 0.5 mm length; NG from 2 mm length or 3 of them; REVIEW …`."""
    parts = [
        f"{verb} {' or '.join(map(_phrase, limits))}"
        for verb, limits in (
            ("ignored below", rules.limits("ignore_below", mm_per_px=mm_per_px)),
            ("NG from", rules.limits("ng", mm_per_px=mm_per_px)),
            ("REVIEW from", rules.limits("review", mm_per_px=mm_per_px)),
        )
        if limits
    ]
    if rules.never_ng:
        parts.append("never NG")
    elif rules.review_below_confidence is not None:
        parts.append(
            f"REVIEW, not NG, when the model is less than {100 * rules.review_below_confidence:.3g} % sure"
        )
    return "; ".join(parts)


def _phrase(limit: Limit) -> str:
    return f"{limit} {_OF_WHAT[limit.quantity]}"


def _of_rules(names: str, rules: Rules, *, mm_per_px: float | None) -> Iterator[Finding]:
    """What the limits of a class say against each other."""
    ignore, review, ng = (
        rules.limits(effect, mm_per_px=mm_per_px) for effect in ("ignore_below", "review", "ng")
    )
    for verb, limits in (("NG", ng), ("REVIEW", review)):
        for ignored, limit, beyond_px in _pairs(ignore, limits):
            if beyond_px > 0:
                yield Finding(
                    f"{names}: {verb} from {_phrase(limit)}, but ignored below {ignored}; "
                    f"lower the one or raise the other",
                    is_error=True,
                )
    for looked_at, limit, beyond_px in _pairs(review, ng):
        if beyond_px >= 0:
            yield Finding(
                f"{names}: REVIEW from {_phrase(looked_at)} never happens, NG begins at {limit}; "
                "a REVIEW limit lies below the NG limit",
                is_error=True,
            )
    if any(limit.quantity == "count" and limit.value == 1 for limit in ng):
        if review:
            yield Finding(
                f"{names}: REVIEW from {_phrase(review[0])} never happens, any defect that counts is NG; "
                "give an NG limit above it, or never_ng = true",
                is_error=True,
            )
        elif len(ng) > 1:
            yield Finding(
                f"{names}: NG from 1 of them, so its other NG limits decide nothing", is_error=False
            )
    if rules.never_ng:
        without = " and review_below_confidence decides nothing" if rules.review_below_confidence else ""
        yield Finding(f"{names}: can never make a part NG (never_ng = true){without}", is_error=False)


def _pairs(low: tuple[Limit, ...], high: tuple[Limit, ...]) -> Iterator[tuple[Limit, Limit, float]]:
    """Limits of the same quantity, and by how many px the one meant to be lower lies above the other."""
    for first in low:
        for second in high:
            if first.quantity == second.quantity:
                yield first, second, first.value_px - second.value_px


def _of_model(names: str, rules: Rules, *, min_area_px: int, mm_per_px: float | None) -> Iterator[Finding]:
    """Limits that lie below what the model reports at all."""
    effects: tuple[Effect, ...] = ("ignore_below", "review", "ng")
    limits = [limit for effect in effects for limit in rules.limits(effect, mm_per_px=mm_per_px)]
    for limit in limits:
        if limit.quantity in ("area", "total_area") and limit.value_px < min_area_px:
            yield Finding(
                f"{names}: the limit of {_phrase(limit)} acts from {min_area_px} px on, smaller regions do not "
                "leave the model; raise the limit, or calibrate the model anew",
                is_error=False,
            )


def _of_zones(recipe: Recipe) -> Iterator[Finding]:
    sound = True
    for key in ("regions_of_interest", "exclusion_zones"):
        for number, zone in enumerate(getattr(recipe, key), start=1):
            if zone.fault is not None:
                sound = False
                yield Finding(f"{key}, polygon {number}: {zone.fault}", is_error=True)
    zones = (*recipe.regions_of_interest, *recipe.exclusion_zones)
    sizes = sorted({zone.size_px for zone in zones if zone.size_px is not None})
    if len(sizes) > 1:
        listed = " and ".join(f"{width} x {height} px" for width, height in sizes)
        yield Finding(
            f"zones drawn on images of {listed}: no image fits; draw them on one size, or in shares",
            is_error=True,
        )
    elif sound:
        yield from _of_what_is_left(recipe, size_px=sizes[0] if sizes else None)


def _of_what_is_left(recipe: Recipe, *, size_px: tuple[int, int] | None) -> Iterator[Finding]:
    if size_px is None:
        in_px = [
            point
            for zone in (*recipe.regions_of_interest, *recipe.exclusion_zones)
            for point in zone.polygon
            if zone.units == "px"
        ]
        right, bottom = (max((ceil(point[axis]) for point in in_px), default=0) for axis in (0, 1))
        # A pixel beyond the last: an image of unknown size may be larger than its zones.
        size_px = (right + 2, bottom + 2) if in_px else (_ANY_SIDE_PX, _ANY_SIDE_PX)
    try:
        allowed_mask(recipe, size_hw=(size_px[1], size_px[0]))
    except RecipeError as error:
        yield Finding(str(error), is_error=True)
