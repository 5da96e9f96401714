"""Many images in one request: a line of JSON for each as soon as it is judged, in whatever order that is."""

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from app.archives import Member
from app.errors import Overloaded, ServiceError, problem_of
from app.predictions import to_line
from app.queries import BatchQuery
from app.schemas import BatchEnd, BatchProblem
from app.service import Service

_IN_FLIGHT: Final = 8
"""Images of one batch on their way at a time: enough to fill a GPU's batch, while others get their turns."""

_MOST_TRIES: Final = 20
"""How often an image of a batch is offered to a busy engine."""

_log: Final = logging.getLogger(__name__)


async def judge_all(
    members: AsyncIterator[Member], *, service: Service, query: BatchQuery, request_id: str
) -> AsyncIterator[bytes]:
    """Lines of NDJSON (`app.schemas.BatchLine`): one per image, then the end. Nothing is raised: errors are lines."""
    pending: set[asyncio.Task[tuple[bytes, bool]]] = set()
    images, errors, is_whole, more = 0, 0, True, True
    try:
        while more or pending:
            if more and len(pending) < _IN_FLIGHT:
                try:
                    member = await anext(members, None)
                except ServiceError as error:
                    # The archive broke off; what came out of it before is judged all the same.
                    member, is_whole = None, False
                    yield _problem_line(error, name="", request_id=request_id)
                more = member is not None
                if member is not None:
                    work = _judge(member, service=service, query=query, request_id=request_id)
                    pending.add(asyncio.create_task(work))
            if pending:
                can_take_more = more and len(pending) < _IN_FLIGHT
                ready, pending = await asyncio.wait(
                    pending, timeout=0 if can_take_more else None, return_when=asyncio.FIRST_COMPLETED
                )
                for line, is_error in [task.result() for task in ready]:
                    images, errors = images + 1, errors + is_error
                    yield line
        yield _line(BatchEnd(done=is_whole, images=images, errors=errors))
    finally:
        # Where the client went away, nobody wants the rest.
        for task in pending:
            task.cancel()


async def _judge(
    member: Member, *, service: Service, query: BatchQuery, request_id: str
) -> tuple[bytes, bool]:
    """One image's line, and whether it holds a problem."""
    encode = partial(to_line, mask=query.mask)
    error: Exception
    for _ in range(_MOST_TRIES):
        try:
            line = await service.predict(member, query=query, request_id=request_id, encode=encode)
            return line, False
        except Overloaded as busy:
            # A batch is in no hurry: it comes again rather than giving up, as a client with one image would.
            error = busy
            await asyncio.sleep(int(busy.headers["Retry-After"]))
        except ServiceError as refusal:
            error = refusal
            break
        except Exception as failure:  # the edge of a task: the other images get their lines
            _log.exception("an image of a batch failed")
            error = failure
            break
    return _problem_line(error, name=member.name, request_id=request_id), True


def _problem_line(error: Exception, *, name: str, request_id: str) -> bytes:
    return _line(BatchProblem(name=name, problem=problem_of(error, instance=request_id)))


def _line(body: BatchProblem | BatchEnd) -> bytes:
    return body.model_dump_json().encode() + b"\n"
