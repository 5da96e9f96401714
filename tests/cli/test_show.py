"""`segnet show`: all that a model promises, for people and for programs."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli import show
from model.artifact import ArtifactError, open_artifact
from model.store import ModelStore


@pytest.fixture
def model(repository: Path) -> Path:
    """A model of three classes."""
    return repository / "tests" / "promises" / "format_1.onnx"


def segnet_show(*arguments: object) -> str:
    app = typer.Typer()
    app.command()(show.command)
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], catch_exceptions=False, env={"COLUMNS": "200"}
    )
    assert result.exit_code == 0
    return result.stdout


def test_people_see_classes_decision_scores_and_origin(model: Path) -> None:
    shown = segnet_show(model)
    for part in ("colours", "scratch", "defect", "mean_iou", "0.875", "12", "classes.pit.iou", "by hand"):
        assert part in shown
    assert open_artifact(model).digest in shown


def test_programs_get_the_contract_without_the_pictures(model: Path) -> None:
    told = json.loads(segnet_show(model, "--json"))
    artifact = open_artifact(model)
    assert told["digest"] == artifact.digest
    assert told["bytes"] == model.stat().st_size
    assert told["scores"] == artifact.contract.scores
    assert "golden" not in told


def test_a_version_of_a_store_is_shown_as_its_file_is(model: Path, tmp_path: Path) -> None:
    ModelStore(tmp_path / "store").add(model, by="a test")
    assert segnet_show("store://v1", "--store", tmp_path / "store", "--json") == segnet_show(model, "--json")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.onnx"
    path.write_text("not a model")
    with pytest.raises(ArtifactError, match="no ONNX file"):
        segnet_show(path)
