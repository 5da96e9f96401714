"""Learn three-step time stepping for 1-D heat, wave and Burgers equations on coarse grids, beside the classics.

    python examples/learned_time_stepping.py [--quick] [--seeds 3]

The ground of arXiv 2310.10308 (Yan, Zhou, Cheng, Yang; Communications in Computational Physics 36, 2024): three-step
linear multistep schemes, learned without constraints, under the root condition, or under it and consistency. We could
read its abstract in both versions and no more: three equations, grids 4 times (heat, wave) and 32 times (Burgers)
coarser than the reference. Everything else is our choice: the equations in coarse_equations.py, six constant
coefficients for each equation, fitted by L-BFGS to all steps of short rollouts from random profiles.

The schemes are those of model.stacking, as the network runs them: a rollout is a stage whose residual functions are
all f(x) = time_step * slope(x). They start from one state, so learned coefficients answer for the first steps, too.

Errors are relative L2 errors of field 0 on profiles that were not trained on, the mean over profiles.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from coarse_equations import EQUATIONS, Equation, draw_profiles, solve_exactly
from coarse_rollouts import (
    CASES,
    TRAINED_STEPS,
    Case,
    RungeKutta4,
    Score,
    find_longest_stable_stride,
    judge,
    roll_out,
)
from torch import Tensor

from model.stacking import Stacking, ThreeStep, build_stacking

CLASSICAL: Final[dict[str, Stacking]] = {
    "Euler": build_stacking("euler", function_count=1),
    "Adams-Bashforth 2": build_stacking("adams_bashforth2", function_count=1),
    "Adams-Bashforth 3": build_stacking("adams_bashforth3", function_count=1),
    "Runge-Kutta 2": build_stacking("midpoint", function_count=1),
    "Runge-Kutta 3": build_stacking("rk3", function_count=1),
    "Runge-Kutta 4": RungeKutta4(),
}
#: The loss, the logarithm of a squared error, of a rollout that has left all sizes behind.
OVERFLOWN: Final = 100.0
LEARNED: Final = {
    "unconstrained": "three_step",
    "root": "three_step_root",
    "root + consistency": "three_step_root_consistency",
}


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is computed for an equation."""

    seeds: int
    profiles: int = 64
    iterations: int = 100
    cases: tuple[Case, ...] = CASES
    stability_steps: int = 1000


_QUICK: Final = Effort(seeds=1, profiles=4, iterations=2, cases=CASES[:2], stability_steps=50)


@dataclass(frozen=True, slots=True)
class Fit:
    """A learned scheme: a and b, newest first, and its relative L2 error over the steps it was fitted to."""

    scheme: ThreeStep
    a: tuple[float, ...]
    b: tuple[float, ...]
    training_error: float

    @property
    def root_moduli(self) -> list[float]:
        """Of z^3 - a0 z^2 - a1 z - a2, largest first; zero-stable: none above 1, and only one of 1."""
        roots = np.roots([1.0, *(-value for value in self.a)])
        return sorted(np.abs(roots).tolist(), reverse=True)

    @property
    def inconsistency(self) -> tuple[float, float]:
        """How far a constant is from staying, 1 - sum a, and a line from its slope, rho'(1) - sum b."""
        return 1 - sum(self.a), 3 - 2 * self.a[0] - self.a[1] - sum(self.b)


@dataclass(frozen=True, slots=True)
class Row:
    """What a scheme reached with one seed: a score a case, and its longest stable step in trained ones."""

    scores: list[Score]
    longest_stable_stride: float


def fit(name: str, *, equation: Equation, profiles: Tensor, iterations: int) -> Fit:
    """Coefficients of this stacking that lead the profiles through TRAINED_STEPS steps with the least error."""
    scheme = build_stacking(name, function_count=TRAINED_STEPS).double()
    assert isinstance(scheme, ThreeStep)
    times = equation.time_step * torch.arange(TRAINED_STEPS + 1)
    start, *truth = solve_exactly(equation, profiles, times=times)
    expected = torch.stack(truth)[:, :, 0]
    optimizer = torch.optim.LBFGS(scheme.parameters(), max_iter=iterations, line_search_fn="strong_wolfe")

    def squared_error() -> Tensor:
        states: list[Tensor] = []

        def keep(state: Tensor) -> Tensor:
            states.append(state[:, 0])
            return state

        roll_out(
            scheme,
            start,
            equation=equation,
            time_step=equation.time_step,
            steps=TRAINED_STEPS,
            project=keep,
        )
        squares = (torch.stack(states) - expected).square().sum(dim=(1, 2))
        return (squares / expected.square().sum(dim=(1, 2))).mean()

    def closure() -> float:
        optimizer.zero_grad()
        # Errors fall by orders of magnitude: their logarithm keeps the gradient's size through all of them.
        loss = squared_error().log()
        # The line search tries steps from which the rollout overflows: it must come back by a number.
        if not loss < OVERFLOWN:
            return OVERFLOWN
        loss.backward()
        return float(loss.detach())

    optimizer.step(closure)
    with torch.no_grad():
        a, b = (tuple(float(value) for value in values) for values in scheme.three_coefficients())
        return Fit(scheme, a=a, b=b, training_error=float(squared_error().sqrt()))


