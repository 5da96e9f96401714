"""Which reasons are frequent: the same words with other numbers are one reason, told with the numbers' range."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.folder.inspection import Verdict

_NUMBER: Final = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why parts got a verdict, and how many did: `crack 2.1 to 8.4 mm long, NG from 2 mm`."""

    verdict: Verdict
    text: str
    images: int


class ReasonCounter:
    """Counts reasons in memory that grows with a recipe's rules and not with the images."""

    def __init__(self, class_names: Sequence[str]) -> None:
        """`class_names`: so that `type 1` and `type 2` stay two reasons."""
        self._class_names = class_names
        self._groups: dict[tuple[object, ...], _Group] = {}

    def add(self, text: str, *, verdict: Verdict) -> None:
        """One image got `verdict` for this reason."""
        words, numbers = _NUMBER.split(text), _NUMBER.findall(text)
        named = tuple(name for name in self._class_names if name in text)
        group = self._groups.setdefault((verdict, *words, named), _Group(verdict, words, numbers))
        group.add(numbers)

    def most_common(self, most: int) -> tuple[Reason, ...]:
        """The most frequent first; those equally frequent in the order of their words."""
        reasons = (Reason(group.verdict, group.text, group.images) for group in self._groups.values())
        return tuple(sorted(reasons, key=lambda one: (-one.images, one.text))[:most])


class _Group:
    """Reasons that differ in their numbers only; each number with its lowest and highest value, as written."""

    def __init__(self, verdict: Verdict, words: list[str], numbers: list[str]) -> None:
        self.verdict = verdict
        self.images = 0
        self._words, self._lows, self._highs = words, numbers, numbers

    def add(self, numbers: list[str]) -> None:
        self.images += 1
        self._lows = [min(pair, key=float) for pair in zip(self._lows, numbers, strict=True)]
        self._highs = [max(pair, key=float) for pair in zip(self._highs, numbers, strict=True)]

    @property
    def text(self) -> str:
        ranges = [
            low if low == high else f"{low} to {high}"
            for low, high in zip(self._lows, self._highs, strict=True)
        ]
        return "".join(part for pair in zip(self._words, [*ranges, ""], strict=True) for part in pair)
