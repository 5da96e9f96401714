"""The service of the API's tests, for those who mean it harm; and a model as slow as a test wants it."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from model.predictor import Predictor

from ..api.conftest import client, good_part, model, part, serve

__all__ = ["client", "good_part", "model", "part", "serve"]

Running = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def running(model: Path) -> Running:
    """A service with these settings in the test's own event loop, for clients that ask at the same time."""

    @asynccontextmanager
    async def run(**settings: object) -> AsyncIterator[httpx.AsyncClient]:
        given = {"model": model, "device": "cpu", "threads": 1} | settings
        app = create_app(Settings.model_validate(given))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60)
        async with app.router.lifespan_context(app), client:
            yield client

    return run


@dataclass
class Slowness:
    """What is done to every model from now on: each image takes a while, and waits while the gate is closed."""

    s_per_image: float = 0.0
    gate: threading.Event = field(default_factory=threading.Event)
    begun: int = 0

    def suffer(self, images: int) -> None:
        """Be slow with so many images, in the worker's thread."""
        self.begun += images
        assert self.gate.wait(30), "the test forgot to open the gate"
        time.sleep(images * self.s_per_image)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slowness]:
    """Every model of this test; as fast as ever, with the gate open, until the test says otherwise."""
    slowness = Slowness()
    slowness.gate.set()
    judge = Predictor.predict_batch

    def predict_batch(self: Predictor, images: Any, **options: Any) -> Any:
        slowness.suffer(len(images))
        return judge(self, images, **options)

    monkeypatch.setattr(Predictor, "predict_batch", predict_batch)
    yield slowness
    slowness.gate.set()
