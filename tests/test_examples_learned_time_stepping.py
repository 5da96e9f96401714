"""The example on learned time stepping: its equations, its classics and its constraints, worked by hand."""

import importlib
import re
import subprocess
import sys
from dataclasses import replace
from math import exp, pi
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from model.stacking import Stacking, ThreeStep, build_stacking


@pytest.fixture
def equations(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "examples"))
    return importlib.import_module("coarse_equations")


@pytest.fixture
def rollouts(equations: ModuleType) -> ModuleType:
    return importlib.import_module("coarse_rollouts")


@pytest.fixture
def example(equations: ModuleType) -> ModuleType:
    return importlib.import_module("learned_time_stepping")


def sine(points: int, *, mode: int = 1) -> torch.Tensor:
    """One case [case, point]."""
    return torch.sin(2 * pi * mode * torch.arange(points, dtype=torch.float64) / points)[None]


@pytest.mark.parametrize(
    ("mode", "factor"),
    [
        pytest.param(8, 1 - 0.1 * 2, id="a period of 4 points: difference -2"),
        pytest.param(0, 1.0, id="a constant stays"),
        pytest.param(16, 1 - 0.1 * 4, id="every other point: difference -4"),
    ],
)
def test_a_step_of_euler_shrinks_a_mode_of_heat_by_its_second_difference(
    equations: ModuleType, rollouts: ModuleType, mode: int, factor: float
) -> None:
    heat = equations.EQUATIONS[0]
    # cos, so that the mode of every other point is not zero everywhere; dt = 0.1 dx^2.
    start = torch.cos(2 * pi * mode * torch.arange(32, dtype=torch.float64) / 32)[None, None]
    end = rollouts.roll_out(
        build_stacking("euler", function_count=1), start, equation=heat, time_step=0.1 / 32**2, steps=1
    )
    assert torch.allclose(end, factor * start, atol=1e-12)


def test_heat_decays_and_the_wave_returns(equations: ModuleType) -> None:
    heat, wave, _ = equations.EQUATIONS
    profile = sine(32 * equations.REFINEMENT)
    (decayed,) = equations.solve_exactly(heat, profile, times=torch.tensor([0.01], dtype=torch.float64))
    assert torch.allclose(decayed[:, 0], exp(-4 * pi**2 * 0.01) * sine(32), atol=1e-12)
    quarter, whole = equations.solve_exactly(
        wave, profile, times=torch.tensor([0.25, 1], dtype=torch.float64)
    )
    # After a quarter the string is straight and moves with 2 pi times its start.
    assert torch.allclose(quarter[:, 0], torch.zeros(1, 32, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(quarter[:, 1], -2 * pi * sine(32), atol=1e-12)
    assert torch.allclose(whole[:, 0], sine(32), atol=1e-12)


def test_fine_rollouts_of_burgers_approach_its_exact_solution(
    equations: ModuleType, rollouts: ModuleType
) -> None:
    """Two ways to the same: Cole and Hopf, and Runge-Kutta on grids whose errors fall by 4 when halved."""
    burgers = equations.EQUATIONS[2]
    profile = sine(32 * equations.REFINEMENT)
    truth = burgers.exact(profile, torch.tensor([0.1], dtype=torch.float64))[0]
    errors = []
    for points in (128, 256):
        every = profile.shape[-1] // points
        end = rollouts.roll_out(
            rollouts.RungeKutta4(), profile[:, None, ::every], equation=burgers, time_step=5e-4, steps=200
        )
        errors.append(float((end - truth[..., ::every]).abs().max()))
    assert errors[1] < 2e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)


def test_halving_the_step_of_runge_kutta_4_divides_its_error_by_16(rollouts: ModuleType) -> None:
    """x' = -x over [0, 1]."""
    start = torch.ones(1, dtype=torch.float64)
    errors = [
        abs(float(rollouts.RungeKutta4().run(start, functions=[lambda x, n=n: -x / n] * n)) - exp(-1))
        for n in (8, 16)
    ]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.1)


@pytest.mark.parametrize("name", ["three_step", "three_step_root", "three_step_root_consistency"])
def test_a_learned_scheme_starts_as_euler(equations: ModuleType, rollouts: ModuleType, name: str) -> None:
    burgers = equations.EQUATIONS[2]

    def end(scheme: Stacking) -> torch.Tensor:
        profiles = equations.draw_profiles(2, highest_mode=3, seed=0)[:, None, :: equations.REFINEMENT]
        return rollouts.roll_out(scheme, profiles, equation=burgers, time_step=0.01, steps=20)

    with torch.no_grad():
        learned = end(build_stacking(name, function_count=20).double())
    assert torch.equal(learned, end(build_stacking("euler", function_count=1)))


