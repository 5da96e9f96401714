"""Each scheme on the scalar f(x) = rate * x, by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from model.stacking import (
    STACKINGS,
    LinearMultistep,
    Multistep,
    RungeKutta3,
    Stacking,
    ThreeStep,
    build_stacking,
)

RATE = 0.5


def run(scheme: Stacking, *, steps: int, rate: float = RATE, start: float = 1.0) -> float:
    functions: list[Callable[[Tensor], Tensor]] = [lambda x: rate * x] * steps
    with torch.no_grad():
        return float(scheme.run(torch.tensor(start, dtype=torch.float64), functions=functions))


@pytest.mark.parametrize(
    ("name", "steps", "expected"),
    [
        pytest.param("euler", 3, 1.5**3, id="euler: (1 + r) a step"),
        pytest.param("midpoint", 2, 1.625**2, id="midpoint: 1 + r + r^2/2 a step"),
        pytest.param("rk3", 1, 1 + 0.5 + 0.125 + 0.125 / 6, id="rk3: 1 + r + r^2/2 + r^3/6"),
        pytest.param("adams_bashforth2", 1, 1.5, id="ab2 starts with Euler"),
        pytest.param("adams_bashforth2", 2, 1.5 + 1.5 * 0.75 - 0.5 * 0.5, id="ab2: 3/2 f1 - 1/2 f0"),
        pytest.param("adams_bashforth3", 2, 2.375, id="ab3 goes on with ab2"),
        pytest.param(
            "adams_bashforth3",
            3,
            2.375 + 23 / 12 * 1.1875 - 16 / 12 * 0.75 + 5 / 12 * 0.5,
            id="ab3: 23/12 f2 - 16/12 f1 + 5/12 f0",
        ),
        pytest.param("multistep", 3, 1.5**3, id="multistep starts as Euler"),
        pytest.param("three_step", 4, 1.5**4, id="three steps start as Euler"),
        pytest.param("three_step_root", 4, 1.5**4, id="with roots they start as Euler"),
        pytest.param("three_step_root_consistency", 4, 1.5**4, id="consistent they start as Euler"),
    ],
)
def test_a_scheme_steps_as_worked_by_hand(name: str, steps: int, expected: float) -> None:
    assert run(build_stacking(name, function_count=steps), steps=steps) == pytest.approx(expected, abs=1e-6)


def test_multistep_mixes_the_state_before_last_by_its_learned_k() -> None:
    scheme = Multistep(function_count=2)
    assert scheme.theta is not None
    with torch.no_grad():
        scheme.theta.fill_(math.atanh(0.2 / 0.99))
    # x1 = 1.5; x2 = 0.8 * 1.5 + 0.2 * 1 + 0.5 * 1.5
    assert run(scheme, steps=2) == pytest.approx(2.15, abs=1e-6)


@pytest.mark.parametrize("theta", [-50.0, -1.0, 0.3, 50.0])
def test_multistep_stays_zero_stable_whatever_it_learns(theta: float) -> None:
    scheme = Multistep(function_count=2)
    assert scheme.theta is not None
    with torch.no_grad():
        scheme.theta.fill_(theta)
        (_, k), _ = scheme.coefficients(1)
    assert -1 < float(k) <= 1


def test_free_coefficients_weigh_states_and_slopes_as_written() -> None:
    scheme = ThreeStep(function_count=3, root=False, consistency=False)
    assert scheme.a is not None
    assert scheme.b is not None
    with torch.no_grad():
        scheme.a.copy_(torch.tensor([0.5, 0.3, 0.2]))
        scheme.b.copy_(torch.tensor([1.0, 0.5, 0.25]))
    # Before there are three, the oldest stands for those before it: x1 = 1 + 1.75 * 0.5 = 1.875,
    # x2 = 0.5 * 1.875 + 0.5 * 1 + 1 * 0.9375 + 0.75 * 0.5 = 2.75, and in full
    # x3 = 0.5 * 2.75 + 0.3 * 1.875 + 0.2 * 1 + 1.375 + 0.5 * 0.9375 + 0.25 * 0.5.
    assert run(scheme, steps=1) == pytest.approx(1.875)
    assert run(scheme, steps=2) == pytest.approx(2.75)
    assert run(scheme, steps=3) == pytest.approx(4.10625)


@pytest.mark.parametrize(
    ("theta_sum", "theta_product"),
    [
        pytest.param(0.7, -0.9, id="real roots of different sign"),
        pytest.param(0.1, 0.8, id="a complex pair"),
        pytest.param(30.0, 30.0, id="as far as it goes"),
        pytest.param(-30.0, -30.0, id="as far as it goes the other way"),
    ],
)
def test_learned_roots_stay_in_the_unit_disc_and_the_scheme_consistent(
    theta_sum: float, theta_product: float
) -> None:
    scheme = ThreeStep(function_count=3, root=True, consistency=True)
    assert scheme.theta is not None
    assert scheme.b is not None
    with torch.no_grad():
        scheme.theta.copy_(torch.tensor([theta_sum, theta_product]))
        scheme.b.copy_(torch.tensor([0.3, -0.2]))
        a, b = ([float(value) for value in values] for values in scheme.three_coefficients())
    # z^3 - a0 z^2 - a1 z - a2 has the roots 1, r1, r2; rho'(1) = sigma(1).
    companion = torch.tensor([a, [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    sizes = sorted(torch.linalg.eigvals(companion).abs().tolist())
    assert sizes[2] == pytest.approx(1, abs=1e-4)
    assert sizes[1] < 1
    assert sum(a) == pytest.approx(1, abs=1e-6)
    assert 3 - 2 * a[0] - a[1] == pytest.approx(sum(b), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("euler", 1),
        ("midpoint", 2),
        ("rk3", 3),
        ("adams_bashforth2", 2),
        # Its one Euler step at the start has a local error of second order, which stays.
        ("adams_bashforth3", 2),
    ],
)
def test_halving_the_step_shrinks_the_error_by_the_order(name: str, order: int) -> None:
    """x' = x over [0, 1]: the error at e falls by 2^order."""
    errors = [
        abs(run(build_stacking(name, function_count=steps), steps=steps, rate=1 / steps) - math.e)
        for steps in (64, 128)
    ]
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.2)


@pytest.mark.parametrize("name", STACKINGS)
def test_a_function_is_evaluated_as_often_as_documented(name: str) -> None:
    calls = [0, 0, 0]

    def counted(index: int) -> Callable[[Tensor], Tensor]:
        def function(x: Tensor) -> Tensor:
            calls[index] += 1
            return x / 2

        return function

    scheme = build_stacking(name, function_count=3)
    scheme.run(torch.ones(2), functions=[counted(index) for index in range(3)])
    assert calls == [scheme.evaluations_per_function] * 3


@pytest.mark.parametrize("name", STACKINGS)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_projection_sees_every_state_and_may_work_in_place(name: str, steps: int) -> None:
    x = torch.tensor([1.0, -1.0])
    functions: list[Callable[[Tensor], Tensor]] = [lambda state: -3 * state] * steps
    final = build_stacking(name, function_count=steps).run(x, functions=functions, project=torch.relu_)
    assert x.tolist() == [1, -1]
    assert steps == 0 or bool((final >= 0).all())


def test_only_multistep_schemes_remember() -> None:
    assert not issubclass(RungeKutta3, LinearMultistep)


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="nearest is 'midpoint'"):
        build_stacking("mid_point", function_count=2)
