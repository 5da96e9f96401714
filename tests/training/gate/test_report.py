"""The gate's page says what the gate said, shows what changed both ways, and needs nothing from outside."""

import base64
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from data.classes import ClassMap, ClassSpec
from data.images import encode_png, read_image
from data.manifest import Manifest, Sample
from data.masks import encode_labels
from model.contract import Contract, Decision, GoldenSample, Parity, Provenance
from model.predictor import Prediction
from training.evaluate import evaluate
from training.gate.cases import Changes, draw_changes
from training.gate.charts import interval, reach_of
from training.gate.finding import Finding
from training.gate.report import Judged, read_gate, write_gate_report
from training.gate.settings import GateSettings
from training.gate.verdict import GateError, GateResult, judge

CLASSES = ClassMap(
    classes=(
        ClassSpec(name="background", color=(0, 0, 0), role="background"),
        ClassSpec(name="scratch <deep>", color=(255, 0, 0), role="defect"),
        ClassSpec(name="pit", color=(0, 0, 255), role="defect"),
    )
)
#: Image by image: the true class in the middle, what champion and candidate say there, and its part.
IMAGES = {
    "caught": (1, 1, 1, "a"),
    "escaped": (1, 1, 0, "b"),
    "renamed": (2, 2, 1, "c"),
    "alarmed": (0, 0, 1, "d"),
    "alarmed_again": (0, 0, 1, "d"),
    "rescued": (2, 0, 2, "e"),
    "calmed": (0, 1, 0, "f"),
    "passed": (0, 0, 0, "g"),
}
SIZE_HW = (40, 48)


