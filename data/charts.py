"""Charts of the reports as inline SVG: no script, no font, no network; colours come from the page's style.

Every function returns safe markup: numbers are formatted here and every text is escaped.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from markupsafe import Markup, escape

_WIDTH: Final = 520
_HEIGHT: Final = 260
_LEFT: Final = 46
_RIGHT: Final = 14
_TOP: Final = 14
_BOTTOM: Final = 38


@dataclass(frozen=True)
class Series:
    """One line: points in data units, in drawing order, with the style class that gives its colour."""

    name: str
    points: tuple[tuple[float, float], ...]
    style: str = "line-a"


@dataclass(frozen=True)
class Frame:
    """A plot area with linear axes from `x_range` and `y_range` to pixels of the view box.

    `x_ticks`: where the x axis is labelled; None for round numbers. `counts`: y is a number of things, so
    that nothing between whole numbers is labelled.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_label: str
    y_label: str
    x_text: Callable[[float], str] = field(default=lambda value: plain(value))
    y_text: Callable[[float], str] = field(default=lambda value: plain(value))
    x_ticks: Sequence[float] | None = None
    counts: bool = False

    def x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low or 1.0) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return _HEIGHT - _BOTTOM - (value - low) / (high - low or 1.0) * (_HEIGHT - _TOP - _BOTTOM)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """Data points as an SVG path."""
        return "M" + "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)

    def across(self, value: float, *, style: str) -> str:
        """A line at one y from side to side."""
        at = self.y(value)
        return f'<line class="{style}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'

    def bar(
        self, start: float, end: float, value: float, *, style: str, title: str = "", fill: str | None = None
    ) -> str:
        """A bar between two x from zero to a value, up or down; `title` shows under the pointer."""
        zero, tip = self.y(0.0), self.y(value)
        left, width = self.x(start) + 0.5, self.x(end) - self.x(start) - 1
        size = f'width="{width:.1f}" height="{abs(zero - tip):.1f}"'
        paint = f' fill="{escape(fill)}"' if fill else ""
        told = f"<title>{escape(title)}</title>" if title else ""
        return f'<rect class="{style}" x="{left:.1f}" y="{min(zero, tip):.1f}" {size}{paint}>{told}</rect>'

    def upright(self, value: float, text: str) -> str:
        """A threshold at one x, with its name beside the top."""
        at = self.x(value)
        side, anchor = (-6, " end") if at > _WIDTH * 0.8 else (6, "")
        return (
            f'<line class="threshold" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
            f'<text class="label{anchor}" x="{at + side:.1f}" y="{_TOP + 12}">{escape(text)}</text>'
        )

    def draw(self, marks: Sequence[str], *, title: str) -> Markup:
        """Axes, grid and labels around marks that are already safe."""
        base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        parts = [
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
        ]
        for tick in ticks(*self.y_range, whole=self.counts):
            parts.append(self.across(tick, style="grid"))
            text = escape(self.y_text(tick))
            parts.append(f'<text class="tick end" x="{_LEFT - 7}" y="{self.y(tick) + 3.5:.1f}">{text}</text>')
        for tick in ticks(*self.x_range) if self.x_ticks is None else self.x_ticks:
            at = self.x(tick)
            parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{base}" y2="{base + 4}"/>')
            parts.append(
                f'<text class="tick mid" x="{at:.1f}" y="{base + 16}">{escape(self.x_text(tick))}</text>'
            )
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{base}" y2="{base}"/>')
        parts.append(f'<text class="label mid" x="{(_LEFT + right) / 2:.0f}" y="{_HEIGHT - 5}">')
        parts.append(f"{escape(self.x_label)}</text>")
        parts.append(f'<text class="label" x="{_LEFT}" y="{_TOP - 3}">{escape(self.y_label)}</text>')
        return Markup("".join([*parts, *marks, "</svg>"]))


def lines(series: Sequence[Series], *, x_label: str, y_label: str, title: str) -> Markup | None:
    """Lines over a common axis, the last point of each marked; None when no line has a finite point."""
    series = [
        Series(one.name, points, one.style)
        for one in series
        if (points := tuple(point for point in one.points if all(map(math.isfinite, point))))
    ]
    if not series:
        return None
    values_x = [x for one in series for x, _ in one.points]
    values_y = [y for one in series for _, y in one.points]
    frame = Frame(
        nice(min(values_x), max(values_x)), nice(min(0.0, *values_y), max(values_y)), x_label, y_label
    )
    marks = []
    for one in series:
        marks.append(f'<path class="{one.style}" d="{frame.path(one.points)}"/>')
        x, y = one.points[-1]
        marks.append(f'<circle class="{one.style} dot" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3"/>')
    return frame.draw(marks, title=title)


def ticks(low: float, high: float, *, most: int = 6, whole: bool = False) -> list[float]:
    """At most about `most` round numbers from low to high; `whole`: none between whole numbers."""
    step = round_step((high - low) / most)
    step = max(1.0, step) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [round(at * step, 10) for at in range(first, math.floor(high / step + 1e-9) + 1)]


def plain(value: float) -> str:
    """A tick's number without tails."""
    return f"{value:,.6g}"


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{value * 100:.3g} %"


def nice(low: float, high: float) -> tuple[float, float]:
    """The range widened to round numbers."""
    if high <= low:
        high = low + 1.0
    step = round_step((high - low) / 6)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def round_step(raw: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(raw or 1.0))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * (1 - 1e-9))
