"""Reasons that differ in their numbers only are one, told with the numbers' range."""

import pytest

from app.folder.reasons import Reason, ReasonCounter


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        pytest.param(
            ["crack 8.4 mm long, NG from 2 mm", "crack 10.1 mm long, NG from 2 mm"],
            {"crack 8.4 to 10.1 mm long, NG from 2 mm": 2},
            id="as numbers, not as text",
        ),
        pytest.param(["3 crack, NG from 3", "3 crack, NG from 3"], {"3 crack, NG from 3": 2}, id="the same"),
        pytest.param(
            ["type 1 4 px large", "type 2 4 px large", "type 1 6 px large"],
            {"type 1 4 to 6 px large": 2, "type 2 4 px large": 1},
            id="classes that differ in a number",
        ),
        pytest.param(
            ["a1 9 px large", "b2 9 px large"], {"a1 9 px large": 1, "b2 9 px large": 1}, id="in words"
        ),
        pytest.param(["1e-05 mm²", "2 mm²"], {"1e-05 to 2 mm²": 2}, id="with an exponent"),
    ],
)
def test_equal_words_are_one_reason(texts: list[str], told: dict[str, int]) -> None:
    counter = ReasonCounter(["background", "crack", "type 1", "type 2"])
    for text in texts:
        counter.add(text, verdict="NG")
    assert {one.text: one.images for one in counter.most_common(9)} == told


def test_the_most_frequent_come_first_and_each_verdict_counts_alone() -> None:
    counter = ReasonCounter([])
    for text, verdict in (("b", "NG"), ("a", "NG"), ("c", "REVIEW"), ("c", "REVIEW"), ("c", "NG")):
        counter.add(text, verdict=verdict)  # type: ignore[arg-type]
    assert counter.most_common(3) == (Reason("REVIEW", "c", 2), Reason("NG", "a", 1), Reason("NG", "b", 1))
