"""The frame of every report: what it is given is on it, as text, and it forbids itself the network."""

from pathlib import Path

import jinja2
import pytest

from data.page import render_page

GIVEN = {
    "title": "<b>",
    "subtitle": "s",
    "lede": "l",
    "notes": ["few images"],
    "tiles": [
        {"name": "share", "value": 0.125, "is_share": True, "detail": ""},
        {"name": "count", "value": 12345, "is_share": False, "detail": ""},
        {"name": "score", "value": 0.5, "is_share": False, "detail": ""},
        {"name": "unknown", "value": None, "is_share": True, "detail": ""},
    ],
    "provenance": [("model", "a & b")],
}


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "own.html.j2"
    path.write_text('{% extends "page.html.j2" %}{% block content %}<p>own</p>{% endblock %}')
    return path


def test_what_is_given_is_on_the_page_as_text(template: Path) -> None:
    page = "".join(render_page(template, **GIVEN))
    for shown in ("<h1>&lt;b&gt;</h1>", "Few images.", "<dd>a &amp; b</dd>", "<p>own</p>"):
        assert shown in page, shown
    for shown in ("<b>12.5<small>", "<b>12,345</b>", "<b>0.500</b>", "<b>—</b>"):
        assert shown in page, shown


def test_the_page_forbids_itself_scripts_and_the_network(template: Path) -> None:
    page = "".join(render_page(template, **GIVEN))
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in page


def test_a_value_that_is_not_given_is_an_error(template: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="lede"):
        "".join(render_page(template, **{name: value for name, value in GIVEN.items() if name != "lede"}))
