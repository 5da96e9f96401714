"""A client of the service, for programs: `Client`, and `AsyncClient` for those that run an event loop.

    with Client("http://127.0.0.1:8000") as client:
        print(client.predict(Path("part.jpg")).verdict)

Needs httpx, the extra `client`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import httpx

from app.client_calls import (
    BATCH,
    BROKEN_OFF,
    MODEL,
    PREDICTIONS,
    READY,
    ClientError,
    Wishes,
    as_client_error,
    key_headers,
    many_images,
    one_image,
    pause_s,
    read_line,
)
from app.model_schemas import ModelResponse
from app.schemas import BatchPrediction, BatchProblem, PredictionResponse

__all__ = ["AsyncClient", "Client", "ClientError", "Wishes"]


class Client:
    """The service at a URL. It waits and asks again while the service says when to come again.

    Args:
        url: of the service, such as http://127.0.0.1:8000.
        key: an API key, where it wants one.
        patience_s: how long it goes on asking a busy service.
        timeout_s: of one request.
        transport: in place of a connection, for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        patience_s: float = 60.0,
        timeout_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._patience_s = patience_s
        self._http = httpx.Client(
            base_url=url, headers=key_headers(key), timeout=timeout_s, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
        self, image: Path | bytes, *, name: str | None = None, **wishes: Unpack[Wishes]
    ) -> PredictionResponse:
        """Have one image judged: a file, or its content with a `name`.

        Raises:
            ClientError: the service refuses it, or does not answer.
            OSError: the file cannot be read.
        """
        request = self._http.build_request("POST", PREDICTIONS, **one_image(image, name=name, wishes=wishes))
        return PredictionResponse.model_validate_json(self._send(request).content)

    def predict_batch(
        self, images: Sequence[Path] | Path, **wishes: Unpack[Wishes]
    ) -> Iterator[BatchPrediction | BatchProblem]:
        """Have many files judged, or one archive of them; each result as soon as it is there, in any order.

        Raises:
            ClientError: the service refuses all of it, or its answer breaks off.
            OSError: a file cannot be read.
        """
        request = self._http.build_request("POST", BATCH, **many_images(images, wishes=wishes))
        response = self._send(request, stream=True)
        with as_client_error(request):
            try:
                for line in response.iter_lines():
                    result = read_line(line)
                    if result is None:
                        return
                    yield result
            finally:
                response.close()
        raise ClientError(BROKEN_OFF)

    def model(self) -> ModelResponse:
        """Which model judges."""
        request = self._http.build_request("GET", MODEL)
        return ModelResponse.model_validate_json(self._send(request).content)

    def ready(self) -> bool:
        """Whether images may come."""
        request = self._http.build_request("GET", READY)
        with as_client_error(request):
            return self._http.send(request).is_success

    def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        give_up_s = time.monotonic() + self._patience_s
        while True:
            with as_client_error(request):
                response = self._http.send(request, stream=stream)
                if response.is_success:
                    return response
                response.read()
            time.sleep(pause_s(response, give_up_s=give_up_s))


class AsyncClient:
    """The same for an event loop; the arguments and methods are those of `Client`."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        patience_s: float = 60.0,
        timeout_s: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._patience_s = patience_s
        self._http = httpx.AsyncClient(
            base_url=url, headers=key_headers(key), timeout=timeout_s, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def predict(
        self, image: Path | bytes, *, name: str | None = None, **wishes: Unpack[Wishes]
    ) -> PredictionResponse:
        """Have one image judged. Raises as `Client.predict`."""
        options = await asyncio.to_thread(one_image, image, name=name, wishes=wishes)
        response = await self._send(self._http.build_request("POST", PREDICTIONS, **options))
        return PredictionResponse.model_validate_json(response.content)

    async def predict_batch(
        self, images: Sequence[Path] | Path, **wishes: Unpack[Wishes]
    ) -> AsyncIterator[BatchPrediction | BatchProblem]:
        """Have many files judged, or one archive of them. Raises as `Client.predict_batch`."""
        options = await asyncio.to_thread(many_images, images, wishes=wishes)
        request = self._http.build_request("POST", BATCH, **options)
        response = await self._send(request, stream=True)
        with as_client_error(request):
            try:
                async for line in response.aiter_lines():
                    result = read_line(line)
                    if result is None:
                        return
                    yield result
            finally:
                await response.aclose()
        raise ClientError(BROKEN_OFF)

    async def model(self) -> ModelResponse:
        """Which model judges."""
        response = await self._send(self._http.build_request("GET", MODEL))
        return ModelResponse.model_validate_json(response.content)

    async def ready(self) -> bool:
        """Whether images may come."""
        request = self._http.build_request("GET", READY)
        with as_client_error(request):
            return (await self._http.send(request)).is_success

    async def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        give_up_s = time.monotonic() + self._patience_s
        while True:
            with as_client_error(request):
                response = await self._http.send(request, stream=stream)
                if response.is_success:
                    return response
                await response.aread()
            await asyncio.sleep(pause_s(response, give_up_s=give_up_s))
