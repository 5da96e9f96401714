"""Ten times the load that the service can bear: who is let in is served soon, the rest is told when to come again."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

import httpx
import pytest

from .conftest import Running, Slowness

pytestmark = pytest.mark.anyio

S_PER_IMAGE: Final = 0.1
LOAD_S: Final = 3.0
MAX_WAIT_S: Final = 0.3
PROBE_S: Final = 0.05
#: What a busy machine with two cores may add; a line without an end would add LOAD_S x 9.
SLACK_S: Final = 0.6


@dataclass(frozen=True)
class Timed:
    """An answer, and the seconds that it took."""

    answer: httpx.Response
    took_s: float


async def timed(asking: Awaitable[httpx.Response]) -> Timed:
    """How long it takes."""
    began_s = time.perf_counter()
    answer = await asking
    return Timed(answer, time.perf_counter() - began_s)


async def test_ten_times_the_load_is_borne(running: Running, slow: Slowness, good_part: bytes) -> None:
    slow.s_per_image = S_PER_IMAGE
    async with running(max_wait_s=MAX_WAIT_S) as client:

        def ask() -> "asyncio.Task[Timed]":
            return asyncio.create_task(timed(client.post("/v1/predictions?mask=none", content=good_part)))

        alone = await ask()
        assert alone.answer.status_code == 200
        probes: list[Timed] = []
        load: list[asyncio.Task[Timed]] = []
        began_s = time.perf_counter()
        while (spent_s := time.perf_counter() - began_s) < LOAD_S:
            # An open loop: what is due is sent, however slowly answers come.
            due = int(10 * spent_s / S_PER_IMAGE) - len(load)
            load += [ask() for _ in range(due)]
            if spent_s > PROBE_S * len(probes):
                probes.append(await timed(client.get("/healthz")))
            await asyncio.sleep(0.005)
        load_answers = [await one for one in load]
        ended_s = time.perf_counter()
        after = await ask()

    accepted = [one for one in load_answers if one.answer.status_code == 200]
    refused = [one for one in load_answers if one.answer.status_code == 503]
    assert len(accepted) + len(refused) == len(load_answers), Counter(
        one.answer.status_code for one in load_answers
    )
    assert len(load_answers) >= 8 * LOAD_S / S_PER_IMAGE, "the load was too light to tell anything"
    # It worked all the time, and nobody waited for longer than was promised: the line, who is at work, oneself.
    assert 0.6 * LOAD_S / S_PER_IMAGE <= len(accepted) <= (ended_s - began_s) / S_PER_IMAGE + 1
    assert max(one.took_s for one in accepted) < MAX_WAIT_S + 2 * S_PER_IMAGE + SLACK_S
    for one in refused:
        assert one.answer.json()["type"].endswith(":overloaded")
        assert 1 <= int(one.answer.headers["Retry-After"]) <= 2
    assert {one.answer.status_code for one in probes} == {200}
    assert max(one.took_s for one in probes) < SLACK_S
    assert (after.answer.status_code, after.took_s < 2) == (200, True)


async def test_who_comes_again_when_he_was_told_to_is_let_in(
    running: Running, slow: Slowness, good_part: bytes
) -> None:
    slow.s_per_image = S_PER_IMAGE
    async with running(max_wait_s=MAX_WAIT_S) as client:
        asked = [client.post("/v1/predictions", content=good_part) for _ in range(20)]
        answers = await asyncio.gather(*asked)
        refused = [answer for answer in answers if answer.status_code == 503]
        assert refused
        await asyncio.sleep(int(refused[-1].headers["Retry-After"]))
        assert (await client.post("/v1/predictions", content=good_part)).status_code == 200
