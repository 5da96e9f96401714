"""The engine: each request gets its own answer, whatever else happens; what it cannot bear it refuses."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.engine import Engine
from app.errors import NotReady, Overloaded, ServiceError, TimedOut, Unprocessable
from app.waiting_room import Depth
from app.worker import BatchFacts, Judged
from data.masks import encode_labels, read_labels
from model.artifact import Artifact, ArtifactError, open_artifact
from model.contract import Decision
from model.predictor import Prediction, Predictor
from model.runtime import DeviceError

from .machine import CPU, GPU, LIMITS, Machine, guilty, loading, part, running, until

pytestmark = pytest.mark.anyio

MUTED = Decision(weights=(1.0, 0.0, 1.0))
"""No scratch ever."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    """Red pixels are scratches, blue ones pits; tiles of 64 px."""
    return open_artifact(Path(__file__).parents[1] / "promises" / "format_1.onnx")


@pytest.fixture
def machine(artifact: Artifact) -> "Machine":
    return Machine(artifact)


async def busy(engine: Engine, machine: Machine) -> "asyncio.Task[Judged]":
    """A request that a held machine is at, so that all later ones wait."""
    task = asyncio.create_task(engine.predict(part(0, size_hw=(8, 8))))
    await until(lambda: machine.batches)
    return task


async def waiting(engine: Engine, *images: NDArray[np.uint8], **options: Any) -> "list[asyncio.Task[Judged]]":
    """Requests that have entered the waiting room, in this order."""
    tasks = []
    for image in images:
        before = engine.depth.requests
        tasks.append(asyncio.create_task(engine.predict(image, **options)))
        await until(lambda before=before: engine.depth.requests > before)
    return tasks


def assert_equal(said: Prediction, expected: Prediction) -> None:
    np.testing.assert_array_equal(said.labels, expected.labels)
    np.testing.assert_array_equal(said.confidence, expected.confidence)
    assert (said.probabilities is None) == (expected.probabilities is None)
    if said.probabilities is not None and expected.probabilities is not None:
        np.testing.assert_array_equal(said.probabilities, expected.probabilities)


@pytest.mark.parametrize("provider", [CPU, GPU])
async def test_of_200_requests_at_once_each_gets_the_answer_it_would_get_alone(
    artifact: Artifact, provider: str
) -> None:
    machine = Machine(artifact, provider=provider)
    sizes = [(32, 40), (33, 41), (64, 64), (100, 90), (8, 300)]
    images = [part(number, size_hw=sizes[number % 5]) for number in range(200)]
    options: list[dict[str, Any]] = [{}, {"decision": MUTED}, {"want_probabilities": True}]
    told: list[BatchFacts] = []
    limits = replace(LIMITS, batch_wait_ms=100)
    async with running(machine.open, limits=limits, on_batch=told.append) as engine:
        judged = await asyncio.gather(
            *(engine.predict(image, **options[at % 3]) for at, image in enumerate(images))
        )
    alone = Predictor.open(artifact, device="cpu", threads=1)
    for at, (image, one) in enumerate(zip(images, judged, strict=True)):
        assert_equal(one.prediction, alone.predict(image, **options[at % 3]))
        assert one.model.provider == provider
    assert len({one.prediction.confidence.tobytes() for one in judged}) == 200, "the images tell them apart"
    assert sum(facts.images for facts in told) == 200
    assert sum(facts.pixels for facts in told) == sum(image.shape[0] * image.shape[1] for image in images)
    assert max(facts.images for facts in told) > 1, "or nothing was shared"


async def test_a_gpu_waits_a_little_for_more_and_serves_them_in_one_batch(machine: Machine) -> None:
    limits = replace(LIMITS, batch_wait_ms=20_000, batch_pixels=4 * 32 * 40)
    async with running(machine.open, limits=limits) as engine:
        machine.batches.clear()
        first = await waiting(engine, part(0), part(1), part(2))
        assert machine.batches == []
        await asyncio.gather(engine.predict(part(3)), *first)
        assert machine.batches == [4]


async def test_a_processor_waits_for_nobody(artifact: Artifact) -> None:
    machine = Machine(artifact, provider=CPU)
    async with running(machine.open, limits=replace(LIMITS, batch_wait_ms=60_000)) as engine:
        judged = await engine.predict(part(0), timeout_s=20)
    assert judged.queue_ms < 20_000


async def test_another_decision_goes_in_another_batch(machine: Machine) -> None:
    async with running(machine.open) as engine:
        with machine.held():
            first = await busy(engine, machine)
            plain = await waiting(engine, part(1))
            muted = await waiting(engine, part(2), decision=MUTED)
            plain += await waiting(engine, part(3))
        await asyncio.gather(first, *plain, *muted)
    assert machine.batches == [1, 2, 1]
    assert 1 in plain[0].result().prediction.labels
    assert 1 not in muted[0].result().prediction.labels


async def test_the_answer_tells_how_long_it_waited_and_how_long_it_took(machine: Machine) -> None:
    async with running(machine.open) as engine:
        with machine.held():
            first = await busy(engine, machine)
            (second,) = await waiting(engine, part(1))
            await asyncio.sleep(0.05)
        await asyncio.gather(first, second)
    assert first.result().inference_ms >= 50
    assert second.result().queue_ms >= 50
    assert second.result().inference_ms > 0


async def test_a_full_waiting_room_refuses_and_tells_when_to_come_again(machine: Machine) -> None:
    async with running(machine.open, limits=replace(LIMITS, waiting_pixels=3 * 32 * 40)) as engine:
        with machine.held():
            first = await busy(engine, machine)
            tasks = await waiting(engine, part(1), part(2), part(3))
            assert engine.depth == Depth(requests=3, pixels=3 * 32 * 40)
            with pytest.raises(Overloaded) as refused:
                await engine.predict(part(4))
            assert int(refused.value.headers["Retry-After"]) >= 1
            with pytest.raises(Overloaded):
                engine.check_room(1)
        await asyncio.gather(first, *tasks)
        engine.check_room(1)
        await engine.predict(part(4))
        assert engine.depth == Depth(requests=0, pixels=0)


async def test_who_cancels_before_his_batch_is_not_computed(machine: Machine) -> None:
    async with running(machine.open) as engine:
        with machine.held():
            first = await busy(engine, machine)
            gone, there = await waiting(engine, part(1, size_hw=(16, 48)), part(2))
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert engine.depth == Depth(requests=1, pixels=32 * 40)
        await asyncio.gather(first, there)
    assert machine.sizes == {(8, 8), (32, 40)}


async def test_who_cancels_during_his_batch_harms_no_other(machine: Machine) -> None:
    async with running(machine.open) as engine:
        with machine.held():
            first = await busy(engine, machine)
            (second,) = await waiting(engine, part(1))
            first.cancel()
            await asyncio.wait([first])
        assert 1 in (await second).prediction.labels
    assert first.cancelled()


async def test_who_waits_too_long_is_told_so_and_not_computed(machine: Machine) -> None:
    async with running(machine.open) as engine:
        with machine.held():
            first = await busy(engine, machine)
            with pytest.raises(TimedOut, match=r"no answer within 0\.05 s"):
                await engine.predict(part(1, size_hw=(16, 48)), timeout_s=0.05)
            assert engine.depth.requests == 0
        await first
        await engine.predict(part(2))
    assert machine.sizes == {(8, 8), (32, 40)}


async def test_the_time_limit_holds_without_being_asked_for(machine: Machine) -> None:
    async with running(machine.open, limits=replace(LIMITS, request_timeout_s=0.05)) as engine:
        with machine.held(), pytest.raises(TimedOut):
            await engine.predict(part(1))


async def test_of_a_batch_that_fails_only_the_guilty_image_gets_the_error(
    machine: Machine, artifact: Artifact
) -> None:
    images = [part(1), guilty(), part(2), part(3)]
    async with running(machine.open) as engine:
        with machine.held():
            first = await busy(engine, machine)
            tasks = await waiting(engine, *images)
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await first
        assert engine.readiness().ready, "the device passed its self-test afterwards"
    assert machine.batches[1] == 4
    assert isinstance(answers[1], RuntimeError)
    alone = Predictor.open(artifact, device="cpu", threads=1)
    for at in (0, 2, 3):
        answer = answers[at]
        assert isinstance(answer, Judged)
        assert_equal(answer.prediction, alone.predict(images[at]))


async def test_what_the_model_cannot_take_is_refused_in_its_words(machine: Machine) -> None:
    async with running(machine.open) as engine:
        with pytest.raises(Unprocessable, match="2 weights for a model of 3 classes"):
            await engine.predict(part(1), decision=Decision.neutral(2))
        with pytest.raises(Unprocessable, match="expected an RGB image"):
            await engine.predict(np.zeros((8, 8, 4), np.uint8))


async def test_a_listener_that_fails_harms_no_answer(machine: Machine) -> None:
    def fail(_: BatchFacts) -> None:
        raise RuntimeError("no room for a metric")

    async with running(machine.open, on_batch=fail) as engine:
        for number in range(3):
            assert 1 in (await engine.predict(part(number))).prediction.labels


async def test_a_device_that_is_lost_at_work_is_not_ready_until_a_reload(machine: Machine) -> None:
    async with running(machine.open) as engine:
        machine.broken = True
        with pytest.raises(RuntimeError):
            await engine.predict(part(1))
        await until(lambda: not engine.readiness().ready)
        assert "self-test at work" in engine.readiness().reason
        assert "/usr/lib" not in engine.readiness().reason
        with pytest.raises(NotReady, match="self-test at work"):
            await engine.predict(part(1))
        machine.broken = False
        await engine.reload()
        assert engine.readiness().ready
        await engine.predict(part(1))


async def test_the_loop_goes_on_while_the_model_computes_opens_and_stops(machine: Machine) -> None:
    async def ticks() -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    engine = Engine(loading(machine.open), limits=LIMITS)
    with machine.held():
        starting = asyncio.create_task(engine.start())
        await until(lambda: machine.batches)
        await ticks()
        assert not starting.done()
    await starting
    with machine.held():
        first = await busy(engine, machine)
        reloading = asyncio.create_task(engine.reload())
        await until(lambda: len(machine.batches) == 2)
        stopping = asyncio.create_task(engine.stop(drain_s=30))
        await until(lambda: engine.readiness().reason == "the service is stopping")
        await ticks()
        assert [task.done() for task in (first, reloading, stopping)] == [False, False, False]
    await asyncio.gather(first, stopping)
    with pytest.raises(NotReady, match="stopping"):
        await reloading


async def test_before_the_start_nothing_is_ready_and_after_it_is(machine: Machine) -> None:
    engine = Engine(loading(machine.open), limits=LIMITS)
    assert (engine.readiness().ready, engine.readiness().provider) == (False, None)
    for refused in (lambda: engine.model, lambda: engine.check_room(1)):
        with pytest.raises(NotReady, match="not loaded yet"):
            refused()
    with pytest.raises(NotReady, match="not loaded yet"):
        await engine.predict(part(1))
    await engine.start()
    assert (engine.readiness().ready, engine.readiness().reason) == (True, "")
    assert engine.readiness().provider == engine.model.provider == GPU
    assert engine.model.digest == machine.artifact.digest
    await engine.stop(drain_s=30)
    assert not engine.readiness().ready
    with pytest.raises(NotReady, match="stopping"):
        await engine.predict(part(1))


def lying(artifact: Artifact) -> Predictor:
    """A model that says of its golden sample something else than its contract."""
    contract = artifact.contract
    nothing = encode_labels(np.zeros((40, 48), np.uint8), contract.classes)
    golden = contract.golden.model_copy(update={"labels_png": nothing})
    return Predictor.open(
        replace(artifact, contract=contract.model_copy(update={"golden": golden})), device="cpu"
    )


async def test_a_model_that_fails_its_self_test_is_never_ready_but_may_be_replaced(
    artifact: Artifact, machine: Machine
) -> None:
    async with running(lambda: lying(artifact)) as engine:
        assert not engine.readiness().ready
        assert f"self-test failed on {CPU}" in engine.readiness().reason
        with pytest.raises(NotReady, match="self-test failed"):
            await engine.predict(part(1))
        await engine.reload(loading(machine.open))
        await engine.reload()  # from the place of the new one
        assert engine.readiness().ready
        await engine.predict(part(1))


def refuse(error: Exception) -> Callable[[], Predictor]:
    def open_predictor() -> Predictor:
        raise error

    return open_predictor


@pytest.mark.parametrize(
    "error", [ArtifactError("no ONNX file"), DeviceError("no such GPU"), FileNotFoundError()]
)
async def test_a_model_that_does_not_open_stops_the_start(error: Exception) -> None:
    with pytest.raises(type(error)):
        await Engine(loading(refuse(error)), limits=LIMITS).start()


async def test_reloads_under_load_lose_no_request_and_each_answer_names_its_model(artifact: Artifact) -> None:
    """The second model calls scratches pits, and the other way round: its answers cannot pass for the first's."""

    class Swapped(Machine):
        def run(self, image_batch: NDArray[np.uint8], **options: Any) -> dict[str, NDArray[Any]]:
            outputs = super().run(image_batch, **options)
            return outputs | {"labels": np.array([0, 2, 1], np.uint8)[outputs["labels"]]}

    contract = artifact.contract
    golden = contract.golden.model_copy(
        update={"labels_png": swapped_golden(contract.golden.labels_png, artifact)}
    )
    other = replace(artifact, contract=contract.model_copy(update={"version": "other", "golden": golden}))
    openers = [Swapped(other).open, Machine(artifact).open]
    alone = Predictor.open(artifact, device="cpu", threads=1)
    images = [part(number, size_hw=(16, 16 + number)) for number in range(8)]
    expected = [alone.predict(image).labels for image in images]
    answered: list[tuple[int, Judged]] = []
    done = False

    async def client(number: int) -> None:
        while not done:
            answered.append((number, await engine.predict(images[number])))

    async with running(Machine(artifact).open) as engine:
        clients = [asyncio.create_task(client(number)) for number in range(8)]
        for at in range(10):
            facts = await engine.reload(loading(openers[at % 2]))
            assert engine.model is facts
            count = len(answered)
            await until(lambda count=count: len(answered) >= count + 16)
            assert answered[-1][1].model is facts
        done = True
        await asyncio.gather(*clients)
    assert {judged.model.contract.version for _, judged in answered} == {"other", contract.version}
    for number, judged in answered:
        is_other = judged.model.contract.version == "other"
        labels = np.array([0, 2, 1], np.uint8)[expected[number]] if is_other else expected[number]
        np.testing.assert_array_equal(judged.prediction.labels, labels)


