"""`segnet recipe`: what it writes, what it says, and when its exit code says stop."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.recipe import app
from model.artifact import open_artifact
from model.recipe import RecipeError, default_recipe, read_recipe


@pytest.fixture
def model(repository: Path) -> Path:
    """A model with the classes scratch and pit."""
    return repository / "tests" / "promises" / "format_1.onnx"


def segnet_recipe(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_new_recipe_is_the_default_and_passes_the_check(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "new.toml"
    assert segnet_recipe("new", path, "--model", model).exit_code == 0
    contract = open_artifact(model).contract
    assert read_recipe(path, class_map=contract.classes) == default_recipe(contract)
    checked = segnet_recipe("check", path, "--model", model)
    assert checked.exit_code == 0
    assert checked.output.splitlines()[0] == "scratch, pit: ignored below 1 px area; NG from 1 px area"
    assert checked.output.splitlines()[-1] == "fit for inspection"


def test_new_replaces_no_recipe_unless_told_to(tmp_path: Path, model: Path) -> None:
    path = write(tmp_path, "mine")
    with pytest.raises(RecipeError, match="exists; give another name, or --overwrite"):
        segnet_recipe("new", path, "--model", model)
    assert path.read_text() == "mine"
    segnet_recipe("new", path, "--model", model, "--overwrite")
    assert path.read_text().startswith("# The rules")


def test_a_contradiction_stops(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "a"\n[classes.pit]\nignore_below_area_px = 30\nng_area_px = 20\n')
    result = segnet_recipe("check", path)
    assert result.exit_code == 1
    assert "error pit: NG from 20 px area, but ignored below 30 px" in result.output
    assert "not fit for inspection: 1 error\n" in result.output


def test_a_warning_does_not_stop(tmp_path: Path, model: Path) -> None:
    path = write(tmp_path, 'name = "a"\n[classes.pit]\nnever_ng = true\n')
    result = segnet_recipe("check", path, "--model", model)
    assert result.exit_code == 0
    assert "warning pit: can never make a part NG" in result.output


def test_classes_are_only_known_with_a_model(tmp_path: Path, model: Path) -> None:
    path = write(tmp_path, 'name = "a"\n[classes.pitt]\nng_count = 2\n')
    assert segnet_recipe("check", path).exit_code == 0
    with pytest.raises(RecipeError, match="unknown class pitt; did you mean pit"):
        segnet_recipe("check", path, "--model", model)
