"""Several images as one: by one model, all of them or none."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from app.engine import Engine
from app.errors import TimedOut
from app.inference import judge
from app.loaded_model import ModelFacts
from app.worker import Judged
from model.artifact import open_artifact
from model.contract import Contract
from model.predictor import Prediction

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def contract(repository: Path) -> Contract:
    return open_artifact(repository / "tests" / "promises" / "format_1.onnx").contract


class Scripted:
    """In place of an engine: every call of `predict` is answered by a function of how many came before."""

    def __init__(self, answer: Callable[[int], Coroutine[Any, Any, Judged]]) -> None:
        self._answer = answer
        self.calls = 0
        self.given_up = 0

    async def predict(self, image: NDArray[np.uint8], **_: object) -> Judged:
        self.calls += 1
        try:
            return await self._answer(self.calls - 1)
        except asyncio.CancelledError:
            self.given_up += 1
            raise


async def judged(engine: Scripted, *, count: int) -> list[Judged]:
    images = [np.zeros((1, 1, 3), np.uint8)] * count
    return await judge(cast(Engine, engine), images, decision=None, want_probabilities=False, timeout_s=None)


async def test_where_a_new_model_takes_over_within_a_batch_all_of_it_is_judged_again(
    contract: Contract,
) -> None:
    old, new = (ModelFacts(contract, digest, "CPUExecutionProvider") for digest in ("old", "new"))
    blank = Prediction(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8))

    async def swap_after_two(call: int) -> Judged:
        return Judged(blank, old if call < 2 else new, queue_ms=0, inference_ms=0)

    engine = Scripted(swap_after_two)
    assert [one.model.digest for one in await judged(engine, count=3)] == ["new"] * 3
    assert engine.calls == 6


async def test_where_one_image_fails_the_others_are_given_up_and_its_error_is_told() -> None:
    async def fail_second(call: int) -> Judged:
        if call == 1:
            raise TimedOut("no answer within 1 s")
        await asyncio.sleep(30)
        raise AssertionError("waited for the others")

    engine = Scripted(fail_second)
    with pytest.raises(TimedOut, match="no answer within 1 s"):
        await judged(engine, count=3)
    assert (engine.calls, engine.given_up) == (3, 2)
