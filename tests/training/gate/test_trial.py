"""Both models judge the golden images as they would serve, once, and the candidate's file keeps what came out."""

from pathlib import Path

import numpy as np
import pytest

from data.classes import ClassMap
from data.golden import freeze, open_golden
from data.images import encode_png
from data.layout import LabelledImage, write_layout
from data.manifest import Manifest
from data.sources import open_dataset
from model.artifact import open_artifact
from training.gate import trial
from training.gate.report import read_gate
from training.gate.settings import GateSettings
from training.gate.trial import GATE_FILES, try_on_golden
from training.gate.verdict import GateResult

from ...app.models import blind_model, sighted_model

CLASSES = ClassMap.from_names(("background", "dent", "pit", "scratch"))
SCRATCH, PIT = 3, 2
_COLORS = {SCRATCH: (255, 0, 0), PIT: (0, 0, 255)}
SETTINGS = GateSettings(min_ng_parts=12, min_ok_parts=6, max_latency_ratio=1000.0, resamples=1000)


def part(name: str, *, kind: int = 0) -> LabelledImage:
    """A grey part with a square of a kind; the models see it without its corners."""
    image = np.full((40, 48, 3), 128, np.uint8)
    labels = np.zeros((40, 48), np.uint8)
    if kind:
        image[10:22, 10:26] = _COLORS[kind]
        labels[10:22, 10:26] = kind
    return LabelledImage(name, "test", encode_png(image), labels, "a test")


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Six parts each of OK, scratch and pit; its classes are in another order than the models', and one more."""
    folder = tmp_path_factory.mktemp("golden")
    kinds = {"ok": 0, "scratch": SCRATCH, "pit": PIT}
    parts = [part(f"{name}{number}", kind=kind) for name, kind in kinds.items() for number in range(6)]
    write_layout(parts, class_map=CLASSES, destination=folder / "parts")
    freeze(open_dataset(folder / "parts"), split="test", destination=folder / "golden")
    return open_golden(folder / "golden")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Model files: `sighted` finds scratches and pits, `blind` finds pits alone."""
    made = {"sighted": sighted_model(), "blind": blind_model()}
    for name, content in made.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
    return {name: tmp_path / f"{name}.onnx" for name in made}


def held(
    candidate: Path, *, champion: Path, golden: Manifest, settings: GateSettings = SETTINGS
) -> GateResult:
    return try_on_golden(
        candidate,
        champion=champion,
        labels=("v7", "v8"),
        golden=golden,
        settings=settings,
        folder=candidate.parent / "job",
    )


def test_who_finds_more_is_promoted_and_who_finds_less_is_refused(
    golden: Manifest, files: dict[str, Path]
) -> None:
    result = held(files["sighted"], champion=files["blind"], golden=golden)
    assert result.verdict == "promote"
    assert (result.champion["escape_rate"], result.candidate["escape_rate"]) == (0.5, 0.0)
    assert result.numbers["recall of scratch"] == {
        "verdict": "better", "champion": 0.0, "candidate": 1.0,
        "low": pytest.approx(0.5, abs=0.5), "high": 1.0,
    }  # fmt: skip
    for name in GATE_FILES:
        (files["sighted"].parent / "job" / name).unlink()
    assert held(files["blind"], champion=files["sighted"], golden=golden).verdict == "refuse"


def test_the_candidates_file_keeps_its_scores_and_the_champions_is_left_alone(
    golden: Manifest, files: dict[str, Path]
) -> None:
    before = files["blind"].read_bytes()
    result = held(files["sighted"], champion=files["blind"], golden=golden)
    scores = open_artifact(files["sighted"]).contract.scores
    assert scores.keys() == {"test", "golden"}
    assert scores["golden"] == result.candidate
    assert files["blind"].read_bytes() == before
    # Cut off before gate.json, it comes to the same file: the store knows it again.
    stamped = files["sighted"].read_bytes()
    (files["sighted"].parent / "job" / "gate.json").unlink()
    held(files["sighted"], champion=files["blind"], golden=golden)
    assert files["sighted"].read_bytes() == stamped


def test_the_report_calls_both_by_their_names_in_the_store(golden: Manifest, files: dict[str, Path]) -> None:
    result = held(files["sighted"], champion=files["blind"], golden=golden)
    folder = files["sighted"].parent / "job"
    assert {path.name for path in folder.iterdir()} == set(GATE_FILES)
    assert read_gate(folder / "gate.json") == result
    page = (folder / "gate.html").read_text(encoding="utf-8")
    assert "Promote v8" in page
    assert "champion v7" in page


def test_it_is_held_once_unless_the_gate_asks_for_something_else(
    golden: Manifest, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = held(files["sighted"], champion=files["blind"], golden=golden)
    with monkeypatch.context() as patched:
        patched.setattr(trial, "evaluate", lambda *_, **__: pytest.fail("judged again"))
        assert held(files["sighted"], champion=files["blind"], golden=golden) == first
    stricter = SETTINGS.model_copy(update={"min_ok_parts": 7})
    again = held(files["sighted"], champion=files["blind"], golden=golden, settings=stricter)
    assert again.verdict == "needs a person"
    assert "the golden set holds 6 OK parts; a verdict without a person needs 7" in again.reasons


def test_a_class_that_only_a_model_knows_is_a_blind_spot(golden: Manifest, files: dict[str, Path]) -> None:
    pits_alone = [sample for sample in golden.samples if not sample.name.startswith("scratch")]
    fewer = Manifest(
        root=golden.root,
        class_map=ClassMap(classes=CLASSES.classes[:SCRATCH]),
        samples=tuple(pits_alone),
    )
    settings = SETTINGS.model_copy(update={"min_ng_parts": 6})
    result = held(files["sighted"], champion=files["blind"], golden=fewer, settings=settings)
    assert result.verdict == "needs a person"
    assert "the golden set shows no scratch: nobody can say how well it is found" in result.reasons
