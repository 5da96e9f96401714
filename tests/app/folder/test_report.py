"""The report shows what the rows say, needs nothing from outside, and no file name can break out of it."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from app.folder.inspection import Inspection
from app.folder.report import write_report
from app.folder.report_charts import heat_map, pareto, size_histogram
from app.folder.tables import Facts
from app.folder.tally import take_tally
from data.classes import ClassMap

HOSTILE = '</script><script>alert("1")</script>&.jpg'


class Page(HTMLParser):
    """The page taken apart as a browser does: tags, the text of each script, links; tags must close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data

    @property
    def parts(self) -> list[dict[str, Any]]:
        """What the gallery draws."""
        return json.loads(self.scripts[0])


class Written:
    """The report of some rows, as text and taken apart."""

    def __init__(self, out: Path, rows: tuple[Inspection, ...], **more: Any) -> None:
        path = write_report(out, rows, **{"mm_per_px": 0.1, "title": "lot <7>", **more})
        assert path == out / "report.html"
        self.text = path.read_text(encoding="utf-8")
        self.page = Page(self.text)


@pytest.fixture
def given(class_map: ClassMap, facts: Facts) -> dict[str, Any]:
    return {"class_map": class_map, "facts": facts}


def test_yield_and_counts_stand_at_the_top(
    tmp_path: Path, inspections: tuple[Inspection, ...], given: dict[str, Any]
) -> None:
    text = Written(tmp_path, inspections, **given).text
    assert "Of 4 judged parts 2 are OK, 1 NG and 1 REVIEW. Not judged: 1." in text
    for shown in ("<b>50.0<small>", "2 OK of 4 judged", "25.0% of the judged", "<b>4</b>", "of 5 images"):
        assert shown in text, shown
    for shown in ("lot &lt;7&gt;", "tiles, version 7", "0.1 mm per px", "2026-03-04 12:45:00 UTC"):
        assert shown in text, shown


def test_reasons_and_unread_images_are_listed(
    tmp_path: Path, inspections: tuple[Inspection, ...], given: dict[str, Any]
) -> None:
    text = Written(tmp_path, inspections, **given).text
    assert "2 crack up to 10 mm long, NG from 2 mm</td>" in text
    assert '<td class="text">e.jpg</td><td class="text">a JPEG that is cut off; copy it again</td>' in text


def test_the_gallery_holds_what_is_not_ok(
    tmp_path: Path, inspections: tuple[Inspection, ...], given: dict[str, Any]
) -> None:
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails/b.jpg").write_bytes(b"jpeg")
    rows = (
        *inspections[:1],
        replace(inspections[1], thumbnail="thumbnails/b.jpg", overlay="overlays/ä #1?.jpg"),
        *inspections[2:3],
        replace(inspections[3], thumbnail="thumbnails/gone.jpg"),
        *inspections[4:],
    )
    ng, review = Written(tmp_path, rows, **given).page.parts
    assert (ng["key"], ng["verdict"], ng["classes"]) == ("b.jpg", "NG", [1, 2])
    assert base64.b64decode(ng["jpeg"]) == b"jpeg"
    assert ng["link"] == "./overlays/%C3%A4%20%231%3F.jpg"
    assert (review["key"], review["jpeg"], review["link"]) == ("d.jpg", None, None)


def test_no_file_name_can_break_out_of_the_page(
    tmp_path: Path, inspections: tuple[Inspection, ...], given: dict[str, Any]
) -> None:
    plain = Written(tmp_path, inspections, **given).page
    rows = tuple(
        replace(one, key=HOSTILE, reasons=(HOSTILE,), overlay="javascript:alert(1)") for one in inspections
    )
    hostile = Written(tmp_path, rows, **given, title=HOSTILE).page
    assert hostile.parts[0]["key"] == hostile.parts[0]["reasons"] == HOSTILE
    assert hostile.parts[0]["link"] == "./javascript%3Aalert%281%29"
    # Two scripts, as without: the data and the one that draws it.
    assert [tag for tag, _ in hostile.tags].count("script") == 2
    assert hostile.scripts[1] == plain.scripts[1]


