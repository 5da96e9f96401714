"""What a recipe says of one class: which defects do not count, which make a part NG, which a person must see."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data.defects import Defect

Effect = Literal["ignore_below", "ng", "review"]
Quantity = Literal["area", "length", "total_area", "count"]
Unit = Literal["px", "mm", "mm2", ""]

_LIMIT_KEY: Final = re.compile(
    r"(?P<effect>ignore_below|ng|review)_(?P<quantity>total_area|area|length|count)(_(?P<unit>px|mm2|mm))?"
)
#: How often the scale goes into a unit.
_MM_POWER: Final[dict[Unit, int]] = {"px": 0, "mm": 1, "mm2": 2, "": 0}
_UNIT_TEXT: Final[dict[Unit, str]] = {"px": " px", "mm": " mm", "mm2": " mm²", "": ""}
#: 100 px of 0.01 mm² each are 1 mm², whatever the last binary digit says.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a recipe, in the unit it was written in.

    `area` and `length` ask about the largest and the longest defect, `total_area` and `count` about all of a
    class together. `mm_per_px` is the recipe's; None where all sizes are in px.
    """

    quantity: Quantity
    value: float
    unit: Unit
    mm_per_px: float | None

    def __str__(self) -> str:
        return f"{as_written(self.value)}{_UNIT_TEXT[self.unit]}"

    @property
    def value_px(self) -> float:
        """The limit in px of length or of area; a count stays what it is."""
        return self.value / self._units_per_px

    def is_reached(self, defects: Sequence[Defect]) -> bool:
        """Whether these defects lie at or above the limit."""
        return self._measure_px(defects) >= self.value_px * (1 - _ROUNDING)

    def measured(self, defects: Sequence[Defect]) -> str:
        """What is compared with the limit, in its unit, for people: `3.2 mm`."""
        value = self._measure_px(defects) * self._units_per_px
        return f"{value:{'.0f' if value >= 100 else '.3g'}}{_UNIT_TEXT[self.unit]}"

    def _measure_px(self, defects: Sequence[Defect]) -> float:
        if self.quantity == "count":
            return float(len(defects))
        if self.quantity == "length":
            return max((defect.length_px for defect in defects), default=0.0)
        areas_px = [float(defect.area_px) for defect in defects]
        return sum(areas_px, start=0.0) if self.quantity == "total_area" else max(areas_px, default=0.0)

    @property
    def _units_per_px(self) -> float:
        power = _MM_POWER[self.unit]
        assert self.mm_per_px is not None or power == 0, "a recipe refuses mm without a scale"
        return 1.0 if self.mm_per_px is None else self.mm_per_px**power


class Rules(BaseModel):
    """The limits of one class, or of all. What is left out does not limit; with no NG limit any defect is NG.

    A defect below any `ignore_below` limit does not count; one limit reached is enough for NG, or for REVIEW.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    ignore_below_area_px: float | None = Field(None, gt=0, examples=[12], description="smaller: not counted")
    ignore_below_area_mm2: float | None = Field(
        None, gt=0, examples=[0.1], description="smaller: not counted"
    )
    ignore_below_length_px: float | None = Field(None, gt=0, examples=[5], description="shorter: not counted")
    ignore_below_length_mm: float | None = Field(
        None, gt=0, examples=[0.5], description="shorter: not counted"
    )
    ng_area_px: float | None = Field(None, gt=0, examples=[50], description="NG from this size of one")
    ng_area_mm2: float | None = Field(None, gt=0, examples=[0.5], description="NG from this size of one")
    ng_length_px: float | None = Field(None, gt=0, examples=[40], description="NG from this length of one")
    ng_length_mm: float | None = Field(None, gt=0, examples=[2.0], description="NG from this length of one")
    ng_count: int | None = Field(None, ge=1, examples=[3], description="NG from this number of them")
    ng_total_area_px: float | None = Field(None, gt=0, examples=[200], description="NG from this size of all")
    ng_total_area_mm2: float | None = Field(
        None, gt=0, examples=[2.0], description="NG from this size of all"
    )
    never_ng: bool | None = Field(None, examples=[True], description="true: measured, but never NG")
    review_area_px: float | None = Field(
        None, gt=0, examples=[30], description="REVIEW from this size of one"
    )
    review_area_mm2: float | None = Field(
        None, gt=0, examples=[0.3], description="REVIEW from this size of one"
    )
    review_length_px: float | None = Field(
        None, gt=0, examples=[20], description="REVIEW from this length of one"
    )
    review_length_mm: float | None = Field(
        None, gt=0, examples=[1.0], description="REVIEW from this length of one"
    )
    review_below_confidence: float | None = Field(
        None, gt=0, le=1, examples=[0.6], description="REVIEW, not NG, where the model is less sure (0 to 1)"
    )

    @model_validator(mode="after")
    def _each_limit_once(self) -> "Rules":
        kinds: dict[tuple[str, str], str] = {}
        for key in self.given():
            match = _LIMIT_KEY.fullmatch(key)
            if match is None:
                continue
            first = kinds.setdefault((match["effect"], match["quantity"]), key)
            if first != key:
                raise ValueError(f"{first} and {key} limit the same; give one of them")
        if self.never_ng and self.limits("ng", mm_per_px=None):
            raise ValueError("never_ng = true beside an NG limit; give one of them")
        return self

    def given(self) -> dict[str, Any]:
        """What is said, by key, in the order of the fields."""
        return self.model_dump(exclude_none=True)

    def keys_in_mm(self) -> tuple[str, ...]:
        """The given keys that need a scale."""
        return tuple(key for key in self.given() if key.endswith(("_mm", "_mm2")))

    def limits(self, effect: Effect, *, mm_per_px: float | None) -> tuple[Limit, ...]:
        """The limits of one effect, on images of this scale. With no NG limit any defect is NG, unless never_ng."""
        found = ((_LIMIT_KEY.fullmatch(key), value) for key, value in self.given().items())
        limits = tuple(
            Limit(cast(Quantity, match["quantity"]), float(value), cast(Unit, match["unit"] or ""), mm_per_px)
            for match, value in found
            if match is not None and match["effect"] == effect
        )
        if effect == "ng" and not limits and not self.never_ng:
            # A forgotten limit must not let bad parts pass.
            return (Limit("count", 1.0, "", mm_per_px),)
        return limits

    def over(self, default: "Rules") -> "Rules":
        """These rules, and the default's for the kinds (ignore, NG, REVIEW) of which they say nothing.

        By kind, not by key: a class's own `ng_length_mm` would decide nothing beside a default `ng_area_px = 1`.
        """
        own = self.given()
        kinds = {_kind(key) for key in own}
        inherited = {key: value for key, value in default.given().items() if _kind(key) not in kinds}
        return Rules.model_validate(inherited | own)


def as_written(value: float | int) -> str:
    """A number as a person writes it, every digit kept: 12, not 12.0. TOML reads it back."""
    return repr(value).removesuffix(".0")


def _kind(key: str) -> str:
    return "ng" if key == "never_ng" else key.partition("_")[0]