def main() -> None:
    """Fit and judge each equation for each seed; print its tables."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="does it run; no real numbers")
    options.add_argument(
        "--seeds", type=int, default=3, help="draws of training and test profiles (default 3)"
    )
    given = options.parse_args()
    if given.seeds < 1:
        options.error(f"--seeds is {given.seeds}; give at least 1")
    # The tensors are small: a second thread costs more than it brings.
    torch.set_num_threads(1)
    effort = _QUICK if given.quick else Effort(seeds=given.seeds)
    for equation in EQUATIONS:
        print(f"{equation.name}: dt = {equation.time_step:.3g}, T = {TRAINED_STEPS} dt\n")
        fits, rows = study(equation, effort=effort)
        print_rows(rows, cases=effort.cases)
        print_fits(fits)


def study(equation: Equation, *, effort: Effort) -> tuple[dict[str, list[Fit]], dict[str, list[Row]]]:
    """By scheme, and for each seed: what was learned, and how good it is; dear schemes also at equal cost."""
    fits: dict[str, list[Fit]] = {name: [] for name in LEARNED}
    rows: dict[str, list[Row]] = {}
    limits = find_limits(CLASSICAL, equation=equation, steps=effort.stability_steps)
    for seed in range(effort.seeds):
        seen, unseen = (
            draw_profiles(effort.profiles, highest_mode=equation.highest_mode, seed=2 * seed + side)
            for side in (0, 1)
        )
        for name, stacking in LEARNED.items():
            fits[name].append(fit(stacking, equation=equation, profiles=seen, iterations=effort.iterations))
        schemes: dict[str, Stacking] = {name: found[seed].scheme for name, found in fits.items()}
        limits |= find_limits(schemes, equation=equation, steps=effort.stability_steps)
        for name, scheme in (schemes | CLASSICAL).items():
            for stride in sorted({1, scheme.evaluations_per_function}):
                scores = [
                    judge(scheme, equation=equation, profiles=unseen, case=case, stride=stride)
                    for case in effort.cases
                ]
                title = name if stride == 1 else f"{name}, {stride} dt"
                rows.setdefault(title, []).append(Row(scores=scores, longest_stable_stride=limits[name]))
    return fits, rows


def find_limits(schemes: dict[str, Stacking], *, equation: Equation, steps: int) -> dict[str, float]:
    """The longest stable step of each, in trained ones."""
    return {
        name: find_longest_stable_stride(scheme, equation=equation, steps=steps)
        for name, scheme in schemes.items()
    }


def print_rows(rows: dict[str, list[Row]], *, cases: Sequence[Case]) -> None:
    """A line a scheme: its errors, mean ± standard deviation over the seeds, and its longest stable step."""
    print(f"{'error':20}" + "".join(f"{case.title:>20}" for case in cases) + f"{'stable to':>16}")
    for name, by_seed in rows.items():
        cells = [describe(scores) for scores in zip(*(row.scores for row in by_seed), strict=True)]
        stable = [row.longest_stable_stride for row in by_seed]
        span = f"{min(stable):.2f}-{max(stable):.2f} dt"
        print(f"{name:20}" + "".join(f"{cell:>20}" for cell in cells) + f"{span:>16}")
    print()


def describe(scores: Sequence[Score]) -> str:
    """Mean and standard deviation over seeds, or how many profiles blew up."""
    share = statistics.fmean(score.blown_up_share for score in scores)
    if share > 0:
        return f"{share:.1%} blown up"
    errors = [score.error for score in scores]
    return f"{statistics.fmean(errors):.3g} ± {statistics.pstdev(errors):.1g}"


def print_fits(fits: dict[str, list[Fit]]) -> None:
    """What was learned, a row a seed."""
    titles = ("a0", "a1", "a2", "b0", "b1", "b2", "|z1|", "|z2|", "1 - sum a", "rho' - sum b", "train error")
    print(f"{'learned':20}" + "".join(f"{title:>13}" for title in titles))
    for name, by_seed in fits.items():
        for found in by_seed:
            numbers = (*found.a, *found.b, *found.root_moduli[:2], *found.inconsistency, found.training_error)
            print(f"{name:20}" + "".join(f"{number:>13.5f}" for number in numbers))
    print(flush=True)


if __name__ == "__main__":
    main()
