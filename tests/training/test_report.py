"""The report says what the evaluation says, needs nothing from outside, and survives whatever is missing."""

import base64
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from data.classes import ClassMap, ClassSpec
from data.images import encode_png, read_image
from data.manifest import Manifest, Sample
from data.masks import encode_labels
from model.contract import Contract, Decision, GoldenSample, Parity, Provenance
from training.calibration import Calibration, ImageScore, OperatingPoint
from training.evaluation import Evaluation, ImageRow
from training.metrics import ReliabilityBin
from training.report import render_report, verdict_in_words, write_report, write_results
from training.report_cases import draw_galleries
from training.report_charts import score_histogram
from training.report_curves import loss_series, margins, quality_series

CLASSES = ClassMap(
    classes=(
        ClassSpec(name="background", color=(0, 0, 0), role="background"),
        ClassSpec(name="scratch <deep> & wide", color=(255, 0, 0), role="defect"),
    )
)
LOG = [
    {"epoch": 1, "train": {"loss": 1.0}, "val": {"loss": 1.2, "mean_iou": 0.4, "mean_defect_iou": None}},
    {"epoch": 2, "train": {"loss": 0.5}, "val": {"loss": 0.7, "mean_iou": 0.6, "mean_defect_iou": 0.5}},
]


def row(
    name: str, *, is_ng: bool, called_ng: bool, margin: float | None, group: str | None = None
) -> ImageRow:
    """One image, with a true and a found region where that fits its verdict."""
    return ImageRow(
        name=name,
        group=group,
        is_ng=is_ng,
        called_ng=called_ng,
        margin=margin,
        regions=int(called_ng),
        true_regions=int(is_ng),
        missed_regions=int(is_ng and not called_ng),
        false_regions=int(called_ng and not is_ng),
        found_by_class={"scratch <deep> & wide": (int(called_ng), 1)} if is_ng else {},
        mean_defect_iou=(0.6 if called_ng else 0.0) if is_ng else None,
        pixels_by_class={},
    )


ROWS = (
    row("caught", is_ng=True, called_ng=True, margin=3.0),
    row("escaped", is_ng=True, called_ng=False, margin=-1.0),
    row("silent", is_ng=True, called_ng=False, margin=None),
    row("passed", is_ng=False, called_ng=False, margin=-5.0),
    row("alarmed", is_ng=False, called_ng=True, margin=0.5),
)


def contract() -> Contract:
    return Contract(
        name="tiles <1>",
        created_at=datetime(2026, 2, 3, tzinfo=UTC),
        classes=CLASSES,
        stride=8,
        tile_px=64,
        halo_px=8,
        decision=Decision(weights=(0.25, 1.0), min_area_px=9),
        provenance=Provenance(
            run="r1",
            git="abc",
            config_sha256="c0",
            data_sha256="d0",
            seed=3,
            versions={"torch": "2.14"},
            machine="m",
        ),
        parity=Parity(images=2, pixels=2000, label_agreement=1.0, max_probability_error=1e-5),
        golden=GoldenSample(image_png=b"", labels_png=b""),
    )


def evaluation(rows: Sequence[ImageRow] = ROWS, **scores: Any) -> Evaluation:
    """Scores by hand; those left out are unknown to the report, too."""
    told = {
        "images": len(rows),
        "escape_rate": 2 / 3,
        "overkill_rate": 0.5,
        "mean_iou": 0.7125,
        "ece": 0.0123,
    }
    told["classes"] = {"scratch <deep> & wide": {"iou": 0.345, "precision": None}}
    return Evaluation(
        split="test",
        scores={**told, **scores},
        rows=tuple(rows),
        confusion=((90, 10), (5, 15)),
        reliability=(ReliabilityBin(confidence=0.6, accuracy=0.5, share=0.1), ReliabilityBin(0.95, 0.9, 0.9)),
    )


