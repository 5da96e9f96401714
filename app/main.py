"""The service, put together. Nothing is made on import: `create_app` makes one application for its settings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.api_keys import read_keys
from app.engine import EngineLimits
from app.errors import install_error_handlers
from app.metrics import Metrics
from app.model_loader import ModelLoader
from app.model_source import open_source
from app.recipes import RecipeBook, read_recipes
from app.routes import health, model, recipes
from app.routes.predictions import predictions_router
from app.routes.v2 import v2_router
from app.security import install_security
from app.service import Service
from app.settings import Settings
from app.telemetry import install_telemetry
from model.artifact import open_artifact
from model.predictor import Predictor

_PAGE: Final = Path(__file__).parent / "static"
_SUMMARY: Final = "Upload an image of a part, get its defect mask, measured defects and a verdict."


def create_app(settings: Settings) -> FastAPI:
    """The whole service: its API, its page, its engine, which starts and stops with it.

    What the start raises (a model that does not open, a device that is not there, a recipe that does not fit) is
    also kept in `app.state.start_error`, for whoever runs it under a server that only logs it.

    Raises:
        KeysError, RecipeError: a file of keys or recipes that cannot be used.
        StoreError: there is no model store where one is said to be.
        OSError: one that cannot be read.
    """
    keys = None if settings.keys_file is None else read_keys(settings.keys_file)
    metrics = Metrics()
    service = _service(settings, metrics=metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await service.start()
        except (ValueError, OSError) as error:
            app.state.start_error = error
            raise
        every_s = settings.look_every_s
        watcher = asyncio.create_task(service.watch(every_s=every_s)) if every_s else None
        yield
        if watcher is not None:
            watcher.cancel()
        await service.stop(drain_s=settings.drain_s)

    app = FastAPI(
        title="segnet",
        summary=_SUMMARY,
        version=version("residual-segnet"),
        lifespan=lifespan,
        # Their pages load scripts from elsewhere, which our own policy forbids.
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.service = service
    install_error_handlers(app)
    app.include_router(predictions_router(settings))
    app.include_router(v2_router(settings))
    for room in (model, recipes, health):
        app.include_router(room.router)
    app.frontend("/", directory=_PAGE, fallback=None)
    install_security(app, keys=keys, rate_per_minute=settings.rate_per_minute)
    install_telemetry(app, metrics=metrics)
    return app


def _service(settings: Settings, *, metrics: Metrics) -> Service:
    book = read_recipes(default=settings.recipe, folder=settings.recipes_dir)
    source = open_source(settings.model, store=settings.store)
    loader = ModelLoader(source, partial(_open_predictor, settings=settings, recipes=book))
    limits = EngineLimits(
        batch_pixels=settings.batch_pixels,
        batch_wait_ms=settings.batch_wait_ms,
        waiting_pixels=settings.waiting_pixels,
        max_wait_s=settings.max_wait_s,
        request_timeout_s=settings.request_timeout_s,
        probation_images=settings.probation_images,
        probation_s=settings.probation_s,
    )
    return Service(loader, limits=limits, recipes=book, metrics=metrics, max_pixels=settings.max_pixels)


def _open_predictor(content: bytes, *, settings: Settings, recipes: RecipeBook) -> Predictor:
    """A model file, if every recipe fits it."""
    artifact = open_artifact(content)
    recipes.check(artifact.contract)
    return Predictor.open(
        artifact, device=settings.device, require=settings.require_device, threads=settings.threads
    )


def _operation_id(route: APIRoute) -> str:
    """Names for generated clients, such as `predict_batch`."""
    return route.name
