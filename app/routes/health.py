"""For whoever keeps the service running: does it live, is it ready, what are its numbers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from app.errors import Forbidden, NotReady, RateLimited, Unauthorized, problem_responses
from app.metrics import MEDIA_TYPE
from app.model_schemas import Health, Ready
from app.security import require
from app.service import Service, service_of

router = APIRouter(tags=["health"])
_Service = Annotated[Service, Depends(service_of)]


@router.get("/healthz")
async def healthz() -> Health:
    """Whether the process lives and its event loop turns."""
    return Health()


@router.get("/readyz", responses=problem_responses(NotReady))
async def readyz(service: _Service) -> Ready:
    """Whether an image may come: the model passed its self-test on what runs it. Else 503 with the reason."""
    readiness = service.engine.readiness()
    if not readiness.ready or readiness.provider is None:
        raise NotReady(readiness.reason)
    return Ready(provider=readiness.provider)


@router.get(
    "/metrics",
    dependencies=[Depends(require("metrics"))],
    response_class=Response,
    responses={
        **problem_responses(Unauthorized, Forbidden, RateLimited),
        200: {"description": "The numbers, for Prometheus.", "content": {"text/plain": {}}},
    },
)
async def metrics(service: _Service) -> Response:
    """Requests, time by stage, what waits, batches, provider, defects and verdicts."""
    return Response(service.metrics.render(), media_type=MEDIA_TYPE)
