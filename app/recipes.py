"""The recipes that a service judges by: the default, and those that requests may name."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.errors import NotFound, Unprocessable
from app.queries import PredictionQuery
from model.contract import Contract
from model.recipe import Recipe, RecipeError, default_recipe, read_recipe
from model.recipe_check import find_contradictions


@dataclass(frozen=True)
class RecipeBook:
    """Recipes of files. `has_default`: the first one judges where none is named, instead of the model's own."""

    files: tuple[Recipe, ...] = ()
    has_default: bool = False

    def for_model(self, contract: Contract) -> tuple[Recipe, ...]:
        """All that a request may name, the default first; without a file for it that is the model's own."""
        return self.files if self.has_default else (default_recipe(contract), *self.files)

    def choose(self, query: PredictionQuery, *, contract: Contract) -> Recipe:
        """The recipe that a request asks for, at the scale it asks for.

        Raises:
            NotFound: no recipe of that name.
            Unprocessable: a smallest area for a recipe that has limits of its own.
        """
        recipes = self.for_model(contract)
        recipe = next((one for one in recipes if query.recipe in (None, one.name)), None)
        if recipe is None:
            raise NotFound(f"no recipe {query.recipe!r}; there are {', '.join(one.name for one in recipes)}")
        if query.min_area_px is not None:
            if recipe in self.files:
                raise Unprocessable(
                    f"min_area_px beside the recipe {recipe.name!r}, which has limits of its own; leave one out"
                )
            decision = contract.decision.model_copy(update={"min_area_px": query.min_area_px})
            recipe = default_recipe(contract.model_copy(update={"decision": decision}))
        return recipe if query.mm_per_px is None else recipe.model_copy(update={"mm_per_px": query.mm_per_px})

    def check(self, contract: Contract) -> None:
        """Make sure that every recipe fits a model: one that contradicts itself or the model passes bad parts.

        Raises:
            RecipeError: names each fault. No path is in it, since whoever reloads a model gets to read it.
        """
        faults = list(self._faults(contract))
        if faults:
            raise RecipeError("\n".join(faults))

    def _faults(self, contract: Contract) -> Iterator[str]:
        names = [recipe.name for recipe in self.for_model(contract)]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"two recipes are called {name!r}; give each a name of its own"
        defects = {contract.classes.names[class_id] for class_id in contract.classes.defect_ids}
        for recipe in self.files:
            for name in sorted(recipe.classes.keys() - defects):
                known = ", ".join(sorted(defects))
                yield f"recipe {recipe.name!r}: the model finds no {name!r}; it finds {known}"
            for finding in find_contradictions(recipe, contract=contract):
                if finding.is_error:
                    yield f"recipe {recipe.name!r}: {finding.text}"


def read_recipes(*, default: Path | None, folder: Path | None) -> RecipeBook:
    """The recipe file that judges where none is named, and every *.toml of a folder; either may be missing.

    Raises:
        RecipeError: a file is no recipe.
        OSError: a file or the folder cannot be read.
    """
    paths = [] if folder is None else sorted(path for path in folder.iterdir() if path.suffix == ".toml")
    if default is not None:
        paths = [default, *(path for path in paths if not path.samefile(default))]
    recipes = tuple(read_recipe(path, class_map=None) for path in paths)
    return RecipeBook(recipes, has_default=default is not None)