def swapped_golden(labels_png: bytes, artifact: Artifact) -> bytes:
    labels = read_labels(labels_png, class_count=3)
    return encode_labels(np.array([0, 2, 1], np.uint8)[labels], artifact.contract.classes)


@pytest.mark.parametrize(
    ("opener", "said"),
    [
        pytest.param(lambda _: open_predictor_of(b"no model"), "no ONNX file", id="a bad file"),
        pytest.param(lying, "self-test failed on CPUExecutionProvider", id="a failed self-test"),
        pytest.param(
            lambda _: open_predictor_of(Path("/secret/gone.onnx")), "No such file or directory", id="no file"
        ),
        pytest.param(
            lambda it: broken(it).open(), r"failed at work \(RuntimeError\)", id="a device that fails"
        ),
    ],
)
async def test_a_new_model_that_is_no_good_is_refused_and_the_old_one_stays(
    machine: Machine, opener: Callable[[Artifact], Predictor], said: str
) -> None:
    async with running(machine.open) as engine:
        before = engine.model
        with pytest.raises(Unprocessable, match=f"the old one stays: .*{said}") as refused:
            await engine.reload(loading(lambda: opener(machine.artifact)))
        assert "/secret" not in refused.value.detail
        assert engine.readiness().ready
        assert (await engine.predict(part(1))).model is before
        assert (await engine.reload()).digest == before.digest, "the place of the old one is still known"


