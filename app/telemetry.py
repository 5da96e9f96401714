"""What the service tells of itself: an id per request, one JSON line per request, and its share of the metrics."""

import json
import logging
import random
import re
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any, Final

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.log_writer import BackgroundHandler
from app.metrics import Metrics
from app.outermost import add_outermost

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""Id of the request that is being answered; the log takes it from here, in threads of anyio too."""

REQUEST_LOG: Final = "segnet.requests"
_ID_HEADER: Final = "X-Request-ID"
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
# What nginx writes when the client went away before its answer.
_CLIENT_GONE: Final = 499
_NO_ROUTE: Final = "other"
# One encoder for all lines: json.dumps would make a new one for each.
_to_json: Final = json.JSONEncoder(default=str).encode
_log: Final = logging.getLogger(REQUEST_LOG)


class RequestLog:
    """Around everything: gives each request its id, then counts and logs how it ended.

    The id is the client's X-Request-ID if that is 1 to 64 of A-Z a-z 0-9 . _ -, else one made here. It is in
    `request.state.request_id`, in every line of the log, and in the answer's X-Request-ID.
    The line holds neither query, headers nor body: none of them is ours to keep, and one holds the key.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        asked = Headers(scope=scope).get(_ID_HEADER, "")
        request_id = asked if _SANE_ID.fullmatch(asked) else _make_id()
        scope.setdefault("state", {})["request_id"] = request_id
        status = _CLIENT_GONE
        sent_bytes = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[_ID_HEADER] = request_id
            sent_bytes += len(message.get("body", b""))
            await send(message)

        token = REQUEST_ID.set(request_id)
        began_s = time.perf_counter()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            self._note(scope, status=status, seconds=time.perf_counter() - began_s, sent_bytes=sent_bytes)
            REQUEST_ID.reset(token)

    def _note(self, scope: Scope, *, status: int, seconds: float, sent_bytes: int) -> None:
        route = _route(scope)
        self._metrics.count_request(route=route, status=status)
        self._metrics.observe_stage("total", seconds=seconds)
        client = scope.get("client")
        fields = {
            "method": scope["method"],
            "path": scope["path"],
            "route": route,
            "status": status,
            "duration_ms": round(1000 * seconds, 2),
            "sent_bytes": sent_bytes,
            "client": client[0] if client else None,
            "caller": scope["state"].get("caller"),
        }
        _log.info("%s %s %d", scope["method"], route, status, extra={"fields": fields})


def install_telemetry(app: FastAPI, *, metrics: Metrics) -> None:
    """Log and count every request of an application; call it after all other middleware was added."""
    app.state.metrics = metrics
    add_outermost(app, lambda inner: RequestLog(inner, metrics=metrics))


class JsonLines(logging.Formatter):
    """One JSON object a line, for machines to read; `extra={"fields": {…}}` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": REQUEST_ID.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _to_json(line)


def configure_logging(stream: IO[str], *, level: int = logging.INFO) -> None:
    """Send every log line of this process to `stream` as JSON, in place of what was set before.

    Uvicorn's too, if it is run with `log_config=None`; with `access_log=False` it does not say again what we say.
    """
    handler = BackgroundHandler(stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _make_id() -> str:
    """32 hex digits, all but surely unlike any other."""
    # Not uuid4: its system call lets go of the interpreter's lock, which the event loop then waits to get back, and
    # nobody need be kept from guessing an id.
    return f"{random.getrandbits(128):032x}"


def _route(scope: Scope) -> str:
    """The template of the route that answered, such as /v1/predictions: never a path, of which there is no end."""
    # FastAPI keeps the whole template here, and in `route` only what its own router knows of it.
    context = scope.get("fastapi", {}).get("effective_route_context")
    path = getattr(context or scope.get("route"), "path", None)
    return path if isinstance(path, str) else _NO_ROUTE
