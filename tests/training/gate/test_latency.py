"""Timing that a busy machine does not turn against one of the two models."""

import time

import numpy as np
import pytest

from training.gate.latency import compare_latency

IMAGES = [np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)]


class Clock:
    """A clock that only models move."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.calls: list[str] = []


class Slow:
    """A model that takes its time, and longer on a size it has not seen."""

    def __init__(self, name: str, clock: Clock, *, ms: float, disturbed: tuple[int, ...] = ()) -> None:
        self._name, self._clock, self._ms, self._disturbed = name, clock, ms, disturbed
        self._seen: set[int] = set()

    def predict(self, image: np.ndarray) -> None:
        is_new = int(image[0, 0, 0]) not in self._seen
        self._seen.add(int(image[0, 0, 0]))
        self._clock.calls.append(self._name)
        disturbed = len(self._clock.calls) in self._disturbed
        self._clock.now_s += (self._ms + 5000.0 * is_new + 40.0 * disturbed) / 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now_s)
    return clock


def test_the_models_take_turns_and_their_first_look_at_a_size_does_not_count(clock: Clock) -> None:
    champion, candidate = Slow("a", clock, ms=10.0), Slow("b", clock, ms=15.0)
    measured_ms = compare_latency(champion, candidate, images=IMAGES, rounds=3)
    assert measured_ms == pytest.approx((10.0, 15.0))
    assert clock.calls == ["a", "b"] * 8


def test_other_work_on_the_machine_makes_no_model_slower(clock: Clock) -> None:
    # Of the three rounds on each image two are disturbed, for the candidate alone.
    champion, candidate = Slow("a", clock, ms=10.0), Slow("b", clock, ms=10.0, disturbed=(4, 6, 12, 14))
    assert compare_latency(champion, candidate, images=IMAGES, rounds=3) == pytest.approx((10.0, 10.0))


@pytest.mark.parametrize(("images", "rounds"), [([], 3), (IMAGES, 0)], ids=["no image", "no round"])
def test_nothing_to_time_is_an_error(clock: Clock, images: list[np.ndarray], rounds: int) -> None:
    model = Slow("a", clock, ms=1.0)
    with pytest.raises(ValueError, match="expected at least one image and one round"):
        compare_latency(model, model, images=images, rounds=rounds)
