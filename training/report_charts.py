"""Charts of the report as inline SVG: no script, no font, no network; colours come from the page's style.

Every function returns safe markup: numbers are formatted here and every text is escaped.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from markupsafe import Markup, escape

from training.metrics import ReliabilityBin

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
    """A plot area with linear axes from `x_range` and `y_range` to pixels of the view box."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_label: str
    y_label: str
    x_text: Callable[[float], str] = field(default=lambda value: plain(value))
    y_text: Callable[[float], str] = field(default=lambda value: plain(value))

    def x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low or 1.0) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return _HEIGHT - _BOTTOM - (value - low) / (high - low or 1.0) * (_HEIGHT - _TOP - _BOTTOM)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """Data points as an SVG path."""
        return "M" + "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)

    def draw(self, marks: Sequence[str], *, title: str) -> Markup:
        """Axes, grid and labels around marks that are already safe."""
        base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        parts = [
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
        ]
        for tick in ticks(*self.y_range):
            at = self.y(tick)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
            text = escape(self.y_text(tick))
            parts.append(f'<text class="tick end" x="{_LEFT - 7}" y="{at + 3.5:.1f}">{text}</text>')
        for tick in ticks(*self.x_range):
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
        _nice(min(values_x), max(values_x)), _nice(min(0.0, *values_y), max(values_y)), x_label, y_label
    )
    marks = []
    for one in series:
        marks.append(f'<path class="{one.style}" d="{frame.path(one.points)}"/>')
        x, y = one.points[-1]
        marks.append(f'<circle class="{one.style} dot" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3"/>')
    return frame.draw(marks, title=title)


def score_histogram(
    ok_scores: Sequence[float], ng_scores: Sequence[float], *, threshold: float, bins: int = 36
) -> Markup | None:
    """OK images upwards, NG images downwards, and the bar between the verdicts; None without an image."""
    if not ok_scores and not ng_scores:
        return None
    everything = [*ok_scores, *ng_scores, threshold]
    # Bins start at the threshold, so that none holds images of both verdicts.
    step = _round_step((max(everything) - min(everything) + 1.0) / bins)
    first = math.floor((min(everything) - threshold) / step) - 1
    bins = math.floor((max(everything) - threshold) / step) + 2 - first
    low, high = threshold + first * step, threshold + (first + bins) * step

    def counted(scores: Sequence[float]) -> list[int]:
        counts = [0] * bins
        for score in scores:
            counts[math.floor((score - threshold) / step) - first] += 1
        return counts

    ok, ng = counted(ok_scores), counted(ng_scores)
    # Headroom, so that no bar reaches the words above it.
    tallest = 1.2 * max(*ok, *ng, 1)
    frame = Frame(
        (low, high),
        (-tallest, tallest),
        "image score (log-odds of the surest region)",
        "images: OK above the line, NG below",
        y_text=lambda value: plain(abs(value)),
    )
    zero, wide = frame.y(0.0), frame.x(low + step) - frame.x(low) - 1
    marks = []
    for at, (good, bad) in enumerate(zip(ok, ng, strict=True)):
        x = frame.x(low + at * step) + 0.5
        for count, style, top in ((good, "ok", frame.y(good)), (bad, "ng", zero)):
            if count:
                size = f'width="{wide:.1f}" height="{zero - frame.y(count):.1f}"'
                marks.append(f'<rect class="bar-{style}" x="{x:.1f}" y="{top:.1f}" {size}/>')
    bar = frame.x(threshold)
    marks.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{zero:.1f}" y2="{zero:.1f}"/>')
    marks.append(_upright(bar, "called NG →", end=bar > _WIDTH * 0.8))
    return frame.draw(marks, title="Image scores of OK and NG parts, with the decision threshold")


def trade_off(
    curves: Sequence[Series], *, chosen: tuple[float, float] | None, target: float | None
) -> Markup | None:
    """Overkill rate (x) against escape rate (y) over all thresholds; `chosen` is the model's own point."""
    if not any(one.points for one in curves):
        return None
    frame = Frame(
        (0.0, 1.0), (0.0, 1.0), "overkill: OK parts called NG", "escape: NG parts called OK", percent, percent
    )
    marks = []
    if target is not None:
        at = frame.y(target)
        marks.append(
            f'<line class="threshold" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
    marks += [f'<path class="{one.style}" d="{frame.path(one.points)}"/>' for one in curves if one.points]
    if chosen is not None:
        x, y = frame.x(chosen[0]), frame.y(chosen[1])
        marks.append(f'<circle class="chosen" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
    return frame.draw(marks, title="Escape rate against overkill rate at every threshold")


def reliability(bins: Sequence[ReliabilityBin]) -> Markup | None:
    """Stated confidence against accuracy, with the diagonal where they agree; None without a bin."""
    if not bins:
        return None
    frame = Frame((0.0, 1.0), (0.0, 1.0), "confidence the model states", "share of pixels right")
    marks = [f'<path class="diagonal" d="{frame.path(((0.0, 0.0), (1.0, 1.0)))}"/>']
    path = frame.path([(one.confidence, one.accuracy) for one in bins])
    marks.append(f'<path class="line-a" d="{path}"/>')
    for one in bins:
        x, y, radius = frame.x(one.confidence), frame.y(one.accuracy), 2.5 + 6.0 * math.sqrt(one.share)
        said = f"{one.share:.2%} of pixels: stated {one.confidence:.3f}, right {one.accuracy:.3f}"
        marks.append(
            f'<circle class="line-a dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            f"<title>{said}</title></circle>"
        )
    return frame.draw(
        marks, title="Reliability: stated confidence against the share of pixels that are right"
    )


def ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """At most about `most` round numbers from low to high."""
    step = _round_step((high - low) / most)
    first = math.ceil(low / step - 1e-9)
    return [round(at * step, 10) for at in range(first, math.floor(high / step + 1e-9) + 1)]


def plain(value: float) -> str:
    """A tick's number without tails."""
    return f"{value:,.6g}"


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{value * 100:.3g} %"


def _nice(low: float, high: float) -> tuple[float, float]:
    """The range widened to round numbers."""
    if high <= low:
        high = low + 1.0
    step = _round_step((high - low) / 6)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def _round_step(raw: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(raw or 1.0))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * (1 - 1e-9))


def _upright(at: float, text: str, *, end: bool) -> str:
    """A threshold line with its name beside the top."""
    side, anchor = (-6, " end") if end else (6, "")
    return (
        f'<line class="threshold" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<text class="label{anchor}" x="{at + side:.1f}" y="{_TOP + 12}">{escape(text)}</text>'
    )
