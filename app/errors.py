"""Everything the service may refuse, as exceptions, and the one shape they have on the wire (RFC 9457).

ServiceError            500  an error of our own; its text stays in the log
├── BadRequest          400  the request cannot be read
├── Unauthorized        401  no key, or an unknown one (WWW-Authenticate)
├── Forbidden           403  the key lacks the scope
├── NotFound            404  no such thing
├── TooLarge            413  too many bytes, pixels or files
├── UnsupportedImage    415  not an image that we decode
├── Unprocessable       422  it can be read, and cannot be done
├── NotReady            503  no model is ready: starting, stopping, or its self-test failed
├── TimedOut            504  no answer within the time allowed
└── RetryLater               tells when to come again (Retry-After)
    ├── RateLimited     429  this key asks too often
    └── Overloaded      503  too much waits already
"""

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE: Final = "application/problem+json"
_log: Final = logging.getLogger(__name__)


class ServiceError(Exception):
    """A refusal; `detail` says what came, what was expected and what to do, and is shown to the client."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})


class BadRequest(ServiceError):
    """The request cannot be read."""

    status, slug, title = 400, "bad-request", "Bad request"


class Unauthorized(ServiceError):
    """No key came, or one that is not known."""

    status, slug, title = 401, "unauthorized", "Unauthorized"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(ServiceError):
    """The key is known and lacks the scope."""

    status, slug, title = 403, "forbidden", "Forbidden"


class NotFound(ServiceError):
    """There is no such thing."""

    status, slug, title = 404, "not-found", "Not found"


class TooLarge(ServiceError):
    """More bytes, pixels or files than are taken."""

    status, slug, title = 413, "too-large", "Too large"


class UnsupportedImage(ServiceError):
    """Not an image that we decode, whatever its name says."""

    status, slug, title = 415, "unsupported-image", "Unsupported image"


class Unprocessable(ServiceError):
    """It can be read, and what it asks for cannot be done."""

    status, slug, title = 422, "unprocessable", "Unprocessable"


class NotReady(ServiceError):
    """No model is ready to judge."""

    status, slug, title = 503, "not-ready", "Not ready"


class TimedOut(ServiceError):
    """No answer within the time allowed."""

    status, slug, title = 504, "timed-out", "Timed out"


class RetryLater(ServiceError):
    """Refused for now; `retry_after_s` seconds from now, rounded up to whole ones, it may pass."""

    def __init__(self, detail: str, *, retry_after_s: float) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, math.ceil(retry_after_s)))})


class RateLimited(RetryLater):
    """This key asks more often than it may."""

    status, slug, title = 429, "rate-limited", "Too many requests"


class Overloaded(RetryLater):
    """More waits already than the service can bear."""

    status, slug, title = 503, "overloaded", "Overloaded"


class Problem(BaseModel):
    """An error as the client gets it: RFC 9457, `application/problem+json`."""

    type: str = Field(
        description="What kind of problem this is; stable, made for programs.",
        examples=["urn:problem-type:segnet:overloaded"],
    )
    title: str = Field(
        description="The kind in words; the same for each of its kind.", examples=["Overloaded"]
    )
    status: int = Field(description="The HTTP status.", ge=400, le=599, examples=[503])
    detail: str = Field(
        description="What came, what was expected and what to do.",
        examples=[
            "61 images of 63.9 megapixels wait already, as much as the service can bear; come again in 2 s"
        ],
    )
    instance: str | None = Field(
        None, description="The id of the request, as the log has it.", examples=["5f2b0c6e9d3a4f17"]
    )
    errors: list[dict[str, str]] | None = Field(
        None,
        description="For a request of the wrong form: each fault, `where` it is and a `message`.",
        examples=[[{"where": "query.mm_per_px", "message": "Input should be greater than 0"}]],
    )


def problem_of(error: Exception, *, instance: str | None = None) -> Problem:
    """What a client is told of any exception; of one that nobody foresaw, nothing but that it happened."""
    if isinstance(error, HTTPException):
        return _framework_problem(error, instance=instance)
    faults = None
    if isinstance(error, RequestValidationError):
        faults = [
            {"where": ".".join(str(part) for part in one["loc"]), "message": str(one["msg"])}
            for one in error.errors()
        ]
        first = faults[0] if faults else {"where": "the request", "message": "not of the form expected"}
        error = Unprocessable(f"{first['where']}: {first['message']}")
    elif not isinstance(error, ServiceError):
        error = ServiceError("the service failed at this; its log tells why, under the id of this request")
    return Problem(
        type=_type(error.slug),
        title=error.title,
        status=error.status,
        detail=error.detail,
        instance=instance,
        errors=faults,
    )


def problem_responses(*kinds: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses=`: these errors as the OpenAPI document shows them."""
    schema = Problem.model_json_schema()
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        known = responses.setdefault(
            kind.status, {"description": "", "content": {MEDIA_TYPE: {"schema": schema}}}
        )
        known["description"] = " / ".join(filter(None, [known["description"], kind.title]))
    return responses


def install_error_handlers(app: FastAPI) -> None:
    """Give every error of this application the one shape, those of the framework too.

    The id of the request is read from `request.state.request_id`, where there is one. Set `max_body_size` on routers or
    routes: as an argument of FastAPI it refuses outside of all that can be installed, in plain text.
    """
    for kind in (ServiceError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer)
    app.add_middleware(_BodyLimitSpeaksProblem)


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(error, instance=getattr(request.state, "request_id", None))
    if problem.status == ServiceError.status:
        _log.error("request %s failed", problem.instance, exc_info=error)
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=problem.status,
        headers=getattr(error, "headers", None),
        media_type=MEDIA_TYPE,
    )


class _BodyLimitSpeaksProblem:
    """Starlette refuses a body that declares itself too large in plain text, past every handler."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        replaced = False

        async def send_problem(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == TooLarge.status:
                replaced = Headers(raw=message["headers"]).get("content-type") != MEDIA_TYPE
                if replaced:
                    error = TooLarge("the body is larger than what is taken here; send less at once")
                    response = await _answer(Request(scope), error)
                    await response(scope, receive, send)
            if not replaced:
                await send(message)

        await self._app(scope, receive, send_problem)


_BY_STATUS: Final[Mapping[int, type[ServiceError]]] = {
    kind.status: kind
    for kind in (BadRequest, Unauthorized, Forbidden, NotFound, TooLarge, UnsupportedImage, Unprocessable)
}
"""Errors of the framework that are of a kind of ours."""


def _framework_problem(error: HTTPException, *, instance: str | None) -> Problem:
    """What Starlette or FastAPI refused by itself, such as a path that is not there."""
    kind = _BY_STATUS.get(error.status_code)
    phrase = HTTPStatus(error.status_code).phrase
    return Problem(
        type=_type(kind.slug if kind else phrase.lower().replace(" ", "-")),
        title=kind.title if kind else phrase,
        status=error.status_code,
        detail=str(error.detail),
        instance=instance,
    )


def _type(slug: str) -> str:
    return f"urn:problem-type:segnet:{slug}"
