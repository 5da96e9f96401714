"""Clients who go away half-way, over real sockets: their places in the waiting room are free again at once."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest
import uvicorn

from app.engine import Engine
from app.main import create_app
from app.settings import Settings

from .conftest import Slowness
from .malformed_archives import zip_of

pytestmark = pytest.mark.anyio

DEADLINE_S: Final = 10
ROOM: Final = 20
"""Parts of 80 x 60 px that may wait."""


@dataclass(frozen=True)
class Site:
    """A service that listens."""

    port: int
    engine: Engine
    client: httpx.AsyncClient

    async def send(
        self, path: str, content: bytes, *, announced_bytes: int | None = None
    ) -> asyncio.StreamWriter:
        """Send a request and wait for nothing."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {announced_bytes or len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()
        return writer

    async def count(self, status: int) -> float:
        """Requests for predictions that ended so, by the service's own count."""
        lines = (await self.client.get("/metrics")).text.splitlines()
        marks = ("segnet_requests_total", "/v1/predictions", f'status="{status}"')
        return sum(float(line.split()[-1]) for line in lines if all(mark in line for mark in marks))


async def until(happened: Callable[[], bool]) -> None:
    """Look until it has."""
    async with asyncio.timeout(DEADLINE_S):
        while not happened():
            await asyncio.sleep(0.01)


def leave(writers: list[asyncio.StreamWriter]) -> None:
    """Close the connections without a word."""
    for writer in writers:
        writer.transport.abort()


@pytest.fixture
async def site(model: Path, slow: Slowness) -> AsyncIterator[Site]:
    settings = Settings(model=model, device="cpu", threads=1, waiting_pixels=ROOM * 80 * 60, max_wait_s=1000)
    app = create_app(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        await until(lambda: server.started)
        port = listener.getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S) as client:
            yield Site(port, app.state.service.engine, client)
    finally:
        slow.gate.set()
        server.should_exit = True
        await asyncio.to_thread(thread.join, DEADLINE_S)
        listener.close()


async def test_places_of_clients_who_left_are_free_again(site: Site, slow: Slowness, part: bytes) -> None:
    slow.gate.clear()
    begun = slow.begun
    patient = asyncio.create_task(site.client.post("/v1/predictions", content=part))
    await until(lambda: slow.begun == begun + 1)
    gone = [await site.send("/v1/predictions", part) for _ in range(ROOM)]
    await until(lambda: site.engine.depth.requests == ROOM)
    assert (await site.client.post("/v1/predictions", content=part)).status_code == 503
    leave(gone)
    # The model is still at the first image: no place was freed because somebody was served.
    await until(lambda: site.engine.depth.requests == 0)
    assert site.engine.depth.pixels == 0
    assert slow.begun == begun + 1
    late = asyncio.create_task(site.client.post("/v1/predictions", content=part))
    await until(lambda: site.engine.depth.requests == 1)
    slow.gate.set()
    assert [(await one).json()["verdict"] for one in (patient, late)] == ["NG", "NG"]
    assert slow.begun == begun + 2, "images of clients who had gone were judged"
    assert await site.count(499) == ROOM
    assert await site.count(500) == 0


async def test_a_client_who_leaves_in_the_midst_of_a_batch_gives_up_his_places(
    site: Site, slow: Slowness, part: bytes
) -> None:
    slow.gate.clear()
    begun = slow.begun
    batch = zip_of(*((f"{number}.png", part) for number in range(50)))
    gone = await site.send("/v1/predictions/batch", batch)
    await until(lambda: site.engine.depth.requests >= 5 and slow.begun > begun)
    leave([gone])
    await until(lambda: site.engine.depth.requests == 0)
    slow.gate.set()
    assert (await site.client.post("/v1/predictions", content=part)).status_code == 200
    assert slow.begun == begun + 2


async def test_bodies_that_never_end_take_no_place(site: Site, slow: Slowness, part: bytes) -> None:
    for _ in range(3):
        gone = [await site.send("/v1/predictions", part, announced_bytes=10_000_000) for _ in range(20)]
        gone += [
            await site.send("/v1/predictions/batch", part, announced_bytes=10_000_000) for _ in range(20)
        ]
        assert site.engine.depth.requests == 0
        assert (await site.client.post("/v1/predictions", content=part)).status_code == 200
        leave(gone)
    async with asyncio.timeout(DEADLINE_S):
        while await site.count(400) < 120:
            await asyncio.sleep(0.05)
    assert await site.count(500) == 0
    assert (await site.client.post("/v1/predictions", content=part)).status_code == 200
