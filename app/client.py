"""A client of the service, for programs: `Client`, and `AsyncClient` for those that run an event loop.

    with Client("http://127.0.0.1:8000") as client:
        print(client.predict(Path("part.jpg")).verdict)

Needs httpx, the extra `client`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypedDict, Unpack

import httpx
from pydantic import TypeAdapter, ValidationError

from app.errors import Problem
from app.model_schemas import ModelResponse
from app.schemas import BatchEnd, BatchLine, BatchPrediction, BatchProblem, MaskEncoding, PredictionResponse

_LINE: Final[TypeAdapter[BatchLine]] = TypeAdapter(BatchLine)
_PREDICTIONS: Final = "v1/predictions"
_BATCH: Final = "v1/predictions/batch"
_BUSY: Final = (429, 503)


class ClientError(Exception):
    """The service refused (`problem` tells what it said), or there was no answer of its own.

    Attributes:
        status: the HTTP status; 0 where there was no answer at all.
        problem: what the service said; None where something else spoke, such as a proxy.
        retry_after_s: when to come again, where that was said.
    """

    def __init__(self, text: str, *, response: httpx.Response | None = None) -> None:
        super().__init__(text)
        self.status = 0
        self.problem: Problem | None = None
        self.retry_after_s: float | None = None
        if response is not None:
            self.status = response.status_code
            self.problem = _problem(response)
            seconds = response.headers.get("Retry-After", "")
            self.retry_after_s = float(seconds) if seconds.isdecimal() else None


class Wishes(TypedDict, total=False):
    """What a prediction may be asked for; what is left out is up to the service.

    recipe: name of the one that judges; mm_per_px: scale in place of the recipe's; mask: how the mask comes; weights:
    decision weights, one per class; min_area_px: smallest defect, where the model's own recipe judges.
    """

    recipe: str
    mm_per_px: float
    mask: MaskEncoding
    weights: Sequence[float]
    min_area_px: int


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
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout_s, transport=transport)

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
        request = self._http.build_request("POST", _PREDICTIONS, **_one(image, name=name, wishes=wishes))
        return PredictionResponse.model_validate_json(self._send(request).content)

    def predict_batch(
        self, images: Sequence[Path] | Path, **wishes: Unpack[Wishes]
    ) -> Iterator[BatchPrediction | BatchProblem]:
        """Have many files judged, or one archive of them; each result as soon as it is there, in any order.

        Raises:
            ClientError: the service refuses all of it, or its answer breaks off.
            OSError: a file cannot be read.
        """
        request = self._http.build_request("POST", _BATCH, **_many(images, wishes=wishes))
        response = self._send(request, stream=True)
        with _as_client_error(request):
            try:
                for line in response.iter_lines():
                    result = _result(line)
                    if result is None:
                        return
                    yield result
            finally:
                response.close()
        raise ClientError("the answer to the batch broke off; send again what is missing")

    def model(self) -> ModelResponse:
        """Which model judges."""
        request = self._http.build_request("GET", "v1/model")
        return ModelResponse.model_validate_json(self._send(request).content)

    def ready(self) -> bool:
        """Whether images may come."""
        request = self._http.build_request("GET", "readyz")
        with _as_client_error(request):
            return self._http.send(request).is_success

    def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        give_up_s = time.monotonic() + self._patience_s
        while True:
            with _as_client_error(request):
                response = self._http.send(request, stream=stream)
                if response.is_success:
                    return response
                response.read()
            time.sleep(_pause_s(response, give_up_s=give_up_s))


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
            base_url=url, headers=_headers(key), timeout=timeout_s, transport=transport
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
        options = await asyncio.to_thread(_one, image, name=name, wishes=wishes)
        response = await self._send(self._http.build_request("POST", _PREDICTIONS, **options))
        return PredictionResponse.model_validate_json(response.content)

    async def predict_batch(
        self, images: Sequence[Path] | Path, **wishes: Unpack[Wishes]
    ) -> AsyncIterator[BatchPrediction | BatchProblem]:
        """Have many files judged, or one archive of them. Raises as `Client.predict_batch`."""
        options = await asyncio.to_thread(_many, images, wishes=wishes)
        request = self._http.build_request("POST", _BATCH, **options)
        response = await self._send(request, stream=True)
        with _as_client_error(request):
            try:
                async for line in response.aiter_lines():
                    result = _result(line)
                    if result is None:
                        return
                    yield result
            finally:
                await response.aclose()
        raise ClientError("the answer to the batch broke off; send again what is missing")

    async def model(self) -> ModelResponse:
        """Which model judges."""
        response = await self._send(self._http.build_request("GET", "v1/model"))
        return ModelResponse.model_validate_json(response.content)

    async def ready(self) -> bool:
        """Whether images may come."""
        request = self._http.build_request("GET", "readyz")
        with _as_client_error(request):
            return (await self._http.send(request)).is_success

    async def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        give_up_s = time.monotonic() + self._patience_s
        while True:
            with _as_client_error(request):
                response = await self._http.send(request, stream=stream)
                if response.is_success:
                    return response
                await response.aread()
            await asyncio.sleep(_pause_s(response, give_up_s=give_up_s))


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def _one(image: Path | bytes, *, name: str | None, wishes: Wishes) -> dict[str, Any]:
    """The parts of a request for one image."""
    content, its_name = (image, "image") if isinstance(image, bytes) else (image.read_bytes(), image.name)
    return {"params": _query(wishes), "files": {"image": (name or its_name, content)}}


def _many(images: Sequence[Path] | Path, *, wishes: Wishes) -> dict[str, Any]:
    """The parts of a request for a batch."""
    field, paths = ("archive", [images]) if isinstance(images, Path) else ("images", images)
    files = [(field, (path.name, path.read_bytes())) for path in paths]
    return {"params": _query(wishes), "files": files}


def _query(wishes: Wishes) -> dict[str, Any]:
    query: dict[str, Any] = dict(wishes)
    if "weights" in wishes:
        query["weights"] = ",".join(map(str, wishes["weights"]))
    return query


def _pause_s(response: httpx.Response, *, give_up_s: float) -> float:
    """How long to wait before asking again; raises ClientError where that was not said, is too long, or no use."""
    problem = _problem(response)
    error = ClientError(
        problem.detail if problem else f"the answer is {response.status_code} {response.reason_phrase}",
        response=response,
    )
    pause_s = error.retry_after_s
    if error.status not in _BUSY or pause_s is None or time.monotonic() + pause_s > give_up_s:
        raise error
    return pause_s


def _problem(response: httpx.Response) -> Problem | None:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        return None


def _result(line: str) -> BatchPrediction | BatchProblem | None:
    """One line of a batch; None for a proper end."""
    result = _LINE.validate_json(line)
    if not isinstance(result, BatchEnd):
        return result
    if not result.done:
        raise ClientError("the archive breaks off before its end; pack it again")
    return None


@contextmanager
def _as_client_error(request: httpx.Request) -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise ClientError(
            f"no answer from {request.url} ({error or type(error).__name__}); is the service running there?"
        ) from error
