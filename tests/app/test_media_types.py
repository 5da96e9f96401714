"""Which form of an answer an Accept header gets."""

import pytest

from app.media_types import choose

OFFERED = ("application/json", "image/png", "image/jpeg")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("application/json", "application/json"),
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/jpeg, image/png", "image/png"),
        ("image/png;q=0.5, image/jpeg", "image/jpeg"),
        ("image/jpeg;q=0.5,image/png;q=0.4", "image/jpeg"),
        ("image/*", "image/png"),
        ("image/*, image/png;q=0", "image/jpeg"),
        ("*/*", "application/json"),
        ("*/*;q=0.1, image/jpeg", "image/jpeg"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("text/html", "application/json"),
        ("", "application/json"),
        ("image/png;q=high", "image/png"),
        (";;,,", "application/json"),
    ],
)
def test_the_form_that_ranks_highest_is_sent(accept: str, chosen: str) -> None:
    assert choose(accept, offered=OFFERED) == chosen
