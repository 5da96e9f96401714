"""Rollouts of a coarse equation by any stacking, judged by their errors and by the longest stable step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from coarse_equations import POINTS, Equation, solve_exactly
from torch import Tensor

from model.stacking import Function, Stacking

#: Time steps of the trained horizon T; every case below is then a whole number of each scheme's steps.
TRAINED_STEPS: Final = 36
#: No equation here lets a solution grow for long: beyond this many times its start it has blown up.
BLOWN_UP: Final = 10.0
#: How finely and how far, in multiples of the trained step, the longest stable one is looked for.
STRIDE_STEP, LONGEST_STRIDE = 0.05, 8.0


def _identity(x: Tensor) -> Tensor:
    return x


class RungeKutta4(Stacking):
    """The classical fourth order, which the network does not offer."""

    evaluations_per_function = 4

    def run(self, x: Tensor, *, functions: Sequence[Function], project: Function = _identity) -> Tensor:
        """Four evaluations a step."""
        for function in functions:
            k1 = function(x)
            k2 = function(project(x + k1 / 2))
            k3 = function(project(x + k2 / 2))
            k4 = function(project(x + k3))
            x = project(x + (k1 + 2 * k2 + 2 * k3 + k4) / 6)
        return x


@dataclass(frozen=True, slots=True)
class Case:
    """What a scheme is judged on: a horizon in T, by steps of this many times the trained one."""

    title: str
    horizon: int
    stride: float = 1.0


CASES: Final = (
    Case("T", 1),
    Case("4 T", 4),
    Case("16 T", 16),
    Case("4 T, dt/2", 4, stride=0.5),
    Case("4 T, 1.5 dt", 4, stride=1.5),
)


@dataclass(frozen=True, slots=True)
class Score:
    """Mean relative L2 error over the profiles, and the share of them that blew up."""

    error: float
    blown_up_share: float


def roll_out(
    scheme: Stacking,
    start: Tensor,
    *,
    equation: Equation,
    time_step: float | Tensor,
    steps: int,
    project: Function = _identity,
) -> Tensor:
    """The state after so many steps of this length, or of these lengths [case, 1, 1]."""

    def function(state: Tensor) -> Tensor:
        return time_step * equation.slope(state)

    return scheme.run(start, functions=[function] * steps, project=project)


@torch.no_grad()
def judge(
    scheme: Stacking, *, equation: Equation, profiles: Tensor, case: Case, stride: float = 1.0
) -> Score:
    """Compare with the truth, by steps of `stride` times the case's: dear schemes may take longer ones."""
    stride *= case.stride
    time = case.horizon * TRAINED_STEPS * equation.time_step
    start, truth = solve_exactly(equation, profiles, times=torch.tensor([0.0, time], dtype=torch.float64))
    steps = round(case.horizon * TRAINED_STEPS / stride)
    end = roll_out(scheme, start, equation=equation, time_step=equation.time_step * stride, steps=steps)
    error = (end - truth)[:, 0].norm(dim=-1) / truth[:, 0].norm(dim=-1)
    blown_up = has_blown_up(start, end=end).double()
    return Score(error=float(error.mean()), blown_up_share=float(blown_up.mean()))


@torch.no_grad()
def find_longest_stable_stride(scheme: Stacking, *, equation: Equation, steps: int) -> float:
    """The longest step, in trained ones, up to which none blows up in so many steps from noise in every mode.

    0 where the shortest does; inf where even LONGEST_STRIDE does not.
    """
    strides = torch.arange(1, round(LONGEST_STRIDE / STRIDE_STEP) + 1, dtype=torch.float64) * STRIDE_STEP
    start = torch.zeros(len(strides), equation.fields, POINTS, dtype=torch.float64)
    noise = torch.randn(POINTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start[:, 0] = noise / noise.abs().max()
    time_step = equation.time_step * strides[:, None, None]
    end = roll_out(scheme, start, equation=equation, time_step=time_step, steps=steps)
    is_unstable = has_blown_up(start, end=end)
    if not is_unstable.any():
        return float("inf")
    return float(is_unstable.int().argmax()) * STRIDE_STEP


def has_blown_up(start: Tensor, *, end: Tensor) -> Tensor:
    """Whether field 0 outgrew BLOWN_UP times its start: bool [case]."""
    # Not `>`: what is no number has blown up, too.
    return ~(end[:, 0].norm(dim=-1) <= BLOWN_UP * start[:, 0].norm(dim=-1))
