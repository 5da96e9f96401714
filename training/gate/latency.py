"""How long two models take on the same images, fair on a machine that is busy now and idle then."""

import math
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
    champion: Predicts, candidate: Predicts, *, images: Sequence[NDArray[np.uint8]], rounds: int = 7
) -> tuple[float, float]:
    """Milliseconds per image of the champion and of the candidate: the median over the images of their fastest rounds.

    They take turns on each image, so that a slow second of the machine slows both, and other work can only ever add
    time: on a busy machine medians of two equal models lay 17 % apart. Each sees each image once before the clock
    starts, as a runtime prepares itself for a new size.

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
    fastest_ms: tuple[list[float], list[float]] = ([], [])
    for image in images:
        for model in models:
            model.predict(image)
        best_ms = [math.inf, math.inf]
        for _ in range(rounds):
            for at, model in enumerate(models):
                started_s = time.perf_counter()
                model.predict(image)
                best_ms[at] = min(best_ms[at], (time.perf_counter() - started_s) * 1000.0)
        for times_ms, time_ms in zip(fastest_ms, best_ms, strict=True):
            times_ms.append(time_ms)
    return statistics.median(fastest_ms[0]), statistics.median(fastest_ms[1])
