"""How long two models take on the same images, fair on a machine that is busy now and idle then."""

import statistics
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Predicts(Protocol):
    """What timing needs of a predictor."""

    def predict(self, image: NDArray[np.uint8]) -> object:
        """uint8 RGB [height, width, 3] -> a prediction."""


def compare_latency(
    champion: Predicts, candidate: Predicts, *, images: Sequence[NDArray[np.uint8]], rounds: int = 5
) -> tuple[float, float]:
    """Median milliseconds per image of the champion and of the candidate.

    They take turns on each image, so that a slow second of the machine slows both. Each sees each image once before
    the clock starts: a runtime prepares itself for a new size.

    Args:
        images: uint8 RGB [height, width, 3] each, a few that are typical.
        rounds: how many times each model judges each image against the clock.

    Raises:
        ValueError: no image, or no round.
    """
    if not images or rounds < 1:
        raise ValueError(
            f"{len(images)} images in {rounds} rounds; expected at least one image and one round"
        )
    models = (champion, candidate)
    taken_ms: tuple[list[float], list[float]] = ([], [])
    for image in images:
        for model in models:
            model.predict(image)
        for _ in range(rounds):
            for model, times_ms in zip(models, taken_ms, strict=True):
                started_s = time.perf_counter()
                model.predict(image)
                times_ms.append((time.perf_counter() - started_s) * 1000.0)
    return statistics.median(taken_ms[0]), statistics.median(taken_ms[1])
