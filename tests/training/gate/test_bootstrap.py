"""The bootstrap against cases small enough to list every draw, and against data whose truth is known."""

from collections import Counter

import numpy as np
import pytest

from training.gate.bootstrap import Comparison, PairedCounts, compare, mid_p, resampled_differences


def counts(champion: list[float], candidate: list[float], whole: list[float]) -> PairedCounts:
    return PairedCounts(np.array(champion, float), np.array(candidate, float), np.array(whole, float))


def compared(rate: PairedCounts, *, parts: list[str] | None = None, **more: int) -> Comparison:
    """The comparison of one rate that can be measured; without `parts` each image is its own."""
    names = parts or [str(number) for number in range(len(rate.whole))]
    found = compare({"rate": rate}, parts=names, **more)["rate"]
    assert found is not None
    return found


def test_draws_of_two_parts_come_as_often_as_counting_says() -> None:
    # One part lost its two defects, the other kept its only one: drawn twice, mixed (two ways), drawn twice.
    rate = counts([2, 1], [0, 1], [2, 1])
    (drawn,) = resampled_differences([rate], resamples=20_000, seed=3)
    seen = Counter(np.round(drawn, 6).tolist())
    assert set(seen) == {-1.0, -0.666667, 0.0}
    assert [seen[value] / 20_000 for value in (-1.0, -0.666667, 0.0)] == pytest.approx(
        [0.25, 0.5, 0.25], abs=0.015
    )


def test_the_interval_is_that_of_all_draws_counted_out() -> None:
    # One of four parts got worse: it is drawn k times of 4 with chance C(4, k) (1/4)^k (3/4)^(4 - k): 0.316 for none,
    # 0.422, 0.211, 0.047 for three, 0.004 for four. The lowest 2.5 % of the chance end within three.
    found = compared(counts([1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]))
    assert (found.low, found.high) == (-0.75, 0.0)
    assert (found.champion, found.candidate) == (1.0, 0.75)
    assert (found.parts, found.raised, found.lowered) == (4, 0, 1)


def test_images_of_one_part_are_drawn_together() -> None:
    # Both images of a part change alike, so a draw holds an even number of changed images of four.
    rate = counts([1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1])
    names = ["a", "a", "b", "b"]
    found = compared(rate, parts=names)
    assert (found.parts, found.lowered) == (2, 1)
    assert (found.low, found.high) == (-1.0, 0.0)


def test_parts_of_equal_images_widen_the_interval() -> None:
    rng = np.random.default_rng(5)
    lost = np.repeat(rng.random(30) < 0.2, 4).astype(float)
    rate = PairedCounts(np.ones(120), 1 - lost, whole=np.ones(120))
    alone = compared(rate)
    clustered = compared(rate, parts=[str(number // 4) for number in range(120)])
    assert alone.candidate == clustered.candidate
    assert clustered.high - clustered.low > 1.7 * (alone.high - alone.low)


def test_as_many_won_as_lost_lie_evenly_around_zero() -> None:
    found = compared(counts([1] * 10 + [0] * 10 + [1] * 20, [0] * 10 + [1] * 10 + [1] * 20, [1] * 40))
    assert found.low == pytest.approx(-found.high, abs=0.026)
    assert found.low < -0.15
    assert found.p_value == 1.0


def test_models_that_change_places_turn_the_interval_over() -> None:
    champion, candidate, whole = [1, 1, 0, 1, 1, 2], [0, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 3]
    one, other = compared(counts(champion, candidate, whole)), compared(counts(candidate, champion, whole))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert (one.raised, one.lowered) == (other.lowered, other.raised)


def test_both_models_see_the_same_draw() -> None:
    # Hard parts are hard for both: with draws of its own for each model, the rates would scatter by 0.1.
    hard = [0.0] * 30 + [1.0] * 30
    found = compared(counts(hard, [*hard[:-1], 0.0], [1] * 60))
    assert found.high - found.low < 0.06


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says() -> None:
    # Parts of one to three images, of which the candidate catches 85 % and the champion 75 %, the same luck for both.
    rng = np.random.default_rng(11)
    held = []
    for _ in range(300):
        sizes = rng.integers(1, 4, size=60)
        luck = rng.random(60)
        rate = PairedCounts(
            np.where(luck < 0.75, sizes, 0.0), np.where(luck < 0.85, sizes, 0.0), sizes.astype(float)
        )
        found = compared(rate, resamples=400)
        held.append(found.low <= 0.10 <= found.high)
    assert 0.89 <= np.mean(held) <= 0.985


@pytest.mark.parametrize(
    ("candidate", "low", "high"),
    [
        pytest.param([1] * 20, -0.1844, 0.1844, id="no part changed"),
        pytest.param([0] * 20, -1.0, -0.8156, id="every part changed"),
    ],
)
def test_an_interval_without_width_is_opened_by_the_rule_of_three(
    candidate: list[float], low: float, high: float
) -> None:
    # -log(0.025) / 20 = 0.1844: with a change this frequent, 2.5 % of all sets of 20 parts would show none.
    found = compared(counts([1] * 20, candidate, [1] * 20))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("one", "other", "p_value"),
    [
        pytest.param(0, 0, 1.0, id="nothing changed"),
        pytest.param(3, 3, 1.0, id="a tie"),
        pytest.param(4, 0, 0.0625, id="four to none: 2/16 - 1/16"),
        pytest.param(5, 0, 0.03125, id="five to none: 2/32 - 1/32"),
        pytest.param(1, 7, 10 / 256, id="seven to one: 2 (1 + 8)/256 - 8/256"),
        pytest.param(1200, 0, 0.0, id="more ways than a float can count"),
    ],
)
def test_the_exact_test_of_parts(one: int, other: int, p_value: float) -> None:
    assert mid_p(one, other) == mid_p(other, one) == pytest.approx(p_value)


def test_what_the_images_cannot_tell_is_none() -> None:
    none = counts([0, 0], [0, 0], [0, 0])
    assert compare({"none": none, "some": counts([1, 0], [1, 1], [1, 1])}, parts=["a", "b"])["none"] is None
    assert compare({"rate": counts([], [], [])}, parts=[]) == {"rate": None}


def test_draws_that_miss_a_rare_class_do_not_count() -> None:
    # The class stands on one of 12 parts: a third of the draws do not hold it, the others all say 0 to 1.
    rare = [1.0] + [0.0] * 11
    found = compared(counts([0] * 12, rare, rare))
    assert (found.parts, found.candidate) == (1, 1.0)
    assert np.isfinite([found.low, found.high]).all()


def test_the_same_seed_gives_the_same_interval_and_another_a_near_one() -> None:
    rng = np.random.default_rng(2)
    rate = PairedCounts(rng.random(80) * 10, rng.random(80) * 10, np.full(80, 10.0))
    first, again, other = compared(rate, seed=1), compared(rate, seed=1), compared(rate, seed=2)
    assert first == again
    assert first != other
    assert (first.low, first.high) == pytest.approx((other.low, other.high), abs=0.01)


def test_the_interval_does_not_depend_on_how_draws_are_portioned(monkeypatch: pytest.MonkeyPatch) -> None:
    rate = counts([1, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1])
    whole = resampled_differences([rate], resamples=50, seed=4)
    monkeypatch.setattr("training.gate.bootstrap._CELLS", 12)
    assert np.array_equal(resampled_differences([rate], resamples=50, seed=4), whole)
