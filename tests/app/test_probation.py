"""The old model stands by while a new one judges its first images, and is back when that one is at fault."""

import asyncio
import gc
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from app.engine import Engine
from app.errors import NotReady
from app.loaded_model import LoadedModel, Probation, load_model
from app.worker import FallBack
from model.artifact import Artifact, open_artifact
from model.predictor import Predictor

from .machine import LIMITS, Machine, guilty, loading, part, running, until

pytestmark = pytest.mark.anyio

PROBATION = replace(LIMITS, probation_images=5)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return open_artifact(Path(__file__).parents[1] / "promises" / "format_1.onnx")


@pytest.fixture
def old(artifact: Artifact) -> Machine:
    return Machine(artifact)


@pytest.fixture
def new(artifact: Artifact) -> Machine:
    return Machine(artifact)


async def test_what_a_new_model_fails_at_is_judged_by_the_old_one_which_is_back(
    old: Machine, new: Machine
) -> None:
    told: list[FallBack] = []
    async with running(old.open, limits=PROBATION, on_fall_back=told.append) as engine:
        before = engine.model
        after = await engine.reload(loading(new.open))
        new.broken = True
        assert (await engine.predict(part(1))).model is before
        await until(lambda: told)
        assert engine.model is before
        assert (await engine.predict(part(2))).model is before
    (fall_back,) = told
    assert (fall_back.failed, fall_back.back) == (after, before)
    assert "failed at work (RuntimeError)" in fall_back.reason
    assert "/usr/lib" not in fall_back.reason


async def test_of_a_whole_batch_no_request_is_lost_and_it_is_told_once(old: Machine, new: Machine) -> None:
    told: list[FallBack] = []
    limits = replace(PROBATION, batch_wait_ms=200)
    async with running(old.open, limits=limits, on_fall_back=told.append) as engine:
        before = engine.model
        await engine.reload(loading(new.open))
        with new.held():
            tasks = [asyncio.create_task(engine.predict(part(number))) for number in range(8)]
            await until(lambda: new.batches)
            assert new.batches == [8]
            new.broken = True
        judged = await asyncio.gather(*tasks)
        assert engine.readiness().ready
    assert {one.model for one in judged} == {before}
    assert len(told) == 1


async def test_an_image_that_the_old_model_fails_at_as_well_is_the_image_s_fault(
    old: Machine, new: Machine
) -> None:
    told: list[FallBack] = []
    async with running(old.open, limits=PROBATION, on_fall_back=told.append) as engine:
        after = await engine.reload(loading(new.open))
        with pytest.raises(RuntimeError):
            await engine.predict(guilty())
        assert (await engine.predict(part(1))).model is after
    assert told == []


async def test_a_failed_self_test_at_work_brings_the_old_model_back(old: Machine, new: Machine) -> None:
    told: list[FallBack] = []
    async with running(old.open, limits=PROBATION, on_fall_back=told.append) as engine:
        before = engine.model
        await engine.reload(loading(new.open))
        new.broken = True
        with pytest.raises(RuntimeError):
            await engine.predict(guilty())
        await until(lambda: told)
        assert "self-test at work" in told[0].reason
        assert (await engine.predict(part(1))).model is before


async def test_where_neither_works_the_device_is_lost_and_nobody_is_blamed(
    old: Machine, new: Machine
) -> None:
    told: list[FallBack] = []
    async with running(old.open, limits=PROBATION, on_fall_back=told.append) as engine:
        await engine.reload(loading(new.open))
        old.broken = new.broken = True
        with pytest.raises(RuntimeError):
            await engine.predict(part(1))
        await until(lambda: not engine.readiness().ready)
        with pytest.raises(NotReady, match="self-test at work"):
            await engine.predict(part(1))
    assert told == []


async def test_after_its_first_images_the_old_model_is_let_go_of(old: Machine, new: Machine) -> None:
    opened: list[weakref.ref[Predictor]] = []

    def open_old() -> Predictor:
        predictor = old.open()
        opened.append(weakref.ref(predictor))
        return predictor

    async with running(open_old, limits=PROBATION) as engine:
        await engine.predict(part(0))
        await engine.reload(loading(new.open))
        for number in range(4):
            await engine.predict(part(number))
        gc.collect()
        assert opened[0]() is not None
        await engine.predict(part(4))
        await until(lambda: gc.collect() >= 0 and opened[0]() is None)


async def test_of_many_swaps_in_a_row_only_the_last_but_one_stands_by(artifact: Artifact) -> None:
    opened: list[weakref.ref[Predictor]] = []

    def open_predictor() -> Predictor:
        predictor = Machine(artifact).open()
        opened.append(weakref.ref(predictor))
        return predictor

    async with running(open_predictor, limits=PROBATION) as engine:
        for number in range(3):
            await engine.reload()
            await engine.predict(part(number))
        await until(lambda: gc.collect() >= 0 and opened[1]() is None)
        assert [one() is not None for one in opened] == [False, False, True, True]


async def test_a_model_in_trouble_stands_by_for_nobody(old: Machine, new: Machine) -> None:
    async with running(old.open, limits=PROBATION) as engine:
        old.broken = True
        with pytest.raises(RuntimeError):
            await engine.predict(part(0))
        await until(lambda: not engine.readiness().ready)
        old.broken = False
        await engine.reload(loading(new.open))
        new.broken = True
        with pytest.raises(RuntimeError):
            await engine.predict(part(1))
        await until(lambda: not engine.readiness().ready)


@pytest.mark.parametrize(
    ("images", "seconds", "counted", "is_over"),
    [
        pytest.param(3, 0, 2, False, id="too few images"),
        pytest.param(3, 0, 3, True, id="enough of both"),
        pytest.param(3, 60, 100, False, id="too early"),
    ],
)
async def test_probation_is_over_after_so_many_images_but_not_before_its_time(
    old: Machine, new: Machine, images: int, seconds: float, counted: int, is_over: bool
) -> None:
    loaded: LoadedModel = load_model(new.open)
    loaded.probation = Probation(load_model(old.open), images=images, until_s=time.monotonic() + seconds)
    for _ in range(counted):
        loaded.count(1)
    assert (loaded.old is None) is is_over


async def test_a_first_model_has_nothing_behind_it(new: Machine) -> None:
    engine = Engine(loading(new.open), limits=PROBATION)
    await engine.start()
    new.broken = True
    with pytest.raises(RuntimeError):
        await engine.predict(part(0))
    await until(lambda: not engine.readiness().ready)
    await engine.stop(drain_s=30)
