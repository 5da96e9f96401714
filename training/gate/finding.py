"""One thing that the gate looked at, as a value, and its numbers in words."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

FindingVerdict = Literal["better", "same", "unclear", "worse", "guard"]
Unit = Literal["share", "score", "ms"]


class Finding(BaseModel):
    """One thing that was looked at.

    Attributes:
        what: its name, as "recall of scratch".
        verdict: `better`, `worse`: beyond doubt. `unclear`: by more than its margin, but chance may have done it; or
            not to be seen at all. `same`: none of these, or a guard that holds. `guard`: a guard that is broken.
        text: all of it in words.
        unit: of the values: a share, 1.0 being all; a score, 0 to 1; milliseconds.
        champion, candidate: the values; null where there is none.
        low, high: of a rate: the 95 % interval of candidate - champion.
        margin: of a rate: how large a change must be to count.
        lower_is_better: which way is good.
        parts, better_parts, worse_parts: of a rate: measured on how many parts, and how many got better and worse.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    verdict: FindingVerdict
    text: str
    unit: Unit = "share"
    champion: float | None = None
    candidate: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    lower_is_better: bool = False
    parts: int | None = None
    better_parts: int | None = None
    worse_parts: int | None = None

    @property
    def gain(self) -> float | None:
        """How much better the candidate is, below zero when it is worse; None without two values."""
        if self.champion is None or self.candidate is None:
            return None
        return (self.candidate - self.champion) * (-1 if self.lower_is_better else 1)

    @property
    def brief(self) -> str:
        """Its name and values, or, where it has none, all that can be said."""
        if self.champion is None or self.candidate is None:
            return self.text
        return f"{self.what} {from_to(self.champion, self.candidate, unit=self.unit)}"


def from_to(before: float, after: float, *, unit: Unit) -> str:
    """A change, as `12.0 % → 4.0 %`."""
    return f"{in_words(before, unit=unit)} → {in_words(after, unit=unit)}"


def in_words(value: float, *, unit: Unit) -> str:
    """A value as it is read."""
    return _FORMATS[unit].format(value * 100 if unit == "share" else value)


_FORMATS: Final[dict[Unit, str]] = {"share": "{:.1f} %", "score": "{:.4f}", "ms": "{:.1f} ms"}