def square(label: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    labels = np.zeros(size_hw, np.uint8)
    labels[10:20, 10:20] = label
    return labels


class Told:
    """A model that says what the table says; it knows images by their grey value."""

    def __init__(self, column: int) -> None:
        self._labels = [images[column] for images in IMAGES.values()]
        self.contract = Contract(
            name="tiles & more",
            created_at=datetime(2026, 2, 3, tzinfo=UTC),
            classes=CLASSES,
            stride=8,
            tile_px=64,
            halo_px=8,
            decision=Decision.neutral(3),
            provenance=Provenance(
                run="r", git="g", config_sha256="c", data_sha256="da7a" * 16, seed=0, versions={}, machine="m"
            ),
            parity=Parity(images=1, pixels=1, label_agreement=1.0, max_probability_error=0.0),
            golden=GoldenSample(image_png=b"", labels_png=b""),
        )

    def predict(self, image: np.ndarray, *, want_probabilities: bool = False) -> Prediction:
        labels = square(self._labels[int(image[0, 0, 0]) // 10], image.shape[:2])
        probabilities = np.where(np.arange(3)[:, None, None] == labels, np.float32(0.8), np.float32(0.1))
        return Prediction(labels, np.full(labels.shape, 204, np.uint8), probabilities.astype(np.float32))


def golden_set(root: Path, size_hw: tuple[int, int] = SIZE_HW) -> Manifest:
    samples = []
    for number, (name, (truth, _, _, part)) in enumerate(IMAGES.items()):
        image, mask = root / f"{name}.png", root / f"{name}-mask.png"
        image.write_bytes(encode_png(np.full((*size_hw, 3), 10 * number, np.uint8)))
        mask.write_bytes(encode_labels(square(truth, size_hw), CLASSES))
        samples.append(Sample(name, image, mask, "test", group=part))
    return Manifest(root=root, class_map=CLASSES, samples=tuple(samples))


def both(manifest: Manifest) -> tuple[Judged, Judged]:
    """Champion v2 and candidate v3, judged."""
    champion, candidate = (
        Judged(label=label, model=model, digest=digit * 64, evaluation=evaluate(model, manifest))
        for label, model, digit in (("v2", Told(1), "a"), ("v3", Told(2), "b"))
    )
    return champion, candidate


def changes(root: Path, *, size_hw: tuple[int, int] = SIZE_HW, per_kind: int = 6) -> tuple[Changes, Changes]:
    """What got worse and better between the two."""
    manifest = golden_set(root, size_hw)
    champion, candidate = both(manifest)
    return draw_changes(
        manifest,
        models=(champion.model, candidate.model),
        evaluations=(champion.evaluation, candidate.evaluation),
        per_kind=per_kind,
    )


def result_of(champion: Judged, candidate: Judged) -> GateResult:
    return judge(
        champion.evaluation,
        candidate.evaluation,
        champion_contract=champion.model.contract,
        candidate_contract=candidate.model.contract,
        latency_ms=(10.0, 11.0),
        settings=GateSettings(min_ok_parts=1),
    )


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, GateResult]:
    manifest = golden_set(tmp_path)
    champion, candidate = both(manifest)
    result = result_of(champion, candidate)
    out = write_gate_report(
        tmp_path / "new" / "job", result, champion=champion, candidate=candidate, manifest=manifest
    )
    return out, result


@pytest.fixture
def page(written: tuple[Path, GateResult]) -> str:
    return written[0].read_text(encoding="utf-8")


def test_the_page_needs_no_network_and_runs_no_script(page: str) -> None:
    assert not re.search(r"https?://|@import|url\(|<script|<link|<iframe", page)
    sources = re.findall(r'src="([^"]*)', page)
    assert len(sources) == 4 * 5
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)


def test_names_are_escaped(page: str) -> None:
    assert "recall of scratch &lt;deep&gt;" in page
    assert "<deep>" not in page
    assert "tiles &amp; more" in page


def test_the_verdict_stands_on_top_and_every_reason_below_it(
    written: tuple[Path, GateResult], page: str
) -> None:
    _, result = written
    assert result.verdict == "refuse"
    assert "<h1>Refuse v3</h1>" in page
    assert 'class="lede">Out of bounds: mean IoU' in page
    assert page.count("<li>") == len(result.reasons) == 2
    for reason in result.reasons:
        assert f"<li>{reason[0].upper()}{reason[1:]}.</li>" in page


@pytest.mark.parametrize(
    ("verdict", "title"),
    [("promote", "Promote v3"), ("refuse", "Refuse v3"), ("needs a person", "v3 needs a person")],
)
def test_each_verdict_has_its_title(tmp_path: Path, verdict: str, title: str) -> None:
    manifest = golden_set(tmp_path)
    champion, candidate = both(manifest)
    result = result_of(champion, candidate).model_copy(update={"verdict": verdict})
    out = write_gate_report(tmp_path, result, champion=champion, candidate=candidate, manifest=manifest)
    assert f"<h1>{title}</h1>" in out.read_text(encoding="utf-8")


def test_numbers_of_both_models_stand_side_by_side(page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL))
    # Four NG images: the champion misses `rescued`, the candidate `escaped`. Four OK ones: one alarm, then two.
    assert re.search(r"escape rate 25\.0.{0,9}% 25\.0.{0,9}% \+0\.0 ", text)
    assert re.search(r"overkill rate 25\.0.{0,9}% 50\.0.{0,9}% \+25\.0 ", text)
    assert re.search(r"Overkill 50\.0.{0,9}% v2: 25\.0 %", text)
    assert "time per image 10.0 ms 11.0 ms 1.10 times as long, up to 1.25 times are allowed holds" in text
    # Overkill is on the parts d and f: one worse, one better, of three with an OK image.
    assert "1 / 1 / 3" in text
    for shown in ("a" * 64, "b" * 64, "da7a" * 16, "min_ng_parts 30", "min_ok_parts 1"):
        assert shown in text, shown


def test_who_was_right_is_counted_image_by_image(page: str) -> None:
    tables = [
        [int(cell) for cell in re.findall(r"<td[^>]*>(\d+)</td>", table)]
        for table in re.findall(r'<table class="fields">.*?</table>', page, re.DOTALL)
    ]
    # Champion right: candidate right, wrong; champion wrong: candidate right, wrong.
    assert tables == [[2, 1, 1, 0], [1, 2, 1, 0]]


def test_what_golden_images_cannot_show_is_said(page: str) -> None:
    assert "The golden set holds 4 NG parts; a verdict without a person needs 30." in page


def test_images_that_changed_are_shown_both_ways_the_gravest_first_and_each_part_once(tmp_path: Path) -> None:
    worse, better = changes(tmp_path)
    assert worse.title == "Got worse: 4 of 8 images"
    assert [case.name for case in worse.cases] == ["escaped", "alarmed", "renamed"]
    assert better.title == "Got better: 2 of 8 images"
    assert [case.name for case in better.cases] == ["rescued", "calmed"]
    assert (
        worse.cases[0].caption == "caught → escape · scratch <deep>: 1 of 1 found → 0 of 1 · IoU 1.00 → 0.00"
    )
    assert worse.cases[1].caption == "passed → overkill · false alarms 0 → 1"
    assert worse.cases[2].caption == "caught · pit: 1 of 1 found → 0 of 1 · IoU 1.00 → 0.00"


