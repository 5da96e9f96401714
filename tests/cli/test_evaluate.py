"""`segnet evaluate` and `segnet calibrate` on a stored model file: what they print is what they write."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from cli import calibrate, evaluate
from data.classes import ClassMap
from data.images import encode_png
from data.masks import encode_labels
from model.artifact import open_artifact
from model.predictor import Predictor
from training.calibrate import CalibrationError

CLASSES = ClassMap.from_names(["background", "scratch", "pit"])


@pytest.fixture
def model(repository: Path, tmp_path: Path) -> Path:
    """Red pixels are scratches, blue ones pits."""
    return Path(shutil.copy(repository / "tests" / "promises" / "format_1.onnx", tmp_path / "model.onnx"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """In val and test each: two parts with a red scratch and a good one; in test another one's scratch is grey."""
    folder = tmp_path / "parts"
    for split, hidden in (("val", 0), ("test", 1)):
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(3 + hidden):
            image, truth = np.full((64, 64, 3), 128, np.uint8), np.zeros((64, 64), np.uint8)
            if number:
                truth[20:40, 20:50] = 1
            if number in (1, 2):
                image[20:40, 20:50] = (255, 0, 0)
            name = f"{split}{number}.png"
            (folder / "images" / split / name).write_bytes(encode_png(image))
            (folder / "masks" / split / name).write_bytes(encode_labels(truth, CLASSES))
    (folder / "classes.txt").write_text(CLASSES.to_text(), encoding="utf-8")
    return folder


def segnet(command: Callable[..., None], *arguments: object) -> Result:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_scores_are_printed_and_written(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = segnet(evaluate.command, model, "--data", data, "--out", out, "--device", "cpu")
    assert result.exit_code == 0
    assert "4 (3 NG, 1 OK)" in result.stdout
    assert "33.3%" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines() if "report:" not in line) <= 80
    scores = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert scores["escape_rate"] == pytest.approx(1 / 3)
    assert (out / "report.html").is_file()
    assert (out / "images.csv").read_text(encoding="utf-8").splitlines()[4].startswith("test3,escape,")


def test_the_report_shows_the_run_and_the_choice_that_lie_beside_the_model(model: Path, data: Path) -> None:
    row = {"epoch": 1, "train": {"loss": 1.0}, "val": {"loss": 1.0, "mean_iou": 0.5, "mean_defect_iou": 0.5}}
    model.with_name("log.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    segnet(calibrate.command, model, "--data", data)
    segnet(evaluate.command, model, "--data", data, "--out", model.parent)
    page = (model.parent / "report.html").read_text(encoding="utf-8")
    assert "How it was learnt" in page
    assert "Decision chosen on val" in page


def test_a_calibrated_file_holds_the_decision_and_the_scores_it_gives(model: Path, data: Path) -> None:
    before = open_artifact(model).contract
    result = segnet(calibrate.command, model, "--data", data, "--max-escape-rate", "0.2")
    assert result.exit_code == 0
    assert "escape target 20.0%" in result.stdout
    assert "weight of scratch" in result.stdout
    after = open_artifact(model).contract
    assert after.decision != before.decision
    assert (after.scores["val"]["escape_rate"], after.scores["val"]["overkill_rate"]) == (0.0, 0.0)
    assert list(after.scores) == ["val"]
    chosen = json.loads(model.with_name("calibration.json").read_text(encoding="utf-8"))["decision"]
    assert tuple(chosen["weights"]) == after.decision.weights
    assert Predictor.open(model, device="cpu").check_golden() == 1.0


def test_a_decision_is_not_chosen_on_test_and_the_file_stays(model: Path, data: Path) -> None:
    contents = model.read_bytes()
    with pytest.raises(CalibrationError, match="worthless"):
        segnet(calibrate.command, model, "--data", data, "--split", "test")
    assert model.read_bytes() == contents
