"""A recipe: the rules that turn a model's defects into OK, NG or REVIEW, as one TOML file that people edit.

Unknown keys and classes are errors that name the nearest known one: a misspelt limit that is silently ignored
lets bad parts pass.
"""

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data.classes import ClassMap
from model.contract import Contract
from model.rules import Rules, as_written
from model.zones import Zone

#: What TOML takes as a key without quotes.
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_EXAMPLE_ZONE: Final = """
# [[{key}]]
# polygon = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]  # (x, y) along the outline
# units = "share"  # of width and height; or "px", then also size_px = [width, height]
"""


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names the key, what was expected and what is near."""


class Recipe(BaseModel):
    """What makes a part good.

    Attributes:
        name: how reports call it.
        mm_per_px: width of one pixel on the part; None: sizes are known in px only.
        default: rules of every class, where the class has none of that kind (ignore, NG, REVIEW) of its own.
        classes: rules by class name.
        regions_of_interest: where there are any, only what lies in one of them counts.
        exclusion_zones: what lies in one of them does not count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    mm_per_px: float | None = Field(None, gt=0, strict=True)
    default: Rules = Rules()
    classes: dict[str, Rules] = {}
    regions_of_interest: tuple[Zone, ...] = ()
    exclusion_zones: tuple[Zone, ...] = ()

    @model_validator(mode="after")
    def _mm_have_a_scale(self) -> "Recipe":
        sections = {"default": self.default} | {f"classes.{name}": own for name, own in self.classes.items()}
        in_mm = [f"{section}.{key}" for section, rules in sections.items() for key in rules.keys_in_mm()]
        if in_mm and self.mm_per_px is None:
            raise ValueError(
                f"{', '.join(in_mm)} in mm without a scale; give mm_per_px, or write the limits in px"
            )
        return self

    def rules_for(self, class_name: str) -> Rules:
        """The rules that hold for a class, the default's included."""
        return self.classes.get(class_name, Rules()).over(self.default)

    def digest(self) -> str:
        """sha256 (hex) of what it says, whatever the order and the comments of its file."""
        said = self.model_dump(mode="json", exclude_none=True)
        said["classes"] = {name: rules for name, rules in said["classes"].items() if rules}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def to_toml(self) -> str:
        """TOML that `read_recipe` reads back to an equal recipe, with what else could be said as comments."""
        return "\n".join(_lines(self)) + "\n"


def default_recipe(contract: Contract, *, mm_per_px: float | None = None) -> Recipe:
    """What `segnet evaluate` means by NG: any defect as large as the model's decision asks, in px."""
    names = tuple(contract.classes.names[class_id] for class_id in contract.classes.defect_ids)
    return _default(contract.name, names, least_px=contract.decision.min_area_px, mm_per_px=mm_per_px)


@lru_cache(maxsize=32)
def _default(name: str, classes: tuple[str, ...], *, least_px: int, mm_per_px: float | None) -> Recipe:
    """Kept, as the service asks for it twice in each request: made anew it cost 8 % of the main thread."""
    return Recipe(
        name=name,
        mm_per_px=mm_per_px,
        default=Rules(ignore_below_area_px=least_px, ng_area_px=least_px),
        # Empty sections, for whoever edits the file.
        classes={class_name: Rules() for class_name in classes},
    )


def read_recipe(path: Path, *, class_map: ClassMap | None, mm_per_px: float | None = None) -> Recipe:
    """The recipe in a TOML file, for a model of these classes; None: of classes that nobody knows yet.

    `mm_per_px` stands in for the file's own scale, or for a missing one.

    Raises:
        RecipeError: no TOML, an unknown key or class (the nearest known one is named), a value that does not
            fit, or mm without a scale.
        OSError: the file cannot be read.
    """
    try:
        # utf-8-sig: editors on Windows put a mark in front.
        tree = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
        recipe = Recipe.model_validate(tree | ({} if mm_per_px is None else {"mm_per_px": mm_per_px}))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: no TOML: {error}") from error
    except ValidationError as error:
        problems = [_explain(one["loc"], one["type"], one["msg"], one["input"]) for one in error.errors()]
        raise RecipeError("\n".join(f"{path}: {problem}" for problem in problems)) from error
    if class_map is not None:
        known = [class_map.names[class_id] for class_id in class_map.defect_ids]
        unknown = [_unknown("class", name, known=known) for name in recipe.classes if name not in known]
        if unknown:
            raise RecipeError("\n".join(f"{path}: {problem}" for problem in unknown))
    return recipe