def open_predictor_of(source: bytes | Path) -> Predictor:
    return Predictor.open(source, device="cpu")


def broken(artifact: Artifact) -> Machine:
    machine = Machine(artifact)
    machine.broken = True
    return machine


async def test_the_old_model_is_let_go_of(machine: Machine) -> None:
    opened: list[weakref.ref[Predictor]] = []

    def open_predictor() -> Predictor:
        predictor = machine.open()
        opened.append(weakref.ref(predictor))
        return predictor

    async with running(open_predictor) as engine:
        await engine.predict(part(1))
        await engine.reload()
        await until(lambda: gc.collect() >= 0 and opened[0]() is None)
        assert opened[1]() is not None


async def test_a_stop_finishes_what_waits_and_takes_nothing_new(machine: Machine) -> None:
    engine = Engine(loading(machine.open), limits=LIMITS)
    await engine.start()
    with machine.held():
        first = await busy(engine, machine)
        tasks = await waiting(engine, part(1), part(2, size_hw=(64, 64)))
        stopping = asyncio.create_task(engine.stop(drain_s=30))
        await until(lambda: not engine.readiness().ready)
        with pytest.raises(NotReady, match="stopping"):
            await engine.predict(part(3))
        assert not stopping.done()
    await stopping
    assert [type(answer) for answer in await asyncio.gather(first, *tasks)] == [Judged] * 3


async def test_a_stop_gives_up_in_time_on_what_has_not_begun(machine: Machine) -> None:
    engine = Engine(loading(machine.open), limits=LIMITS)
    await engine.start()
    with machine.held():
        first = await busy(engine, machine)
        (second,) = await waiting(engine, part(1))
        await engine.stop(drain_s=0.05)
        with pytest.raises(NotReady, match="send it again"):
            await second
        assert not first.done()
    assert isinstance(await first, Judged)


async def test_a_stop_without_a_start_is_none(machine: Machine) -> None:
    engine = Engine(loading(machine.open), limits=LIMITS)
    await engine.stop(drain_s=30)
    with pytest.raises(ServiceError):
        await engine.predict(part(1))
