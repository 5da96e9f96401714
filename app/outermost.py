"""Middleware around everything, for what must be true of every answer."""

from collections.abc import Callable

from fastapi import FastAPI
from starlette.types import ASGIApp


def add_outermost(app: FastAPI, wrap: Callable[[ASGIApp], ASGIApp]) -> None:
    """Wrap all that `app` is; the last one added stands outermost.

    `add_middleware` stands inside of what answers 500 and of the limit on bodies, so those answers pass it by.
    """
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: wrap(build())  # type: ignore[method-assign]
