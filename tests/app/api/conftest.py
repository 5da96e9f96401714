"""The whole service in the test's own process, before a model whose answers can be worked out by hand."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from data.images import encode_png

Serve = Callable[..., TestClient]


@pytest.fixture
def model(repository: Path) -> Path:
    """Red pixels are scratches (class 1), blue ones pits (class 2); tiles of 64 px."""
    return repository / "tests" / "promises" / "format_1.onnx"


@pytest.fixture
def serve(model: Path) -> Iterator[Serve]:
    """Start a service with these settings; it ends with the test."""
    with ExitStack() as stack:

        def start(**settings: object) -> TestClient:
            given = {"model": model, "device": "cpu", "threads": 1} | settings
            app = create_app(Settings.model_validate(given))
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield start


@pytest.fixture
def client(serve: Serve) -> TestClient:
    """A service with the default settings."""
    return serve()


@pytest.fixture
def part() -> bytes:
    """PNG, grey, 80 x 60 px, a scratch of 10 x 10 px and a pit of 20 x 10 px, which lose their 4 corner pixels."""
    image = np.full((60, 80, 3), 128, np.uint8)
    image[20:30, 5:15] = (255, 0, 0)
    image[40:50, 30:50] = (0, 0, 255)
    return encode_png(image)


@pytest.fixture
def good_part() -> bytes:
    """PNG, grey, 80 x 60 px, without a defect."""
    return encode_png(np.full((60, 80, 3), 128, np.uint8))
