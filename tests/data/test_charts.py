"""Charts: round ticks, bars that stand where they should, and markup that a hostile name cannot break."""

from xml.etree import ElementTree

import pytest

from data.charts import Frame, Series, lines, nice, ticks


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        pytest.param(0.0, 1.0, False, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], id="a share"),
        pytest.param(-3.0, 9.0, False, [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0], id="below zero"),
        pytest.param(0.0, 0.0, False, [0.0], id="nothing"),
        pytest.param(0.0, 3.0, True, [0.0, 1.0, 2.0, 3.0], id="few things"),
        pytest.param(0.0, 300.0, True, [0.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0], id="many things"),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, whole: bool, expected: list[float]) -> None:
    assert ticks(low, high, whole=whole) == pytest.approx(expected)


def test_a_range_is_widened_to_round_numbers() -> None:
    assert nice(0.03, 0.97) == pytest.approx((0.0, 1.0))
    assert nice(5.0, 5.0) == pytest.approx((5.0, 6.0))


def test_lines_without_a_finite_point_are_no_chart() -> None:
    assert lines([], x_label="x", y_label="y", title="t") is None
    nothing = Series("a", ((0.0, float("nan")),))
    assert lines([nothing], x_label="x", y_label="y", title="t") is None


@pytest.mark.parametrize(
    ("value", "top", "height"),
    [pytest.param(1.0, 14.0, 104.0, id="up"), pytest.param(-0.5, 118.0, 52.0, id="down")],
)
def test_a_bar_goes_from_zero_to_its_value(value: float, top: float, height: float) -> None:
    # From y = 14 (value 1) to y = 222 (value -1), zero at 118; from x = 46 to 506, half a pixel free at either end.
    bar = ElementTree.fromstring(Frame((0.0, 2.0), (-1.0, 1.0), "", "").bar(1.0, 2.0, value, style="a"))
    assert [float(bar.attrib[name]) for name in ("x", "width", "y", "height")] == [276.5, 229.0, top, height]


def test_names_cannot_leave_their_place() -> None:
    bad = '</title><script>"'
    frame = Frame((0.0, 1.0), (0.0, 1.0), bad, bad, x_text=lambda _: bad, x_ticks=[0.5])
    chart = frame.draw([frame.bar(0, 1, 1, style="a", title=bad), frame.upright(0.5, bad)], title=bad)
    assert "<script" not in chart
    # Title, aria-label, axis twice, tick, bar's title, threshold: each is there, as text.
    root = ElementTree.fromstring(chart)
    assert [one.text for one in root.iter()].count(bad) == 6
    assert root.attrib["aria-label"] == bad