def test_the_root_condition_holds_whatever_the_parameters(example: ModuleType) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(500):
        scheme = ThreeStep(function_count=3, root=True, consistency=True).double()
        assert scheme.theta is not None
        with torch.no_grad():
            scheme.theta.copy_(5 * torch.randn(2, generator=generator))
            a, b = (tuple(float(value) for value in values) for values in scheme.three_coefficients())
        found = example.Fit(scheme, a=a, b=b, training_error=0.0)
        largest, second, _ = found.root_moduli
        assert second < 1
        # numpy finds close roots to half of its digits.
        assert largest == pytest.approx(1, abs=1e-5)
        assert found.inconsistency == pytest.approx((0, 0), abs=1e-12)


def test_roots_and_inconsistency_are_those_of_coefficients_worked_by_hand(example: ModuleType) -> None:
    # (z - 1/2)(z - 2)(z + 1) = z^3 - 1.5 z^2 - 1.5 z + 1
    found = example.Fit(
        ThreeStep(function_count=3, root=False, consistency=False),
        a=(1.5, 1.5, -1.0),
        b=(1.0, 0.5, 0.25),
        training_error=0.0,
    )
    assert found.root_moduli == pytest.approx([2, 1, 0.5])
    # 1 - 2, and 3 - 2 * 1.5 - 1.5 - 1.75
    assert found.inconsistency == pytest.approx((-1, -3.25))


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        pytest.param("euler", 2 / 0.4, id="Euler: to -2"),
        pytest.param("adams_bashforth2", 1 / 0.4, id="Adams-Bashforth 2: to -1"),
        pytest.param("adams_bashforth3", 6 / 11 / 0.4, id="Adams-Bashforth 3: to -6/11"),
        pytest.param("rk3", 2.5127 / 0.4, id="Runge-Kutta 3: to -2.513"),
    ],
)
def test_the_longest_stable_step_for_heat_is_the_scheme_s_limit_on_the_real_axis(
    equations: ModuleType, rollouts: ModuleType, name: str, limit: float
) -> None:
    """The trained step takes the fastest mode to -0.4."""
    scheme = build_stacking(name, function_count=1)
    found = rollouts.find_longest_stable_stride(scheme, equation=equations.EQUATIONS[0], steps=600)
    assert found == pytest.approx(limit, abs=rollouts.STRIDE_STEP)


def test_what_is_no_number_has_blown_up(rollouts: ModuleType) -> None:
    end = torch.tensor([[[9.0]], [[11.0]], [[float("nan")]], [[float("inf")]]])
    assert rollouts.has_blown_up(torch.ones(4, 1, 1), end=end).tolist() == [False, True, True, True]


def test_a_fit_beats_what_it_started_from(
    equations: ModuleType, rollouts: ModuleType, example: ModuleType
) -> None:
    heat = equations.EQUATIONS[0]
    seen, unseen = (equations.draw_profiles(4, highest_mode=8, seed=seed) for seed in (0, 1))
    found = example.fit("three_step_root_consistency", equation=heat, profiles=seen, iterations=8)
    learned, euler = (
        rollouts.judge(scheme, equation=heat, profiles=unseen, case=rollouts.CASES[0])
        for scheme in (found.scheme, build_stacking("euler", function_count=1))
    )
    assert learned.error < euler.error / 2
    assert learned.blown_up_share == 0


def test_a_rollout_that_overflows_teaches_nothing(equations: ModuleType, example: ModuleType) -> None:
    wild = replace(equations.EQUATIONS[2], time_step=0.5)
    profiles = equations.draw_profiles(2, highest_mode=3, seed=0)
    found = example.fit("three_step", equation=wild, profiles=profiles, iterations=3)
    assert (found.a, found.b) == ((1, 0, 0), (1, 0, 0))


@pytest.mark.slow
def test_a_quick_run_prints_a_table_for_each_equation(repository: Path) -> None:
    words = [sys.executable, str(repository / "examples" / "learned_time_stepping.py"), "--quick"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("heat", "wave", "Burgers"):
        assert re.search(rf"^{name}: dt = ", done.stdout, re.M)
    # Heat by Runge-Kutta 4 is wrong in space alone, whatever the step: the mean over profiles of 2 %.
    row = next(line for line in done.stdout.splitlines() if line.startswith("Runge-Kutta 4  "))
    assert 0.01 < float(row.split()[2]) < 0.04
    assert np.sum([line.startswith("unconstrained") for line in done.stdout.splitlines()]) == 6
