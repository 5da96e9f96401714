"""`/v1/recipes`: the rules that a request may name."""

from typing import Annotated

from fastapi import APIRouter, Depends

from app.errors import Forbidden, NotReady, RateLimited, Unauthorized, problem_responses
from app.model_schemas import RecipeEntry, RecipesResponse
from app.security import require
from app.service import Service, service_of

router = APIRouter(prefix="/v1/recipes", tags=["recipes"])


@router.get(
    "",
    dependencies=[Depends(require("predict"))],
    responses=problem_responses(Unauthorized, Forbidden, RateLimited, NotReady),
)
async def recipes(service: Annotated[Service, Depends(service_of)]) -> RecipesResponse:
    """All recipes, the default first."""
    known = service.recipes.for_model(service.engine.model.contract)
    return RecipesResponse(
        recipes=tuple(
            RecipeEntry(
                name=recipe.name, sha256=recipe.digest(), mm_per_px=recipe.mm_per_px, is_default=number == 0
            )
            for number, recipe in enumerate(known)
        )
    )