def calibration() -> Calibration:
    point = OperatingPoint(
        threshold=-1.0, min_area_px=9, escape_rate=0.0, overkill_rate=0.25, mean_defect_iou=0.5
    )
    before = OperatingPoint(
        threshold=0.0, min_area_px=1, escape_rate=0.375, overkill_rate=None, mean_defect_iou=0.5
    )
    return Calibration(
        decision=Decision(weights=(0.25, 1.0), min_area_px=9),
        split="val",
        max_escape_rate=0.05,
        target_met=True,
        ng_images=8,
        ok_images=4,
        chosen=point,
        before=before,
        best_mean_defect_iou=0.6,
        curve=(point, point.model_copy(update={"escape_rate": 1.0, "overkill_rate": 0.0})),
        images=(ImageScore(name="a", is_ng=True, score=None),),
        notes=("8 NG images are few",),
    )


def rendered(**more: Any) -> str:
    return render_report(
        **{"contract": contract(), "digest": "f00d" * 16, "evaluation": evaluation(), **more}
    )


class _Tags(HTMLParser):
    """Every start tag with its attributes, and whether all closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def whole_page(tmp_path: Path) -> str:
    model, manifest = drawn_split(tmp_path)
    galleries = draw_galleries(model, manifest, evaluation=evaluation())
    return rendered(calibration=calibration(), log=LOG, galleries=galleries, config_text="lr = <0.1>")


class Flat:
    """A model that calls the middle of every image a scratch."""

    def predict(self, image: np.ndarray) -> "Flat":
        self.labels = np.zeros(image.shape[:2], np.uint8)
        self.labels[8:16, 8:16] = 1
        return self


def drawn_split(root: Path, *, size_hw: tuple[int, int] = (24, 32)) -> tuple[Flat, Manifest]:
    samples = []
    for one in ROWS:
        image, mask = root / f"{one.name}.png", root / f"{one.name}-mask.png"
        truth = np.zeros(size_hw, np.uint8)
        truth[-4:, -4:] = int(one.is_ng)
        image.write_bytes(encode_png(np.full((*size_hw, 3), 128, np.uint8)))
        mask.write_bytes(encode_labels(truth, CLASSES))
        samples.append(Sample(one.name, image, mask, "test"))
    return Flat(), Manifest(root=root, class_map=CLASSES, samples=tuple(samples))


def test_the_page_needs_no_network_and_runs_no_script(whole_page: str) -> None:
    tags = _Tags()
    tags.feed(whole_page)
    assert tags.open == []
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags.seen}
    sources = [attributes["src"] for _, attributes in tags.seen if "src" in attributes]
    assert sources
    assert all(str(source).startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"https?://|@import|url\(", whole_page)


def test_names_and_texts_are_escaped(whole_page: str) -> None:
    assert "scratch &lt;deep&gt; &amp; wide" in whole_page
    assert "<deep>" not in whole_page
    assert "lr = &lt;0.1&gt;" in whole_page


def test_the_numbers_of_the_evaluation_are_on_the_page(whole_page: str) -> None:
    for shown in (
        "66.7<small>",
        "50.0<small>",
        "0.713",
        "0.345",
        "2 of 3 NG called OK",
        "1 of 2 OK called NG",
        "0.0123",
    ):
        assert shown in whole_page, shown
    for shown in (
        "f00d" * 16,
        "torch 2.14",
        "background 0.25",
        "9 px",
        "from 37.5% to 0.0%",
        "from unknown to 25.0%",
    ):
        assert shown in whole_page, shown
    assert ">75.0<" in whole_page, "15 of 20 scratch pixels"


def test_notes_of_the_calibration_stand_at_the_top_as_sentences(whole_page: str) -> None:
    assert '<p class="note warn">8 NG images are few.</p>' in whole_page


def test_charts_are_well_formed_svg_without_nan(whole_page: str) -> None:
    charts = re.findall(r"<svg.*?</svg>", whole_page, re.DOTALL)
    assert len(charts) == 5
    for chart in charts:
        ElementTree.fromstring(chart)
        assert "nan" not in chart.lower()


def test_what_was_not_measured_is_a_dash_and_no_chart() -> None:
    page = render_report(
        contract=contract(),
        digest="f00d",
        evaluation=Evaluation(
            split="test",
            scores={"images": 0, "classes": {}},
            rows=(),
            confusion=((0, 0), (0, 0)),
            reliability=(),
        ),
    )
    assert "There was no image to judge it on." in page
    assert "<svg" not in page
    assert "How it was learnt" not in page


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        pytest.param(ROWS, "Of 3 bad images it let 2 pass; of 2 good ones it turned 1 away.", id="both"),
        pytest.param(ROWS[:1], "Of 1 bad images it let none pass. There was no good image", id="no OK"),
        pytest.param(ROWS[3:4], "Of 1 good ones it turned none away.", id="no NG"),
    ],
)
def test_the_verdict_is_one_sentence(rows: Sequence[ImageRow], said: str) -> None:
    assert verdict_in_words(rows).startswith(said)


def test_curves_come_from_the_log_and_skip_what_is_null() -> None:
    train, val = loss_series(LOG)
    assert (train.points, val.points) == (((1.0, 1.0), (2.0, 0.5)), ((1.0, 1.2), (2.0, 0.7)))
    mean, defect = quality_series(LOG)
    assert (len(mean.points), defect.points) == (2, ((2.0, 0.5),))
    assert loss_series([{"epoch": 1}]) == []


def test_an_image_that_never_fires_is_drawn_left_of_all_others() -> None:
    assert margins(ROWS, is_ng=True) == [3.0, -1.0, -6.0]
    assert margins(ROWS, is_ng=False) == [-5.0, 0.5]


def test_no_bar_of_the_histogram_spans_the_threshold() -> None:
    chart = score_histogram([-0.01, -7.3], [0.0, 12.9], threshold=0.0)
    assert chart is not None
    root = ElementTree.fromstring(chart)
    (line,) = (one for one in root if one.get("class") == "threshold")
    at = float(line.attrib["x1"])
    bars = [
        (float(one.attrib["x"]), float(one.attrib["width"]), one.attrib["class"]) for one in root.iter("rect")
    ]
    assert len(bars) == 4
    for x, width, style in bars:
        assert (x + width <= at + 0.1) == (style == "bar-ok")


def test_galleries_show_each_kind_of_mistake_once_per_part(tmp_path: Path) -> None:
    model, manifest = drawn_split(tmp_path)
    galleries = draw_galleries(model, manifest, evaluation=evaluation())
    shown = {gallery.title: [case.name for case in gallery.cases] for gallery in galleries}
    assert shown == {
        "Missed: NG called OK (2)": ["silent", "escaped"],
        "False alarms: OK called NG (1)": ["alarmed"],
        "Worst masks among the caught": ["caught"],
        "Best masks": ["caught"],
    }
    same_part = tuple(one.model_copy(update={"group": "tile 7"}) for one in ROWS)
    galleries = draw_galleries(model, manifest, evaluation=evaluation(same_part))
    assert [len(gallery.cases) for gallery in galleries] == [1, 1, 1, 1]


def test_a_large_image_is_shown_as_a_detail_around_the_mistake(tmp_path: Path) -> None:
    model, manifest = drawn_split(tmp_path, size_hw=(700, 1000))
    gallery, *_ = draw_galleries(model, manifest, evaluation=evaluation(), per_gallery=1)
    (case,) = gallery.cases
    assert "detail shown" in case.caption
    assert "1000 × 700 px" in case.caption  # noqa: RUF001
    picture = read_image(base64.b64decode(case.truth.partition(",")[2]))
    assert picture.shape[:2] == (420, 420)


def test_results_are_three_files_that_agree(tmp_path: Path) -> None:
    val = evaluation().model_copy(update={"split": "val"})
    write_results(
        tmp_path / "new" / "run", contract=contract(), digest="f00d", evaluation=evaluation(), others=[val]
    )
    folder = tmp_path / "new" / "run"
    assert sorted(path.name for path in folder.iterdir()) == ["images.csv", "metrics.json", "report.html"]
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["digest"], metrics["test"], metrics["val"]["images"]) == ("f00d", evaluation().scores, 5)
    assert (folder / "images.csv").read_text(encoding="utf-8").splitlines()[2].startswith("escaped,escape,")


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    out = write_report(tmp_path / "report.html", contract=contract(), digest="f00d", evaluation=evaluation())
    assert out.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
