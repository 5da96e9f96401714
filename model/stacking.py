"""How the residual functions of a stage follow each other, read as numerical integration of x' = f(x).

A residual block x + f(x) is one step of Euler's method; other methods give other networks from the same
convolutions. All schemes here take the same list of functions, one step each, so they compare at equal
parameters (the learned schemes add a handful of scalars a stage). Runge-Kutta methods evaluate each function
two or three times a step; all others once, and keep what they have computed.

A stage of one function is a step of Euler's method under every multistep scheme, which needs a past.
"""

import difflib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor]
Coefficient = float | Tensor

#: Learned roots and weights stay this far inside the unit disc, where the scheme is zero-stable.
_STABLE: Final = 0.99


def _identity(x: Tensor) -> Tensor:
    return x


class Stacking(nn.Module):
    """A rule that leads a state through residual functions; `evaluations_per_function` is what it costs."""

    evaluations_per_function = 1

    @abstractmethod
    def run(self, x: Tensor, *, functions: Sequence[Function], project: Function = _identity) -> Tensor:
        """Return the state after one step for each function.

        Args:
            x: the state before the first step; every function keeps its shape.
            functions: the residual functions, in order.
            project: applied to every state a function or the caller will see: the ReLU after the sum. It only
                gets freshly computed tensors, so it may work in place.
        """


class Euler(Stacking):
    """x + f(x): the residual network (arXiv 1512.03385)."""

    def run(self, x: Tensor, *, functions: Sequence[Function], project: Function = _identity) -> Tensor:
        """One evaluation a step."""
        for function in functions:
            x = project(x + function(x))
        return x


class Midpoint(Stacking):
    """x + f(x + f(x)/2): second-order Runge-Kutta (HO-ResNet, arXiv 2103.15244).

    The same f is evaluated at both points, so its batch norm learns one statistic for the two of them.
    """

    evaluations_per_function = 2

    def run(self, x: Tensor, *, functions: Sequence[Function], project: Function = _identity) -> Tensor:
        """Two evaluations a step."""
        for function in functions:
            middle = project(x + function(x) / 2)
            x = project(x + function(middle))
        return x


class RungeKutta3(Stacking):
    """Kutta's third order: k1 at x, k2 at x + k1/2, k3 at x - k1 + 2 k2; then x + (k1 + 4 k2 + k3)/6."""

    evaluations_per_function = 3

    def run(self, x: Tensor, *, functions: Sequence[Function], project: Function = _identity) -> Tensor:
        """Three evaluations a step."""
        for function in functions:
            k1 = function(x)
            k2 = function(project(x + k1 / 2))
            k3 = function(project(x - k1 + 2 * k2))
            x = project(x + (k1 + 4 * k2 + k3) / 6)
        return x


class LinearMultistep(Stacking):
    """sum_i a_i x_{n-i} + sum_i b_i f_{n-i}: newest states and slopes, weighted; one evaluation a step."""

    @abstractmethod
    def coefficients(self, step: int) -> tuple[Sequence[Coefficient], Sequence[Coefficient]]:
        """Return a and b, newest first, for the step of this number; none longer than the past, step + 1."""

    def run(self, x: Tensor, *, functions: Sequence[Function], project: Function = _identity) -> Tensor:
        """One evaluation a step; slopes are kept, not evaluated again."""
        states, slopes = [x], list[Tensor]()
        for step, function in enumerate(functions):
            slopes.insert(0, function(states[0]))
            a, b = self.coefficients(step)
            state = _weighted(a, states) + _weighted(b, slopes)
            states.insert(0, project(state))
        return states[0]


class Multistep(LinearMultistep):
    """(1 - k) x_n + k x_{n-1} + f(x_n) with a learned k for each step (LM-ResNet, arXiv 1710.10121).

    Zero-stable for -1 < k <= 1, so k = 0.99 tanh(theta); theta starts at 0, which is the residual network.
    The first step has no past and no k.
    """

    def __init__(self, *, function_count: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(function_count - 1)) if function_count > 1 else None

    def coefficients(self, step: int) -> tuple[Sequence[Coefficient], Sequence[Coefficient]]:
        """a = (1 - k, k), b = (1)."""
        if step == 0 or self.theta is None:
            return (1.0,), (1.0,)
        k = _STABLE * torch.tanh(self.theta[step - 1])
        return (1 - k, k), (1.0,)


class AdamsBashforth(LinearMultistep):
    """Order 2 or 3 on cached slopes; its first steps have the order that the past allows."""

    _WEIGHTS: Final = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12))

    def __init__(self, *, order: int) -> None:
        super().__init__()
        assert order in (2, 3), order
        self.order = order

    def coefficients(self, step: int) -> tuple[Sequence[Coefficient], Sequence[Coefficient]]:
        """a = (1), b = the weights of this order."""
        return (1.0,), self._WEIGHTS[min(step, self.order - 1)]


