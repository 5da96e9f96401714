"""Champions promoted and rolled back under load: every answer is one model's, whole, and none is lost."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from model.predictor import Predictor

from ..models import FOUND, blind_model, clumsy_model, fill_store, lying_model, promote, sighted_model, trap
from .conftest import Running

pytestmark = pytest.mark.anyio

CLIENTS: Final = 4
LOOK_S: Final = 0.05
SOON_S: Final = 20
"""Loading takes a second here; far less than that on a machine that is not shared."""


@pytest.fixture
def champion(tmp_path: Path) -> dict[str, object]:
    """Settings of a service that follows the store in `tmp_path`."""
    return {"model": "store://champion", "store": tmp_path, "watch_model_s": LOOK_S}


@asynccontextmanager
async def hammering(client: httpx.AsyncClient, *contents: bytes) -> AsyncIterator[list[httpx.Response]]:
    """Clients that ask without a pause for as long as this lasts, each for one image after the other."""
    answers: list[httpx.Response] = []
    done = False

    async def ask() -> None:
        while not done:
            for content in contents:
                answers.append(await client.post("/v1/predictions?mask=png", content=content))

    asking = [asyncio.create_task(ask()) for _ in range(CLIENTS)]
    try:
        yield answers
    finally:
        done = True
        await asyncio.gather(*asking)


async def until(condition: Callable[[], Any]) -> None:
    end_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end_s, "it never came to that"
        await asyncio.sleep(0.01)


def names(answers: list[httpx.Response]) -> set[str]:
    return {answer.json()["model"]["name"] for answer in answers}


async def test_a_promotion_and_a_roll_back_take_over_without_a_lost_request(
    running: Running, champion: dict[str, object], part: bytes, tmp_path: Path
) -> None:
    store = fill_store(tmp_path, sighted_model())
    async with running(**champion) as client, hammering(client, part) as answers:
        await until(lambda: len(answers) > 10)
        await asyncio.to_thread(promote, store, blind_model())
        await until(lambda: names(answers[-CLIENTS:]) == {"blind"})
        await asyncio.to_thread(store.roll_back, by="a test", reason="it is blind")
        await until(lambda: names(answers[-CLIENTS:]) == {"sighted"})
        told = (await client.get("/v1/model")).json()
    assert told["store_version"] == "v1"
    assert Counter(answer.status_code for answer in answers) == {200: len(answers)}
    masks: dict[str, set[str]] = {"sighted": set(), "blind": set()}
    for answer in answers:
        told = answer.json()
        found = {defect["class"]: defect["area_px"] for defect in told["defects"]}
        assert found == FOUND[told["model"]["name"]]
        masks[told["model"]["name"]].add(told["mask"]["data"])
    assert [len(seen) for seen in masks.values()] == [1, 1]
    assert masks["sighted"] != masks["blind"]
    assert [event.kind for event in store.history()].count("rolled_back") == 1


async def test_a_champion_that_fails_its_self_test_never_answers_and_is_rolled_back(
    running: Running, champion: dict[str, object], part: bytes, tmp_path: Path
) -> None:
    store = fill_store(tmp_path, sighted_model())
    async with running(**champion) as client, hammering(client, part) as answers:
        await asyncio.to_thread(promote, store, lying_model())
        await until(lambda: store.history()[-1].kind == "rolled_back")
        count = len(answers)
        await until(lambda: len(answers) > count + 10)
    assert Counter(answer.status_code for answer in answers) == {200: len(answers)}
    assert names(answers) == {"sighted"}
    assert "self-test failed" in store.history()[-1].reason


async def test_a_champion_that_fails_at_work_is_rolled_back_and_no_request_notices(
    running: Running, champion: dict[str, object], part: bytes, tmp_path: Path
) -> None:
    store = fill_store(tmp_path, sighted_model())
    async with running(**champion) as client, hammering(client, part, trap()) as answers:
        await asyncio.to_thread(promote, store, clumsy_model())
        await until(lambda: store.history()[-1].kind == "rolled_back")
        await until(lambda: names(answers[-CLIENTS:]) == {"sighted"})
    assert Counter(answer.status_code for answer in answers) == {200: len(answers)}
    assert "failed at one of its first images" in store.history()[-1].reason
    assert store.champion == store.resolve("v1")


async def test_two_services_that_refuse_the_same_champion_roll_it_back_once(
    running: Running, champion: dict[str, object], tmp_path: Path
) -> None:
    store = fill_store(tmp_path, blind_model(), sighted_model())
    async with running(**champion) as one, running(**champion) as other:
        await asyncio.to_thread(promote, store, lying_model())
        await until(lambda: store.history()[-1].kind == "rolled_back")
        await asyncio.sleep(10 * LOOK_S)
        for client in (one, other):
            assert (await client.get("/v1/model")).json()["store_version"] == "v2"
    assert [event.kind for event in store.history()].count("rolled_back") == 1
    assert store.champion == store.resolve("v2")


async def test_what_is_rolled_back_meanwhile_is_not_loaded_again(
    running: Running, champion: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real_open = Predictor.open.__func__  # type: ignore[attr-defined]

    def open_and_note(cls: type[Predictor], source: Any, **options: Any) -> Predictor:
        opened.append(source.contract.name)
        predictor: Predictor = real_open(cls, source, **options)
        return predictor

    monkeypatch.setattr(Predictor, "open", classmethod(open_and_note))
    store = fill_store(tmp_path, sighted_model())
    async with running(**champion):
        await asyncio.to_thread(promote, store, lying_model())
        await until(lambda: store.history()[-1].kind == "rolled_back")
        await asyncio.sleep(10 * LOOK_S)
    assert opened == ["sighted", "lying"]
