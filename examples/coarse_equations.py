"""1-D heat, wave and Burgers equations on a periodic grid of 32 points, and what is exactly true of them.

States are float64 [case, field, point] on [0, 1); slopes are central differences of second order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Final

import torch
from torch import Tensor

POINTS: Final = 32
#: Initial profiles are drawn and solved on a grid this many times finer, then read at the coarse points.
REFINEMENT: Final = 32
VISCOSITY: Final = 0.01


@dataclass(frozen=True, slots=True)
class Equation:
    """A partial differential equation on the coarse grid, and the truth about it.

    Args:
        slope: state -> its derivative in time, by differences between grid points.
        exact: (profiles [case, fine point] at time 0, times [time]) -> states [time, case, field, fine point].
        fields: of a state; field 0 is what is judged.
        time_step: what is trained on; third-order Adams-Bashforth is stable there, but not far beyond.
        highest_mode: of the random initial profiles, in periods over the domain.
    """

    name: str
    slope: Callable[[Tensor], Tensor]
    exact: Callable[[Tensor, Tensor], Tensor]
    fields: int
    time_step: float
    highest_mode: int


def heat_slope(state: Tensor) -> Tensor:
    """u_t = u_xx."""
    return _second_difference(state)


def heat_exact(profiles: Tensor, times: Tensor) -> Tensor:
    """Each mode decays by itself."""
    decay = torch.exp(-(_wave_numbers(profiles) ** 2) * times[:, None, None])
    return torch.fft.irfft(torch.fft.rfft(profiles) * decay)[:, :, None]


def wave_slope(state: Tensor) -> Tensor:
    """u_t = v, v_t = u_xx: fields u and v."""
    return torch.cat([state[:, 1:], _second_difference(state[:, :1])], dim=1)


def wave_exact(profiles: Tensor, times: Tensor) -> Tensor:
    """Each mode oscillates by itself, from rest."""
    k = _wave_numbers(profiles)
    phase = k * times[:, None, None]
    spectrum = torch.fft.rfft(profiles)
    both = torch.stack([spectrum * torch.cos(phase), -k * spectrum * torch.sin(phase)], dim=2)
    return torch.fft.irfft(both)


def burgers_slope(state: Tensor) -> Tensor:
    """u_t = -(u^2 / 2)_x + VISCOSITY u_xx."""
    flux = state**2 / 2
    gradient = (flux.roll(-1, -1) - flux.roll(1, -1)) * state.shape[-1] / 2
    return VISCOSITY * _second_difference(state) - gradient


def burgers_exact(profiles: Tensor, times: Tensor) -> Tensor:
    """Cole and Hopf: u = -2 nu phi_x / phi, where phi diffuses; for profiles of mean 0."""
    k = _wave_numbers(profiles)
    integral = torch.fft.rfft(profiles) / (1j * k.clamp(min=1))
    phi = torch.exp(-torch.fft.irfft(integral) / (2 * VISCOSITY))
    spectrum = torch.fft.rfft(phi) * torch.exp(-VISCOSITY * k**2 * times[:, None, None])
    solution = -2 * VISCOSITY * torch.fft.irfft(1j * k * spectrum) / torch.fft.irfft(spectrum)
    return solution[:, :, None]


def _wave_numbers(profiles: Tensor) -> Tensor:
    return 2 * pi * torch.arange(profiles.shape[-1] // 2 + 1, dtype=torch.float64)


def _second_difference(state: Tensor) -> Tensor:
    return (state.roll(1, -1) - 2 * state + state.roll(-1, -1)) * state.shape[-1] ** 2


EQUATIONS: Final = (
    Equation("heat", heat_slope, heat_exact, fields=1, time_step=0.1 / POINTS**2, highest_mode=8),
    Equation("wave", wave_slope, wave_exact, fields=2, time_step=0.3 / POINTS, highest_mode=6),
    Equation("Burgers", burgers_slope, burgers_exact, fields=1, time_step=0.01, highest_mode=3),
)


def draw_profiles(count: int, *, highest_mode: int, seed: int) -> Tensor:
    """Random smooth profiles [case, fine point] of mean 0 and largest magnitude 1."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.zeros(count, POINTS * REFINEMENT // 2 + 1, dtype=torch.complex128)
    shape = (count, highest_mode)
    spectrum[:, 1 : highest_mode + 1] = torch.randn(shape, generator=generator, dtype=torch.complex128)
    profiles = torch.fft.irfft(spectrum)
    return profiles / profiles.abs().amax(dim=-1, keepdim=True)


def solve_exactly(equation: Equation, profiles: Tensor, *, times: Tensor) -> Tensor:
    """The truth at the coarse points: [time, case, field, point]."""
    return equation.exact(profiles, times)[..., ::REFINEMENT]
