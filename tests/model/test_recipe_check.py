"""What a recipe means in sentences, and the contradictions that are found in it."""

from collections.abc import Callable
from typing import Any

import pytest

from model.contract import Contract, Decision
from model.recipe import Recipe
from model.recipe_check import explain, find_contradictions
from model.rules import Rules
from model.zones import Zone

SQUARE = ((2, 1), (4, 1), (4, 3), (2, 3))


def test_a_recipe_is_explained_class_by_class(color_contract: Callable[..., Contract]) -> None:
    recipe = Recipe(
        name="a",
        mm_per_px=0.05,
        classes={
            "scratch": Rules(
                ignore_below_length_mm=0.5, ng_length_mm=2, ng_count=3, review_below_confidence=0.6
            ),
        },
        exclusion_zones=(Zone(polygon=SQUARE, units="px"),),
    )
    assert explain(recipe, contract=color_contract()) == [
        "scratch: ignored below 0.5 mm length; NG from 2 mm length or 3 of them; "
        "REVIEW, not NG, when the model is less than 60 % sure",
        "pit: NG from 1 of them",
        "one pixel is 0.05 mm wide",
        "zones: 0 to look at, 1 to leave out",
    ]


def test_without_a_model_the_default_is_explained_for_all_other_classes() -> None:
    recipe = Recipe(
        name="a",
        default=Rules(never_ng=True, review_area_px=30),
        classes={"pit": Rules(ng_total_area_px=7), "dent": Rules()},
    )
    assert explain(recipe, contract=None) == [
        "pit: NG from 7 px in total; REVIEW from 30 px area",
        "dent, every other class: REVIEW from 30 px area; never NG",
        "sizes in px: no mm_per_px",
    ]


@pytest.mark.parametrize(
    ("rules", "errors", "warnings"),
    [
        pytest.param({"ignore_below_area_px": 12, "ng_area_px": 12}, [], [], id="no gap is no contradiction"),
        pytest.param(
            {"ignore_below_area_px": 13, "ng_area_px": 12},
            ["NG from 12 px area, but ignored below 13"],
            [],
            id="NG",
        ),
        pytest.param(
            # At 0.1 mm per px, 0.5 mm² are 50 px.
            {"ignore_below_area_px": 51, "ng_area_mm2": 0.5},
            ["NG from 0.5 mm² area, but ignored below 51 px"],
            [],
            id="across units",
        ),
        pytest.param({"ignore_below_length_px": 51, "ng_area_px": 20}, [], [], id="of different things"),
        pytest.param(
            {"ignore_below_area_px": 30, "review_area_px": 20, "ng_area_px": 40},
            ["REVIEW from 20 px area, but ignored below 30"],
            [],
            id="REVIEW below what is ignored",
        ),
        pytest.param(
            {"review_length_mm": 4, "ng_length_px": 40},
            ["REVIEW from 4 mm length never happens"],
            [],
            id="REVIEW",
        ),
        pytest.param(
            {"review_length_px": 4}, ["never happens, any defect that counts is NG"], [], id="no NG limit"
        ),
        pytest.param({"ng_count": 1, "ng_length_px": 4}, [], ["its other NG limits"], id="one is enough"),
        pytest.param(
            {"never_ng": True},
            ["every part is OK"],
            ["can never make a part NG (never_ng = true)"],
            id="nothing is ever NG",
        ),
        pytest.param(
            {"never_ng": True, "review_area_px": 20, "review_below_confidence": 0.5},
            [],
            ["(never_ng = true) and review_below_confidence decides nothing"],
            id="REVIEW alone",
        ),
        pytest.param(
            {"ng_total_area_px": 9},
            [],
            ["the limit of 9 px in total acts from 10 px on"],
            id="below the model",
        ),
    ],
)
def test_limits_that_contradict_each_other_are_found_once(
    color_contract: Callable[..., Contract], rules: dict[str, Any], errors: list[str], warnings: list[str]
) -> None:
    recipe = Recipe(name="a", mm_per_px=0.1, default=Rules.model_validate(rules))
    contract = color_contract(decision=Decision(weights=(1, 1, 1), min_area_px=10))
    found = find_contradictions(recipe, contract=contract)
    assert [finding.is_error for finding in found] == [True] * len(errors) + [False] * len(warnings)
    for finding, said in zip(found, errors + warnings, strict=True):
        assert said in finding.text


@pytest.mark.parametrize(
    ("zones", "said"),
    [
        pytest.param({"exclusion_zones": [{"polygon": SQUARE, "units": "px"}]}, None, id="sound"),
        pytest.param(
            {"exclusion_zones": [{"polygon": [(0, 0), (9, 0), (9, 9), (0, 9)], "units": "px"}]},
            None,
            id="an image of unknown size may be larger",
        ),
        pytest.param(
            {"exclusion_zones": [{"polygon": [(0, 0), (1, 0), (1, 1), (0, 1)], "units": "share"}]},
            "leave nothing",
            id="all left out",
        ),
        pytest.param(
            {
                "regions_of_interest": [{"polygon": SQUARE, "units": "px"}],
                "exclusion_zones": [{"polygon": [(0, 0), (9, 0), (9, 9), (0, 9)], "units": "px"}],
            },
            "leave nothing",
            id="the region of interest left out",
        ),
        pytest.param(
            {"regions_of_interest": [{"polygon": [(0, 0), (4, 4), (4, 0), (0, 4)], "units": "px"}]},
            "regions_of_interest, polygon 1: its edges 1 and 3 cross",
            id="crosses itself",
        ),
        pytest.param(
            {"exclusion_zones": [{"polygon": [(0, 0), (2, 2), (4, 4)], "units": "px"}]},
            "exclusion_zones, polygon 1: all its points lie on one line",
            id="on one line",
        ),
        pytest.param(
            {
                "exclusion_zones": [
                    {"polygon": SQUARE, "units": "px", "size_px": size_px} for size_px in [(8, 8), (9, 8)]
                ]
            },
            "images of 8 x 8 px and 9 x 8 px: no image fits",
            id="two sizes",
        ),
    ],
)
def test_zones_that_cannot_be_meant_are_found(zones: dict[str, Any], said: str | None) -> None:
    found = find_contradictions(Recipe.model_validate({"name": "a"} | zones), contract=None)
    assert len(found) == (said is not None)
    for finding in found:
        assert finding.is_error
        assert str(said) in finding.text


def test_contradictions_that_classes_share_are_told_once(color_contract: Callable[..., Contract]) -> None:
    recipe = Recipe(name="a", default=Rules(ignore_below_area_px=13, ng_area_px=12))
    (finding,) = find_contradictions(recipe, contract=color_contract())
    assert finding.text.startswith("scratch, pit: ")
