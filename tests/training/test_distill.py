"""The candidate is held to what the champion answers about classes that both know, and to nothing else."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.segmenter import Segmenter
from training.distill import Distillation, divergence

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
CHAMPION = np.array([[1.0, 0.0, -2.0], [0.5, 0.5, 4.0]])
"""[pixels, classes] of two pixels."""


def maps(rows: NDArray[np.float64]) -> Tensor:
    """[pixels, classes] as float32 [1, classes, 1, pixels]."""
    return torch.tensor(rows, dtype=torch.float32).T[None, :, None]


def by_numpy(logits: NDArray[np.float64], champion: NDArray[np.float64], *, temperature: float) -> float:
    """T² Σ q log(q / p), mean over pixels."""
    p, q = (np.exp(rows / temperature) for rows in (logits, champion))
    p, q = (rows / rows.sum(axis=1, keepdims=True) for rows in (p, q))
    return float(temperature**2 * (q * np.log(q / p)).sum(axis=1).mean())


def compute(logits: Tensor, *, known: tuple[bool, ...] = (True, True), temperature: float = 2.0) -> Tensor:
    return divergence(
        logits,
        champion_logits=maps(CHAMPION),
        known=torch.tensor(known)[None, None],
        temperature=temperature,
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 10.0])
def test_it_is_the_divergence_that_numpy_finds(temperature: float) -> None:
    expected = by_numpy(LOGITS, CHAMPION, temperature=temperature)
    assert compute(maps(LOGITS), temperature=temperature).item() == pytest.approx(expected, rel=1e-5)


def test_the_same_answers_cost_nothing() -> None:
    assert compute(maps(CHAMPION + 7)).item() == pytest.approx(0, abs=1e-6)


def test_ignored_pixels_do_not_count() -> None:
    logits = maps(LOGITS).requires_grad_()
    told = compute(logits, known=(True, False))
    assert told.item() == pytest.approx(by_numpy(LOGITS[:1], CHAMPION[:1], temperature=2.0), rel=1e-5)
    told.backward()
    assert logits.grad is not None
    assert not logits.grad[..., 1].any()
    assert logits.grad[..., 0].all()


def test_without_a_known_pixel_it_is_zero_with_a_graph() -> None:
    logits = maps(LOGITS).requires_grad_()
    told = compute(logits, known=(False, False))
    assert told.item() == 0
    told.backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_it_is_computed_in_float32_under_autocast() -> None:
    logits = maps(LOGITS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        told = compute(logits)
    assert told.dtype == torch.float32
    assert torch.equal(told, compute(logits))


class Says(nn.Module):
    """Answers with these logits, times a weight that could be trained, whatever it sees."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits, self.weight = logits, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits * self.weight


def test_classes_are_compared_by_name_in_any_order_and_new_ones_have_no_part_in_it() -> None:
    # The champion: a, b, c. The candidate: c, new, a, b.
    champion = Segmenter(Says(maps(CHAMPION)), class_count=3, stride=1)
    own = np.column_stack([LOGITS[:, 2], [90.0, -90.0], LOGITS[:, 0], LOGITS[:, 1]])
    logits = maps(own).requires_grad_()
    distillation = Distillation(
        champion, champion_ids=(2, 0, 1), own_ids=(0, 2, 3), weight=0.5, temperature=2.0
    )
    images, labels = torch.zeros(1, 1, 2, 3, dtype=torch.uint8), torch.zeros(1, 1, 2, dtype=torch.int64)
    told = distillation(images, labels=labels, logits=logits)
    assert told.item() == pytest.approx(0.5 * by_numpy(LOGITS, CHAMPION, temperature=2.0), rel=1e-5)
    told.backward()
    assert logits.grad is not None
    assert not logits.grad[:, 1].any()
    assert logits.grad[:, [0, 2, 3]].all()
    # The champion itself learns nothing.
    assert not champion.training
    assert all(weight.grad is None for weight in champion.parameters())
    ignored = distillation(images, labels=torch.full_like(labels, 255), logits=logits)
    assert ignored.item() == 0
