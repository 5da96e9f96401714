"""A rate's change and its interval, in SVG for a table's cell: to the right is better, whichever way the rate runs."""

from collections.abc import Iterable
from typing import Final

from markupsafe import Markup, escape

from data.charts import nice
from training.gate.finding import Finding

_WIDTH: Final = 300
_HEIGHT: Final = 24
_RIM: Final = 8


def reach_of(findings: Iterable[Finding]) -> float:
    """How far the common axis of these findings goes to both sides, as a share: a round number that holds them all."""
    bounds = [abs(bound) for one in findings for bound in (one.low, one.high) if bound is not None]
    return nice(0.0, max(bounds, default=0.0) or 0.01)[1]


def interval(finding: Finding, *, reach: float) -> Markup | None:
    """The interval of a rate's change with the change itself, over its margin; None for what has no interval."""
    if finding.low is None or finding.high is None or finding.gain is None:
        return None
    ends = (-finding.high, -finding.low) if finding.lower_is_better else (finding.low, finding.high)

    def x(gain: float) -> float:
        return _WIDTH / 2 + gain / reach * (_WIDTH / 2 - _RIM)

    margin, middle = min(finding.margin or 0.0, reach), _HEIGHT / 2
    low, high = (x(end) for end in ends)
    band = f'x="{x(-margin):.1f}" width="{x(margin) - x(-margin):.1f}" height="{_HEIGHT}"'
    return Markup(
        f'<svg class="interval {finding.verdict}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        f"<title>{escape(finding.text)}</title>"
        f'<rect class="margin" y="0" {band}/>'
        f'<line class="zero" x1="{_WIDTH / 2}" x2="{_WIDTH / 2}" y1="0" y2="{_HEIGHT}"/>'
        f'<line class="span" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
        f'<line class="span" x1="{low:.1f}" x2="{low:.1f}" y1="{middle - 4}" y2="{middle + 4}"/>'
        f'<line class="span" x1="{high:.1f}" x2="{high:.1f}" y1="{middle - 4}" y2="{middle + 4}"/>'
        f'<circle class="change" cx="{x(finding.gain):.1f}" cy="{middle}" r="4.5"/></svg>'
    )