class ThreeStep(LinearMultistep):
    """A learned scheme over three states and slopes, one set of coefficients a stage (arXiv 2310.10308).

    The root condition keeps both free roots r1, r2 of the characteristic polynomial inside the unit disc:
    a = (1 + s, -(s + p), p) with s = r1 + r2, p = r1 r2, |p| < 1, |s| < 1 + p, which covers real and complex
    pairs. Consistency asks for b0 + b1 + b2 = (1 - r1)(1 - r2) = 1 - s + p, so b0 is what b1 and b2 leave.
    All variants start at r = 0, b = (1, 0, 0): the residual network. While the past is shorter than three,
    what would weigh older states and slopes weighs the oldest one there is, as if the state had stood still
    before.

    Args:
        root: hold the root condition; otherwise a is free.
        consistency: hold consistency, which needs the roots; otherwise b is free.
    """

    def __init__(self, *, function_count: int, root: bool, consistency: bool) -> None:
        super().__init__()
        assert root or not consistency, "consistency is stated in terms of the roots"
        self.root = root
        self.consistency = consistency
        used = function_count > 1
        self.a: nn.Parameter | None = None
        self.theta: nn.Parameter | None = None
        if used and root:
            self.theta = nn.Parameter(torch.zeros(2))
        elif used:
            self.a = nn.Parameter(torch.tensor([1.0, 0.0, 0.0]))
        start = [0.0, 0.0] if consistency else [1.0, 0.0, 0.0]
        self.b = nn.Parameter(torch.tensor(start)) if used else None

    def three_coefficients(self) -> tuple[Sequence[Coefficient], Sequence[Coefficient]]:
        """Return a and b of a step with a full past."""
        if self.b is None:
            return (1.0, 0.0, 0.0), (1.0, 0.0, 0.0)
        b: Sequence[Coefficient] = tuple(self.b)
        if self.theta is None:
            assert self.a is not None
            return tuple(self.a), b
        product = _STABLE * torch.tanh(self.theta[1])
        total = _STABLE * (1 + product) * torch.tanh(self.theta[0])
        if self.consistency:
            b = (1 - total + product - self.b[0] - self.b[1], self.b[0], self.b[1])
        return (1 + total, -(total + product), product), b

    def coefficients(self, step: int) -> tuple[Sequence[Coefficient], Sequence[Coefficient]]:
        """The three coefficients, those beyond the past added to the oldest."""
        a, b = self.three_coefficients()
        past = min(step + 1, 3)
        return _folded(a, past=past), _folded(b, past=past)


_BUILDERS: Final[dict[str, Callable[[int], Stacking]]] = {
    "euler": lambda count: Euler(),
    "midpoint": lambda count: Midpoint(),
    "rk3": lambda count: RungeKutta3(),
    "multistep": lambda count: Multistep(function_count=count),
    "adams_bashforth2": lambda count: AdamsBashforth(order=2),
    "adams_bashforth3": lambda count: AdamsBashforth(order=3),
    "three_step": lambda count: ThreeStep(function_count=count, root=False, consistency=False),
    "three_step_root": lambda count: ThreeStep(function_count=count, root=True, consistency=False),
    "three_step_root_consistency": lambda count: ThreeStep(function_count=count, root=True, consistency=True),
}
#: The names that `build_stacking` knows.
STACKINGS: Final = tuple(_BUILDERS)


def build_stacking(name: str, *, function_count: int) -> Stacking:
    """Return the scheme of this name for a stage of `function_count` residual functions.

    Raises:
        ValueError: a name not in STACKINGS.
    """
    if name not in _BUILDERS:
        nearest = difflib.get_close_matches(name, STACKINGS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"stacking {name!r} is unknown; nearest is {nearest!r}, all are {', '.join(STACKINGS)}"
        )
    return _BUILDERS[name](function_count)


def _weighted(weights: Sequence[Coefficient], terms: Sequence[Tensor]) -> Tensor:
    """Sum of weight * term, newest first, without the multiplications by a fixed 1."""
    products = [
        term if isinstance(weight, float) and weight == 1 else weight * term
        for weight, term in zip(weights, terms, strict=False)
    ]
    total = products[0]
    for product in products[1:]:
        total = total + product
    return total


def _folded(weights: Sequence[Coefficient], *, past: int) -> Sequence[Coefficient]:
    return (*weights[: past - 1], sum(weights[past - 1 :]))
