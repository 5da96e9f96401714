"""`/v1/predictions`: an image comes in, its mask, defects and verdict go out."""

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.archives import ArchiveLimits, Member
from app.batches import judge_all
from app.bodies import FORM_BYTES, IMAGE_BODY, IMAGES_BODY, open_many, read_one
from app.direct_route import DirectRoute
from app.disconnects import ClientGone, unless_gone
from app.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    NotReady,
    Overloaded,
    RateLimited,
    TimedOut,
    TooLarge,
    Unauthorized,
    Unprocessable,
    UnsupportedImage,
    problem_responses,
)
from app.media_types import choose
from app.predictions import Encoder, to_json, to_mask, to_overlay
from app.queries import BatchQuery, PredictionQuery
from app.schemas import BatchLine, PredictionResponse
from app.security import require
from app.service import Service, service_of
from app.settings import Settings

_FILE: Final = {"schema": {"type": "string", "format": "binary"}}
_ONE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "model": PredictionResponse,
        "description": "What is known of the part, as JSON. With `Accept: image/png` the mask alone, an indexed PNG "
        "of class ids; with `image/jpeg` the image with its defects tinted.",
        "content": {"image/png": _FILE, "image/jpeg": _FILE},
    }
}
_MANY: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "model": BatchLine,
        "description": "A line of JSON per image as soon as it is judged, then the end.",
    }
}
_PROBLEMS: Final = problem_responses(
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    TooLarge,
    UnsupportedImage,
    Unprocessable,
    RateLimited,
    NotReady,
    Overloaded,
    TimedOut,
)


class NdjsonResponse(StreamingResponse):
    """JSON, a value a line."""

    media_type = "application/x-ndjson"


def predictions_router(settings: Settings) -> APIRouter:
    """The routes, with the limits of these settings."""
    limits = ArchiveLimits(
        max_files=settings.archive_max_files,
        max_expanded_bytes=settings.archive_max_bytes,
        max_file_bytes=settings.max_bytes,
    )
    router = APIRouter(
        prefix="/v1/predictions",
        tags=["predictions"],
        dependencies=[Depends(require("predict"))],
        responses=_PROBLEMS,
    )

    async def predict(
        request: Request,
        query: Annotated[PredictionQuery, Query()],
        service: Annotated[Service, Depends(service_of)],
    ) -> Response:
        """Judge one image: its mask, its measured defects, and OK, NG or REVIEW by a recipe."""
        service.admit(query)
        upload = await read_one(request, max_bytes=settings.max_bytes)
        encoders: Mapping[str, Encoder] = {
            "application/json": partial(to_json, mask=query.mask),
            "image/png": to_mask,
            "image/jpeg": to_overlay,
        }
        media_type = choose(request.headers.get("accept", "*/*"), offered=tuple(encoders))
        work = service.predict(
            upload, query=query, request_id=request.state.request_id, encode=encoders[media_type]
        )
        try:
            return Response(await unless_gone(request, work), media_type=media_type)
        except ClientGone:
            # Nobody is there to get it; this is what nginx calls it in its log.
            return Response(status_code=499)

    router.add_api_route(
        "",
        predict,
        methods=["POST"],
        responses=_ONE,
        openapi_extra=IMAGE_BODY,
        max_body_size=settings.max_bytes + FORM_BYTES,
        route_class_override=DirectRoute,
    )

    async def members(
        request: Request,
        query: Annotated[BatchQuery, Query()],
        service: Annotated[Service, Depends(service_of)],
    ) -> AsyncIterator[AsyncIterator[Member]]:
        """The files of a batch, kept open until the answer is sent."""
        service.admit(query)
        async with open_many(request, limits=limits) as opened:
            yield opened

    @router.post(
        "/batch",
        response_class=NdjsonResponse,
        responses=_MANY,
        openapi_extra=IMAGES_BODY,
        max_body_size=settings.archive_max_bytes + FORM_BYTES,
    )
    async def predict_batch(
        request: Request,
        query: Annotated[BatchQuery, Query()],
        service: Annotated[Service, Depends(service_of)],
        opened: Annotated[AsyncIterator[Member], Depends(members)],
    ) -> NdjsonResponse:
        """Judge many images: several files, or one zip, tar or tar.gz. The answer comes line by line."""
        lines = judge_all(opened, service=service, query=query, request_id=request.state.request_id)
        return NdjsonResponse(lines)

    return router
