"""What both clients of the service share: what a request is made of, and what an answer means."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypedDict

import httpx
from pydantic import TypeAdapter, ValidationError

from app.errors import Problem
from app.schemas import BatchEnd, BatchLine, BatchPrediction, BatchProblem, MaskEncoding

PREDICTIONS: Final = "v1/predictions"
BATCH: Final = "v1/predictions/batch"
MODEL: Final = "v1/model"
READY: Final = "readyz"

BROKEN_OFF: Final = "the answer to the batch broke off; send again what is missing"

_BUSY: Final = (429, 503)
_LINE: Final[TypeAdapter[BatchLine]] = TypeAdapter(BatchLine)


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


def key_headers(key: str | None) -> dict[str, str]:
    """What carries an API key."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def one_image(image: Path | bytes, *, name: str | None, wishes: Wishes) -> dict[str, Any]:
    """The parts of a request for one image."""
    content, its_name = (image, "image") if isinstance(image, bytes) else (image.read_bytes(), image.name)
    return {"params": _query(wishes), "files": {"image": (name or its_name, content)}}


def many_images(images: Sequence[Path] | Path, *, wishes: Wishes) -> dict[str, Any]:
    """The parts of a request for a batch."""
    field, paths = ("archive", [images]) if isinstance(images, Path) else ("images", images)
    files = [(field, (path.name, path.read_bytes())) for path in paths]
    return {"params": _query(wishes), "files": files}


def _query(wishes: Wishes) -> dict[str, Any]:
    query: dict[str, Any] = dict(wishes)
    if "weights" in wishes:
        query["weights"] = ",".join(map(str, wishes["weights"]))
    return query


def pause_s(response: httpx.Response, *, give_up_s: float) -> float:
    """How long to wait before asking again; raises ClientError where that was not said, is too long, or no use."""
    problem = _problem(response)
    error = ClientError(
        problem.detail if problem else f"the answer is {response.status_code} {response.reason_phrase}",
        response=response,
    )
    wait_s = error.retry_after_s
    if error.status not in _BUSY or wait_s is None or time.monotonic() + wait_s > give_up_s:
        raise error
    return wait_s


def _problem(response: httpx.Response) -> Problem | None:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        return None


def read_line(line: str) -> BatchPrediction | BatchProblem | None:
    """One line of a batch; None for a proper end."""
    result = _LINE.validate_json(line)
    if not isinstance(result, BatchEnd):
        return result
    if not result.done:
        raise ClientError("the archive breaks off before its end; pack it again")
    return None


@contextmanager
def as_client_error(request: httpx.Request) -> Iterator[None]:
    """Where no answer comes, say from where none came."""
    try:
        yield
    except httpx.TransportError as error:
        raise ClientError(
            f"no answer from {request.url} ({error or type(error).__name__}); is the service running there?"
        ) from error