def allowed_mask(recipe: Recipe, *, size_hw: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Where defects count, bool [height, width]; None: everywhere.

    Raises:
        RecipeError: a zone was drawn on images of another size, or the zones leave nothing of this one.
    """
    if not recipe.regions_of_interest and not recipe.exclusion_zones:
        return None
    height, width = size_hw
    for zone in (*recipe.regions_of_interest, *recipe.exclusion_zones):
        if zone.size_px is not None and zone.size_px != (width, height):
            raise RecipeError(
                f"recipe {recipe.name!r}: a zone was drawn on images of {zone.size_px[0]} x {zone.size_px[1]} "
                f"px, this one has {width} x {height} px; give images of that size, or zones in shares"
            )
    allowed = np.full(size_hw, not recipe.regions_of_interest)
    for zone in recipe.regions_of_interest:
        allowed |= zone.mask(size_hw=size_hw)
    for zone in recipe.exclusion_zones:
        allowed &= ~zone.mask(size_hw=size_hw)
    if not allowed.any():
        raise RecipeError(
            f"recipe {recipe.name!r}: its zones leave nothing of an image of {width} x {height} px; "
            "expected a region of interest that reaches beyond the exclusion zones"
        )
    return allowed


def _explain(location: Sequence[int | str], kind: str, message: str, value: object) -> str:
    key = ".".join(str(part) for part in location)
    if kind == "extra_forbidden":
        return _unknown("key", key, known=sorted(_section_at(location).model_fields))
    if kind == "missing":
        return f"{key} is missing"
    if kind == "value_error":
        return f"{key}: {message}".replace("Value error, ", "").removeprefix(": ")
    return f"{key} is {value!r}: {message}"


def _section_at(location: Sequence[int | str]) -> type[BaseModel]:
    """The section that holds the key at a location."""
    if len(location) == 1:
        return Recipe
    return Rules if location[0] in ("default", "classes") else Zone


def _unknown(what: str, name: str, *, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name.rpartition(".")[2], known, n=1)
    return f"unknown {what} {name}; " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}")


def _lines(recipe: Recipe) -> Iterator[str]:
    yield "# The rules that turn defects into OK, NG or REVIEW."
    yield "# `segnet recipe check` explains this file and finds contradictions."
    yield f"name = {_toml(recipe.name)}"
    yield ""
    yield "# Width of one pixel on the part; without it, limits are in px (and px of area)."
    yield "# mm_per_px = 0.05" if recipe.mm_per_px is None else f"mm_per_px = {_toml(recipe.mm_per_px)}"
    yield ""
    yield "# Every class. A class's own limits replace all limits of the same kind (ignore, NG, REVIEW) here."
    yield "# With no NG limit at all, any defect that counts is NG."
    yield "[default]"
    given = recipe.default.given()
    for key, field in Rules.model_fields.items():
        value = _toml(given[key] if key in given else (field.examples or [None])[0])
        yield f"{'' if key in given else '# '}{key} = {value}  # {field.description}"
    for name, rules in recipe.classes.items():
        yield ""
        yield f"[classes.{name if _BARE_KEY.fullmatch(name) else _toml(name)}]"
        for key, value in rules.given().items():
            yield f"{key} = {_toml(value)}  # {Rules.model_fields[key].description}"
    for key, told, zones in (
        ("regions_of_interest", "Only what lies in one of these counts.", recipe.regions_of_interest),
        ("exclusion_zones", "What lies in one of these does not count.", recipe.exclusion_zones),
    ):
        yield ""
        yield f"# {told}{_EXAMPLE_ZONE.format(key=key).rstrip() if not zones else ''}"
        for zone in zones:
            yield f"[[{key}]]"
            for field_name, value in zone.model_dump(exclude_none=True).items():
                yield f"{field_name} = {_toml(value)}"


def _toml(value: Any) -> str:
    """A value as TOML; JSON writes truth in the same way, and text but for one control character."""
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", r"\u007f")
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(part) for part in value)}]"
    return as_written(value)
