"""A device under the test's control, an engine that runs on it, and images for both."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.engine import Engine, EngineLimits
from app.loaded_model import LoadedModel, load_model
from model.artifact import Artifact
from model.predictor import Predictor
from model.runtime import DEFAULT_OUTPUTS, Output, open_runtime

CPU, GPU = "CPUExecutionProvider", "CUDAExecutionProvider"
GUILTY = (1, 2, 3)
"""A colour that makes a machine fail."""
LIMITS = EngineLimits()


class Machine:
    """A device under the test's control: the real graph, which can be held up, broken and watched."""

    def __init__(self, artifact: Artifact, *, provider: str = GPU) -> None:
        self.provider = provider
        self.artifact = artifact
        self.batches: list[int] = []
        self.sizes: set[tuple[int, int]] = set()
        self.broken = False
        self._cpu = open_runtime(artifact, device="cpu", threads=1)
        self._free = threading.Event()
        self._free.set()

    @property
    def is_gpu(self) -> bool:
        return self.provider == GPU

    def open(self) -> Predictor:
        return Predictor(self, contract=self.artifact.contract, digest=self.artifact.digest)

    def run(
        self,
        image_batch: NDArray[np.uint8],
        *,
        decision_weights: Sequence[float] | None = None,
        want: Sequence[Output] = DEFAULT_OUTPUTS,
    ) -> dict[str, NDArray[Any]]:
        self.batches.append(len(image_batch))
        self.sizes.add((image_batch.shape[1], image_batch.shape[2]))
        assert self._free.wait(30), "held for ever"
        if self.broken or (image_batch == GUILTY).all(axis=-1).any():
            raise RuntimeError("CUDA error 719 at /usr/lib/libcuda.so")
        return self._cpu.run(image_batch, decision_weights=decision_weights, want=want)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While in here, whatever it is at takes for ever."""
        self.batches.clear()
        self.sizes.clear()
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()


def loading(open_predictor: Callable[[], Predictor]) -> Callable[[], LoadedModel]:
    return partial(load_model, open_predictor)


@asynccontextmanager
async def running(open_predictor: Callable[[], Predictor], **options: Any) -> AsyncIterator[Engine]:
    engine = Engine(loading(open_predictor), **({"limits": LIMITS} | options))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop(drain_s=30)


async def until(condition: Callable[[], Any]) -> None:
    """Let the loop and the worker go on until something is so."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def part(number: int, *, size_hw: tuple[int, int] = (32, 40)) -> NDArray[np.uint8]:
    """Patches of 4 x 4 px in red, blue and grey: another image for each number."""
    rng = np.random.default_rng(number)
    colors = np.array([(255, 0, 0), (0, 0, 255), (128, 128, 128)], np.uint8)
    height, width = size_hw
    patches = colors[rng.integers(0, 3, (-(-height // 4), -(-width // 4)))]
    return np.ascontiguousarray(np.repeat(np.repeat(patches, 4, axis=0), 4, axis=1)[:height, :width])


def guilty() -> NDArray[np.uint8]:
    image = part(99)
    image[5, 5] = GUILTY
    return image
