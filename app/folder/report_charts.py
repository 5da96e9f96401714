"""Charts of the inspection's report as inline SVG, in the frame of `data.charts`."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from app.folder.tally import bin_edge
from data.charts import Frame, plain
from data.classes import ClassMap

_MOST_BARS: Final = 8
_GREY: Final = (128, 128, 128)
_AXIS_PX: Final = 460
_LETTER_PX: Final = 7
"""About how wide the axis is, and a letter below it."""
_HEADROOM: Final = 1.12
_MAP_WIDTH: Final = 520
_MAP_AT_MOST_PX: Final = (430.0, 300.0)
"""The longest the drawn part may be, to the right and down; beside it stands the key."""
_KEY_STEPS: Final = 5
_KEY_PX: Final = 18


def pareto(defects: Mapping[int, int], *, class_map: ClassMap) -> Markup | None:
    """Defects by class id as bars, the commonest first, and their running share; None without a defect."""
    ranked = sorted((-count, class_id) for class_id, count in defects.items() if count)
    if not ranked:
        return None
    bars = [(class_map.names[at], -minus, class_map.classes[at].color) for minus, at in ranked[:_MOST_BARS]]
    rest = ranked[_MOST_BARS:]
    if rest:
        bars.append((f"{len(rest)} others", -sum(minus for minus, _ in rest), _GREY))
    total = sum(count for _, count, _ in bars)
    letters = int(_AXIS_PX / len(bars) / _LETTER_PX)
    frame = Frame(
        (0.0, float(len(bars))),
        (0.0, total * _HEADROOM),
        "",
        "defects, and their running share",
        x_text=lambda at: _shortened(bars[int(at)][0], letters=letters),
        x_ticks=[at + 0.5 for at in range(len(bars))],
        counts=True,
    )
    marks = [
        frame.bar(
            at + 0.14,
            at + 0.86,
            count,
            style="bar",
            fill=f"rgb({','.join(map(str, color))})",
            title=f"{name}: {count:,} of {total:,}",
        )
        for at, (name, count, color) in enumerate(bars)
    ]
    points = [(at + 0.5, so_far) for at, so_far in enumerate(accumulate(count for _, count, _ in bars))]
    marks.append(f'<path class="line-a" d="{frame.path(points)}"/>')
    for x, y in points:
        marks.append(f'<circle class="line-a dot" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3.5"/>')
        marks.append(
            f'<text class="tick mid" x="{frame.x(x):.1f}" y="{frame.y(y) - 8:.1f}">{y / total:.0%}</text>'
        )
    return frame.draw(marks, title="Pareto chart: defects by class, the commonest first")


def size_histogram(sizes: Mapping[int, int], *, unit: str) -> Markup | None:
    """Defects by `app.folder.tally.size_bin` of their area in `unit`; None without a defect."""
    if not sizes:
        return None
    first, end = min(sizes), max(sizes) + 1
    # Where bins are many, only powers of ten are labelled.
    step = 1 if end - first <= 9 else 3
    frame = Frame(
        (float(first), float(end)),
        (0.0, max(sizes.values()) * _HEADROOM),
        f"area of a defect, {unit}",
        "defects",
        x_text=lambda number: plain(bin_edge(round(number))),
        x_ticks=[number for number in range(first, end + 1) if number % step == 0],
        counts=True,
    )
    marks = [
        frame.bar(
            number,
            number + 1,
            count,
            style="bar-a",
            title=f"{plain(bin_edge(number))} to {plain(bin_edge(number + 1))} {unit}: {count:,}",
        )
        for number, count in sorted(sizes.items())
    ]
    return frame.draw(marks, title=f"Defects by their area in {unit}")


def heat_map(places: NDArray[np.int64], *, frame_wh: tuple[int, int]) -> Markup | None:
    """Counts [rows, columns] over the part, in a frame of the images' shape; None where all are zero.

    `frame_wh`: width and height in any unit; only their ratio counts, held between 1:3 and 3:1.
    """
    most = int(places.max())
    if not most:
        return None
    ratio = min(3.0, max(1 / 3, frame_wh[0] / frame_wh[1]))
    width = min(_MAP_AT_MOST_PX[0], _MAP_AT_MOST_PX[1] * ratio)
    height = width / ratio
    left = (_MAP_AT_MOST_PX[0] - width) / 2
    title = "Where on the part defects lie"
    marks = [
        f'<svg viewBox="0 0 {_MAP_WIDTH} {height + 2:.1f}" role="img" aria-label="{title}"><title>{title}</title>',
        f'<rect class="part" x="{left:.1f}" y="1" width="{width:.1f}" height="{height:.1f}"/>',
    ]
    rows, columns = places.shape
    size = f'width="{width / columns:.2f}" height="{height / rows:.2f}"'
    for row, column in np.argwhere(places):
        x, y, count = left + column * width / columns, 1 + row * height / rows, int(places[row, column])
        marks.append(
            f'<rect class="heat" x="{x:.2f}" y="{y:.2f}" {size} fill-opacity="{_opacity(count / most):.2f}">'
            f"<title>defects: {count:,}</title></rect>"
        )
    return Markup("".join([*marks, *_key(most, x=_MAP_AT_MOST_PX[0] + 20), "</svg>"]))


def _key(most: int, *, x: float) -> list[str]:
    """The scale of the heat map, most at the top."""
    marks = [f'<text class="tick" x="{x}" y="12">defects</text>']
    steps = [round(1 + (most - 1) * step / (_KEY_STEPS - 1)) for step in range(_KEY_STEPS)]
    for at, count in enumerate(sorted(set(steps), reverse=True)):
        y = 22 + at * (_KEY_PX + 2)
        marks.append(
            f'<rect class="heat" x="{x}" y="{y}" width="{_KEY_PX}" height="{_KEY_PX}" '
            f'fill-opacity="{_opacity(count / most):.2f}"/>'
            f'<text class="tick" x="{x + _KEY_PX + 7}" y="{y + 13}">{count:,}</text>'
        )
    return marks


def _opacity(share: float) -> float:
    """Of a share of the most, above 0 to 1: the least is still seen."""
    return 0.15 + 0.85 * share


def _shortened(text: str, *, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
