"""Recipes: what a TOML file may say, what it is told when it says something else, and what its rules then are."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.classes import ClassMap
from model.contract import Contract, Decision
from model.recipe import Recipe, RecipeError, default_recipe, read_recipe
from model.recipe_check import find_contradictions
from model.rules import Rules
from model.zones import Zone

CLASSES = ClassMap.from_names(["background", "scratch", "pit"])

# Plain values: beartype may not draw lots inside a strategy.
_size = st.floats(1e-6, 1e6)
_rules = st.fixed_dictionaries(
    {},
    optional={
        "ignore_below_area_px": _size,
        "ng_length_mm": _size,
        "ng_count": st.integers(1, 10**6),
        "review_below_confidence": st.floats(0.001, 1),
    },
)
_triangle = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=3)
_zones = st.lists(st.fixed_dictionaries({"polygon": _triangle, "units": st.just("share")}), max_size=2)
_recipes = st.fixed_dictionaries(
    {
        "name": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
        "mm_per_px": st.floats(1e-4, 10),
        "default": _rules,
        "classes": st.dictionaries(st.sampled_from(["crack", "Löcher", 'a "b"', "c.d", "1 2"]), _rules),
        "regions_of_interest": _zones,
        "exclusion_zones": _zones,
    }
)


def read(tmp_path: Path, text: str, *, class_map: ClassMap | None = CLASSES) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path, class_map=class_map)


@given(_recipes)
def test_toml_gives_back_the_same_recipe(
    tmp_path_factory: pytest.TempPathFactory, said: dict[str, Any]
) -> None:
    recipe = Recipe.model_validate(said)
    path = tmp_path_factory.mktemp("recipes") / "one.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    again = read_recipe(path, class_map=None)
    assert again == recipe
    assert again.digest() == recipe.digest()


def test_a_mark_that_windows_editors_put_in_front_is_no_error(tmp_path: Path) -> None:
    assert read(tmp_path, '\ufeffname = "line 3"').name == "line 3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("name = ", "recipe.toml: no TOML", id="no TOML"),
        pytest.param("", "name is missing", id="no name"),
        pytest.param(
            'name = "a"\nmm_per_pix = 1', "unknown key mm_per_pix; did you mean mm_per_px", id="key"
        ),
        pytest.param('name = "a"\ncolour = 1', "unknown key colour; known: classes, default", id="far key"),
        pytest.param(
            'name = "a"\n[classes.pit]\nng_lenght_px = 1',
            r"unknown key classes.pit.ng_lenght_px; did you mean ng_length_px",
            id="limit",
        ),
        pytest.param(
            'name = "a"\n[[exclusion_zones]]\nunit = "px"',
            r"unknown key exclusion_zones.0.unit; did you mean units",
            id="key of a zone",
        ),
        pytest.param(
            'name = "a"\n[classes.scrtch]', "unknown class scrtch; did you mean scratch", id="unknown class"
        ),
        pytest.param(
            'name = "a"\n[classes.background]',
            "unknown class background; known: scratch, pit",
            id="no defect",
        ),
        pytest.param(
            'name = "a"\n[default]\nng_area_mm2 = 1\n[classes.pit]\nng_length_mm = 1',
            "default.ng_area_mm2, classes.pit.ng_length_mm in mm without a scale; give mm_per_px",
            id="mm without a scale",
        ),
        pytest.param('name = "a"\nmm_per_px = 0', "mm_per_px is 0: .*greater than 0", id="no scale"),
        pytest.param('name = "a"\n[default]\nng_count = "3"', "ng_count is '3'.*integer", id="text"),
        pytest.param('name = "a"\n[default]\nng_area_px = nan', "ng_area_px is nan", id="NaN"),
        pytest.param(
            'name = "a"\n[default]\nreview_below_confidence = 60', "less than or equal to 1", id="percent"
        ),
        pytest.param(
            'name = "a"\nmm_per_px = 1\n[default]\nng_area_px = 3\nng_area_mm2 = 3',
            "ng_area_px and ng_area_mm2 limit the same; give one",
            id="the same limit twice",
        ),
        pytest.param(
            'name = "a"\n[default]\nnever_ng = true\nng_count = 3',
            "never_ng = true beside",
            id="never and NG",
        ),
    ],
)
def test_what_a_recipe_cannot_say_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read(tmp_path, text)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as told:
        read(tmp_path, "colour = 1\n[default]\nng_count = 0")
    assert [line.split(": ")[1] for line in str(told.value).splitlines()] == [
        "name is missing",
        "default.ng_count is 0",
        "unknown key colour; known",
    ]


def test_a_class_keeps_the_defaults_of_the_kinds_it_says_nothing_of() -> None:
    recipe = Recipe(
        name="a",
        default=Rules(ignore_below_area_px=4, ng_area_px=9, review_below_confidence=0.5),
        classes={"scratch": Rules(ng_length_px=20), "pit": Rules(never_ng=True)},
    )
    assert recipe.rules_for("scratch").given() == {
        "ignore_below_area_px": 4,
        "ng_length_px": 20,
        "review_below_confidence": 0.5,
    }
    assert recipe.rules_for("pit").limits("ng", mm_per_px=None) == ()
    assert recipe.rules_for("dent") == recipe.default


def test_the_digest_follows_what_is_said_and_not_how(tmp_path: Path) -> None:
    first = read(tmp_path, 'name = "a"\n[default]\nng_area_px = 9\nng_count = 3')
    second = read(tmp_path, 'name = "a"\n# mine\n[default]\nng_count = 3\nng_area_px = 9.0\n[classes.pit]')
    third = read(tmp_path, 'name = "a"\n[default]\nng_area_px = 10\nng_count = 3')
    assert first.digest() == second.digest() != third.digest()
    assert re.fullmatch("[0-9a-f]{64}", first.digest())


def test_the_default_recipe_means_the_smallest_area_of_the_model(
    color_contract: Callable[..., Contract], tmp_path: Path
) -> None:
    contract = color_contract(decision=Decision(weights=(1, 1, 1), min_area_px=12))
    recipe = default_recipe(contract)
    assert recipe.mm_per_px is None
    for name in ("scratch", "pit"):
        assert recipe.rules_for(name).given() == {"ignore_below_area_px": 12, "ng_area_px": 12}
    assert read(tmp_path, recipe.to_toml(), class_map=contract.classes) == recipe
    assert find_contradictions(recipe, contract=contract) == []


def test_each_commented_line_of_the_default_recipe_is_valid_once_it_is_uncommented(
    color_contract: Callable[..., Contract],
) -> None:
    text = default_recipe(color_contract()).to_toml()
    keys = [tomllib.loads(line) for line in re.findall(r"^# (\w+ = .*)$", text, re.MULTILINE)]
    limits = [key for key in keys if not key.keys() & {"mm_per_px", "polygon", "units"}]
    # All 17 rules but the two that are said.
    assert len(limits) == 15
    for key in limits:
        Recipe.model_validate({"name": "a", "mm_per_px": 0.1, "default": key})
    zone = {name: value for key in keys for name, value in key.items() if name in ("polygon", "units")}
    Zone.model_validate(zone)


def test_a_scale_given_beside_the_file_replaces_its_own_and_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    for said in ("", "mm_per_px = 2.0\n"):
        path.write_text(f'name = "a"\n{said}default.ng_length_mm = 3.0\n')
        assert read_recipe(path, class_map=CLASSES, mm_per_px=0.5).mm_per_px == 0.5
