"""Charts of the model's report as inline SVG, in the frame of `data.charts`."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from data.charts import Frame, Series, percent, plain, round_step
from training.metrics import ReliabilityBin


def score_histogram(
    ok_scores: Sequence[float], ng_scores: Sequence[float], *, threshold: float, bins: int = 36
) -> Markup | None:
    """OK images upwards, NG images downwards, and the bar between the verdicts; None without an image."""
    if not ok_scores and not ng_scores:
        return None
    everything = [*ok_scores, *ng_scores, threshold]
    # Bins start at the threshold, so that none holds images of both verdicts.
    step = round_step((max(everything) - min(everything) + 1.0) / bins)
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
    marks = []
    for at, (good, bad) in enumerate(zip(ok, ng, strict=True)):
        start = low + at * step
        for value, style in ((good, "bar-ok"), (-bad, "bar-ng")):
            if value:
                marks.append(frame.bar(start, start + step, value, style=style))
    marks.append(frame.across(0.0, style="axis"))
    marks.append(frame.upright(threshold, "called NG →"))
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
        marks.append(frame.across(target, style="threshold"))
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