def test_a_hostile_class_name_is_text(
    tmp_path: Path, inspections: tuple[Inspection, ...], facts: Facts
) -> None:
    class_map = ClassMap.from_names(("background", HOSTILE, "dent", "stain"))
    page = Written(tmp_path, inspections, class_map=class_map, facts=facts).page
    assert [tag for tag, _ in page.tags].count("script") == 2


def test_the_page_needs_nothing_from_outside(
    tmp_path: Path, inspections: tuple[Inspection, ...], given: dict[str, Any]
) -> None:
    written = Written(tmp_path, inspections, **given)
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in written.page.tags}
    assert not any("src" in attributes for _, attributes in written.page.tags)
    assert not re.search(r"https?://|@import|url\(", written.text)
    assert "default-src 'none'" in written.text


def test_charts_are_well_formed_and_say_their_numbers(
    tmp_path: Path, inspections: tuple[Inspection, ...], given: dict[str, Any]
) -> None:
    charts = re.findall(r"<svg.*?</svg>", Written(tmp_path, inspections, **given).text, re.DOTALL)
    titles = [[title.text for title in ElementTree.fromstring(chart).iter("title")][1:] for chart in charts]
    assert titles == [
        ["crack: 3 of 4", "dent: 1 of 4"],
        ["0.1 to 0.2 mm²: 2", "1 to 2 mm²: 1", "2 to 5 mm²: 1"],
        ["defects: 2", "defects: 1", "defects: 1"],
    ]


@pytest.mark.parametrize(
    "kept", [slice(0), slice(1), slice(4, None)], ids=["no image", "OK alone", "no verdict"]
)
def test_what_is_not_there_is_not_drawn(
    tmp_path: Path, inspections: tuple[Inspection, ...], given: dict[str, Any], kept: slice
) -> None:
    written = Written(tmp_path, inspections[kept], **given)
    assert "<svg" not in written.text
    assert written.page.scripts == []


def test_the_running_share_ends_at_all() -> None:
    class_map = ClassMap.from_names(("background", *(f"class {number}" for number in range(1, 12))))
    # 11 classes: eight bars, and the three rarest as one.
    chart = pareto({number: 12 - number for number in range(1, 12)}, class_map=class_map)
    assert chart is not None
    root = ElementTree.fromstring(chart)
    titles = [title.text for title in root.iter("title")][1:]
    assert titles[0] == "class 1: 11 of 66"
    assert titles[8] == "3 others: 6 of 66"
    shares = [text.text for text in root.iter("text") if (text.text or "").endswith("%")]
    assert (shares[0], shares[7], shares[8]) == ("17%", "91%", "100%")


def test_many_bins_are_labelled_at_powers_of_ten() -> None:
    chart = size_histogram({0: 4, 11: 1}, unit="px")
    assert chart is not None
    ticks = [one.text for one in ElementTree.fromstring(chart).iter("text") if one.get("class") == "tick mid"]
    assert ticks == ["1", "10", "100", "1,000", "10,000"]


@pytest.mark.parametrize(
    ("frame_wh", "expected"),
    [
        pytest.param((320, 160), (430.0, 215.0), id="wide"),
        pytest.param((100, 200), (150.0, 300.0), id="tall"),
        pytest.param((30000, 40), (430.0, 143.3), id="a strip"),
    ],
)
def test_the_heat_map_has_the_images_shape(
    inspections: tuple[Inspection, ...],
    class_map: ClassMap,
    frame_wh: tuple[int, int],
    expected: tuple[float, float],
) -> None:
    chart = heat_map(take_tally(inspections, class_map=class_map).places, frame_wh=frame_wh)
    assert chart is not None
    part, *cells = ElementTree.fromstring(chart).iter("rect")
    assert (float(part.attrib["width"]), float(part.attrib["height"])) == expected
    # The first pixel's cell holds two of the most, two; the last ends where the part ends.
    assert (cells[0].get("fill-opacity"), cells[1].get("fill-opacity")) == ("1.00", "0.57")
    corner = [float(cells[2].attrib[name]) for name in ("x", "width")]
    assert sum(corner) == pytest.approx(float(part.attrib["x"]) + expected[0], abs=0.1)
