"""From hand to hand: what comes of an image, whoever fails on its way, and that nobody works for who has gone."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest

from app.archives import Member
from app.engine import EngineLimits
from app.errors import NotReady, TimedOut, Unprocessable
from app.predictions import Decoded
from app.relay import Relay
from app.telemetry import REQUEST_ID
from app.worker import Judged
from data.images import ImageFacts
from model.artifact import Artifact, open_artifact

from .machine import Machine, guilty, part, running, until
from .models import sighted_model

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return open_artifact(sighted_model())


@pytest.fixture
def machine(artifact: Artifact) -> Machine:
    return Machine(artifact)


@asynccontextmanager
async def relaying(machine: Machine, **limits: Any) -> AsyncIterator[Relay]:
    async with running(machine.open, limits=EngineLimits(**limits)) as engine:
        relay = Relay(engine)
        try:
            yield relay
        finally:
            relay.close()


def decoded(image: Any) -> Decoded:
    facts = ImageFacts("PNG", 40, 32, 8, 1, None)
    return Decoded(Member("a.png", b""), image, facts, began_s=0.0, decode_ms=0.0)


def defect_px(image: Decoded, judged: Judged) -> bytes:
    return b"%d" % np.count_nonzero(judged.prediction.labels)


def run(
    relay: Relay, image: Any, finish: Callable[[Decoded, Judged], bytes] = defect_px
) -> "asyncio.Task[bytes]":
    return asyncio.create_task(relay.run(partial(decoded, image), decision=None, finish=finish))


async def test_an_image_comes_back_judged_and_each_stage_is_in_a_thread_of_its_own_kind(
    machine: Machine,
) -> None:
    places: list[tuple[str, str | None]] = []

    def note() -> None:
        places.append((threading.current_thread().name.split("_")[0], REQUEST_ID.get()))

    def decode() -> Decoded:
        note()
        return decoded(part(1))

    def finish(image: Decoded, judged: Judged) -> bytes:
        note()
        return defect_px(image, judged)

    token = REQUEST_ID.set("mine")
    async with relaying(machine) as relay:
        answer = await relay.run(decode, decision=None, finish=finish)
    REQUEST_ID.reset(token)
    expected = np.count_nonzero(machine.open().predict(part(1)).labels)
    assert int(answer) == expected > 0
    assert places == [("decode", "mine"), ("finish", "mine")]


async def test_an_error_of_any_stage_is_raised(machine: Machine) -> None:
    def fail(*_: Any) -> Any:
        raise LookupError("lost")

    async with relaying(machine) as relay:
        with pytest.raises(LookupError, match="lost"):
            await relay.run(fail, decision=None, finish=defect_px)
        with pytest.raises(LookupError, match="lost"):
            await run(relay, part(1), fail)
        with pytest.raises(Unprocessable):
            await run(relay, np.zeros((32, 40), np.uint8))
        with pytest.raises(RuntimeError, match="CUDA"):
            await run(relay, guilty())
        assert await run(relay, np.full((32, 40, 3), 128, np.uint8)) == b"0"
    with pytest.raises(NotReady):
        await Relay(relay.engine).run(partial(decoded, part(1)), decision=None, finish=defect_px)


async def test_who_is_cancelled_while_he_waits_is_never_judged(machine: Machine) -> None:
    async with relaying(machine) as relay:
        with machine.held():
            first = run(relay, part(1))
            await until(lambda: machine.batches)
            gone = run(relay, part(2))
            await until(lambda: relay.engine.depth.requests == 1)
            gone.cancel()
            await until(gone.done)
            assert relay.engine.depth.requests == 0
        assert int(await first) > 0
        assert machine.batches == [1]


async def test_who_is_cancelled_while_he_is_decoded_takes_no_place(machine: Machine) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def decode() -> Decoded:
        begun.set()
        assert go_on.wait(30)
        return decoded(part(1))

    async with relaying(machine) as relay:
        gone = asyncio.create_task(relay.run(decode, decision=None, finish=defect_px))
        await until(begun.is_set)
        machine.batches.clear()
        with machine.held():
            first = run(relay, part(2))
            gone.cancel()
            await until(gone.done)
            go_on.set()
            await until(lambda: machine.batches)
            relay.decoding.submit(lambda: None).result(30)
            assert relay.engine.depth.requests == 0
        await first
    assert sum(machine.batches) == 1


async def test_there_is_no_answer_beyond_the_time_allowed(machine: Machine) -> None:
    async with relaying(machine, request_timeout_s=0.05) as relay:
        with machine.held():
            with pytest.raises(TimedOut, match=r"no answer within 0\.05 s"):
                await run(relay, part(1))
            assert relay.engine.depth.requests == 0


async def test_time_spent_before_the_engine_is_not_counted(machine: Machine) -> None:
    go_on = threading.Event()

    def decode() -> Decoded:
        assert go_on.wait(30)
        return decoded(part(1))

    async with relaying(machine, request_timeout_s=0.2) as relay:
        task = asyncio.create_task(relay.run(decode, decision=None, finish=defect_px))
        await asyncio.sleep(0.5)
        assert not task.done()
        go_on.set()
        assert int(await task) > 0
