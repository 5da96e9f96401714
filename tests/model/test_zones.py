"""Zones: which pixels they take, and which polygons no image can have."""

from typing import Any

import numpy as np
import pytest

from model.recipe import Recipe, RecipeError, allowed_mask
from model.zones import Zone

SQUARE = ((2, 1), (4, 1), (4, 3), (2, 3))


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        pytest.param({"polygon": [(0, 0), (1, 1)], "units": "share"}, "at least 3", id="two points"),
        pytest.param(
            {"polygon": [(0, 0), (90, 0), (90, 90)], "units": "share"}, r"\[90.0, 0.0\].*from 0 to 1", id="%"
        ),
        pytest.param(
            {"polygon": [(0, 0), (9, 0), (9, 7)], "units": "px", "size_px": (8, 8)},
            r"\[9.0, 0.0\] lies outside the image; expected x from 0 to 8",
            id="beyond its image",
        ),
        pytest.param({"polygon": [(-1, 0), (9, 0), (9, 7)], "units": "px"}, "outside the image", id="left"),
        pytest.param(
            {"polygon": [(0, 0), (1, 0), (1, 1)], "units": "share", "size_px": (8, 8)},
            "size_px belongs to units = 'px'",
            id="shares of a size",
        ),
    ],
)
def test_zones_that_lie_on_no_image_are_refused(zone: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Recipe.model_validate({"name": "a", "regions_of_interest": [zone]})


@pytest.mark.parametrize(
    ("zones", "picture"),
    [
        pytest.param(
            {"regions_of_interest": [{"polygon": SQUARE, "units": "px"}]},
            ["......", "..###.", "..###.", "..###."],
            id="region of interest, its outline included",
        ),
        pytest.param(
            {"exclusion_zones": [{"polygon": SQUARE, "units": "px", "size_px": (6, 4)}]},
            ["######", "##...#", "##...#", "##...#"],
            id="exclusion zone",
        ),
        pytest.param(
            {
                "regions_of_interest": [{"polygon": [(0, 0), (1, 0), (1, 1), (0, 1)], "units": "share"}],
                "exclusion_zones": [{"polygon": [(0, 0), (0.4, 0), (0.4, 1), (0, 1)], "units": "share"}],
            },
            # The last of six columns is 1, so 0.4 is column 2.
            ["...###"] * 4,
            id="the whole in shares, less its left",
        ),
        pytest.param(
            {
                "regions_of_interest": [
                    {"polygon": SQUARE, "units": "px"},
                    {"polygon": [(0, 0), (1, 0), (0, 1)], "units": "px"},
                ]
            },
            ["##....", "#.###.", "..###.", "..###."],
            id="two regions of interest",
        ),
    ],
)
def test_defects_count_where_the_zones_say(zones: dict[str, Any], picture: list[str]) -> None:
    allowed = allowed_mask(Recipe.model_validate({"name": "a"} | zones), size_hw=(4, 6))
    assert allowed is not None
    np.testing.assert_array_equal(allowed, np.array([list(row) for row in picture]) == "#")


def test_without_zones_there_is_no_mask() -> None:
    assert allowed_mask(Recipe(name="a"), size_hw=(4, 6)) is None


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        pytest.param(
            Zone(polygon=SQUARE, units="px", size_px=(6, 5)),
            "drawn on images of 6 x 5 px, this one has 6 x 4 px",
            id="another size",
        ),
        pytest.param(
            Zone(polygon=((10, 0), (20, 0), (20, 3)), units="px"),
            "leave nothing of an image of 6 x 4",
            id="beyond",
        ),
    ],
)
def test_an_image_that_the_zones_do_not_fit_is_an_error(zone: Zone, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        allowed_mask(Recipe(name="a", regions_of_interest=(zone,)), size_hw=(4, 6))
