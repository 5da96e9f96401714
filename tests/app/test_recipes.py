"""Recipes of a service: found, named, and refused where they cannot have been meant."""

from pathlib import Path

import pytest

from app.errors import NotFound
from app.queries import PredictionQuery
from app.recipes import RecipeBook, read_recipes
from model.artifact import open_artifact
from model.contract import Contract
from model.recipe import RecipeError, default_recipe


@pytest.fixture
def contract(repository: Path) -> Contract:
    """Of a model that finds scratch and pit."""
    return open_artifact(repository / "tests" / "promises" / "format_1.onnx").contract


def write(folder: Path, name: str, text: str = "") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(f'name = "{name}"\n{text}')
    return path


def test_without_files_the_models_own_recipe_judges(contract: Contract) -> None:
    book = read_recipes(default=None, folder=None)
    assert book.for_model(contract) == (default_recipe(contract),)
    assert book.choose(PredictionQuery(), contract=contract) == default_recipe(contract)


def test_a_default_that_lies_in_the_folder_too_is_one_recipe(contract: Contract, tmp_path: Path) -> None:
    write(tmp_path, "a")
    book = read_recipes(default=write(tmp_path, "b"), folder=tmp_path)
    assert [recipe.name for recipe in book.for_model(contract)] == ["b", "a"]
    assert book.choose(PredictionQuery(), contract=contract).name == "b"
    assert book.choose(PredictionQuery(recipe="a"), contract=contract).name == "a"
    book.check(contract)


def test_a_scale_in_the_query_replaces_the_recipes_own(contract: Contract, tmp_path: Path) -> None:
    write(tmp_path, "a", "mm_per_px = 0.5")
    book = read_recipes(default=None, folder=tmp_path)
    own, asked = (
        book.choose(PredictionQuery(recipe="a", mm_per_px=scale), contract=contract) for scale in (None, 0.1)
    )
    assert (own.mm_per_px, asked.mm_per_px) == (0.5, 0.1)
    assert own.digest() != asked.digest()


def test_an_unknown_name_lists_those_there_are(contract: Contract) -> None:
    with pytest.raises(NotFound, match="no recipe 'a'; there are colours"):
        RecipeBook().choose(PredictionQuery(recipe="a"), contract=contract)


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        (
            "a",
            "[classes.rust]\nng_area_px = 5",
            "recipe 'a': the model finds no 'rust'; it finds pit, scratch",
        ),
        ("a", "[default]\nnever_ng = true", "recipe 'a': every part is OK"),
        ("colours", "", "two recipes are called 'colours'"),
    ],
    ids=["unknown class", "contradiction", "name taken"],
)
def test_what_cannot_have_been_meant_is_refused_without_a_path(
    contract: Contract, tmp_path: Path, name: str, text: str, fault: str
) -> None:
    write(tmp_path, name, text)
    with pytest.raises(RecipeError, match=fault) as caught:
        read_recipes(default=None, folder=tmp_path).check(contract)
    assert str(tmp_path) not in str(caught.value)


def test_a_file_that_is_no_recipe_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a", "mm_pre_px = 1")
    with pytest.raises(RecipeError, match=r"a\.toml: unknown key mm_pre_px; did you mean mm_per_px"):
        read_recipes(default=path, folder=None)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_recipes(default=None, folder=tmp_path / "nowhere")
