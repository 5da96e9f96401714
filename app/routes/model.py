"""`/v1/model`: which model judges, and putting another in its place."""

from typing import Annotated

from fastapi import APIRouter, Depends

from app.errors import (
    Forbidden,
    NotReady,
    RateLimited,
    Unauthorized,
    Unprocessable,
    problem_responses,
)
from app.loaded_model import ModelFacts
from app.model_schemas import ModelResponse
from app.schemas import ClassInfo
from app.security import require
from app.service import Service, service_of

router = APIRouter(prefix="/v1/model", tags=["model"])
_Service = Annotated[Service, Depends(service_of)]


@router.get(
    "",
    dependencies=[Depends(require("predict"))],
    responses=problem_responses(Unauthorized, Forbidden, RateLimited, NotReady),
)
async def model(service: _Service) -> ModelResponse:
    """What the model promises, and what runs it."""
    return _describe(service.engine.model)


@router.post(
    "/reload",
    dependencies=[Depends(require("admin"))],
    responses=problem_responses(Unauthorized, Forbidden, Unprocessable, RateLimited, NotReady),
)
async def reload(service: _Service) -> ModelResponse:
    """Open the model anew, test it, and let it take over between two batches; if it fails, the old one stays.

    It is the model file as it is now, or whichever version of the model store is champion now.
    """
    return _describe(await service.reload())


def _describe(facts: ModelFacts) -> ModelResponse:
    contract = facts.contract
    return ModelResponse(
        name=contract.name,
        version=contract.version or "",
        sha256=facts.digest,
        ready=True,
        provider=facts.provider,
        store_version=facts.store_version,
        format=contract.format,
        created_at=contract.created_at,
        classes=tuple(
            ClassInfo(id=class_id, name=spec.name, color=spec.color, role=spec.role)
            for class_id, spec in enumerate(contract.classes.classes)
        ),
        stride=contract.stride,
        tile_px=contract.tile_px,
        halo_px=contract.halo_px,
        weights=contract.decision.weights,
        min_area_px=contract.decision.min_area_px,
        scores=contract.scores,
        provenance=contract.provenance.model_dump(),
        parity=contract.parity.model_dump(),
        notes=contract.notes,
    )