def test_no_more_cases_are_drawn_than_asked_for_and_none_is_said(tmp_path: Path) -> None:
    worse, _ = changes(tmp_path, per_kind=1)
    assert (worse.title, len(worse.cases)) == ("Got worse: 4 of 8 images", 1)
    manifest = golden_set(tmp_path)
    champion, _ = both(manifest)
    same, _ = draw_changes(
        manifest,
        models=(champion.model, champion.model),
        evaluations=(champion.evaluation, champion.evaluation),
    )
    assert (same.title, same.note, same.cases) == ("Got worse: 0 of 8 images", "None.", ())


def test_each_answer_is_drawn_over_the_image(tmp_path: Path) -> None:
    worse, _ = changes(tmp_path)

    def redness(picture: str) -> int:
        pixels = read_image(base64.b64decode(picture.partition(",")[2])).astype(int)
        return int((pixels[..., 0] - pixels[..., 1] > 40).sum())

    escaped = worse.cases[0]
    assert redness(escaped.image) == redness(escaped.candidate) == 0
    assert redness(escaped.truth) == redness(escaped.champion) > 1000


def test_a_large_image_is_shown_around_what_the_losing_model_got_wrong(tmp_path: Path) -> None:
    # The other model and the truth show nothing there, so that all of the image would be seen: 420 x 294.
    worse, better = changes(tmp_path, size_hw=(700, 1000))
    for case, name in ((worse.cases[1], "alarmed"), (better.cases[1], "calmed")):
        assert case.name == name
        assert read_image(base64.b64decode(case.truth.partition(",")[2])).shape[:2] == (420, 420)


@pytest.mark.parametrize(("iou", "changed"), [(0.97, 0), (0.94, 1)])
def test_a_mask_that_hardly_moved_has_not_changed(tmp_path: Path, iou: float, changed: int) -> None:
    manifest = golden_set(tmp_path)
    champion, _ = both(manifest)
    first, *rest = champion.evaluation.rows
    moved = champion.evaluation.model_copy(
        update={"rows": (first.model_copy(update={"mean_defect_iou": iou}), *rest)}
    )
    worse, _ = draw_changes(
        manifest, models=(champion.model, champion.model), evaluations=(champion.evaluation, moved)
    )
    assert worse.title == f"Got worse: {changed} of 8 images"


def test_the_result_stands_beside_the_page_and_is_read_again(written: tuple[Path, GateResult]) -> None:
    out, result = written
    assert sorted(path.name for path in out.parent.iterdir()) == ["gate.html", "gate.json"]
    assert read_gate(out.parent / "gate.json") == result


def test_where_the_gate_has_not_spoken_there_is_nothing_to_read(tmp_path: Path) -> None:
    assert read_gate(tmp_path / "gate.json") is None


def test_a_result_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "gate.json").write_text('{"verdict": "perhaps"}')
    with pytest.raises(GateError, match=r"gate\.json: no result of the gate; remove it"):
        read_gate(tmp_path / "gate.json")


def rate(*, lower_is_better: bool) -> Finding:
    """A rate that rises by 0.1, at least by 0.05 and at most by 0.2."""
    return Finding(
        what="r <1>",
        verdict="worse",
        text="t <1>",
        champion=0.3,
        candidate=0.4,
        low=0.05,
        high=0.2,
        margin=0.02,
        lower_is_better=lower_is_better,
    )


@pytest.mark.parametrize(("lower_is_better", "side"), [(True, -1), (False, 1)], ids=["escape", "recall"])
def test_better_is_to_the_right_whichever_way_the_rate_runs(lower_is_better: bool, side: int) -> None:
    chart = interval(rate(lower_is_better=lower_is_better), reach=0.2)
    assert chart is not None
    root = ElementTree.fromstring(chart)
    (change,) = root.iter("circle")
    span = [
        float(line.attrib[end])
        for line in root.iter("line")
        for end in ("x1", "x2")
        if line.get("class") == "span"
    ]
    # 300 wide, 150 in the middle, 142 for the reach of 0.2 to either side.
    assert float(change.attrib["cx"]) == pytest.approx(150 + side * 71)
    assert sorted({round(x, 1) for x in span}) == pytest.approx(sorted([150 + side * 35.5, 150 + side * 142]))


def test_charts_share_an_axis_of_a_round_number_and_guards_have_none() -> None:
    assert reach_of([rate(lower_is_better=True)]) == pytest.approx(0.2)
    assert reach_of([]) > 0
    guard = Finding(what="mean IoU", verdict="same", text="t", unit="score", champion=0.5, candidate=0.6)
    assert interval(guard, reach=0.2) is None
