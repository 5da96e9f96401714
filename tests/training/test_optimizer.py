"""Kernels decay and nothing else does; the rate rises, falls and ends where it should; the average by hand."""

import pytest
import torch
from torch import nn

from training.config import OptimizerSettings
from training.optimizer import build_average, build_optimizer, build_schedule, schedule_factor


def test_kernels_decay_and_biases_norms_and_coefficients_do_not() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network.register_parameter("coefficient", nn.Parameter(torch.zeros(())))
    network.register_parameter("frozen", nn.Parameter(torch.zeros(2, 2), requires_grad=False))
    optimizer = build_optimizer(network, settings=OptimizerSettings(weight_decay=0.3, lr=0.01))
    shapes = {
        group["weight_decay"]: sorted(tuple(weight.shape) for weight in group["params"])
        for group in optimizer.param_groups
    }
    assert shapes == {0.3: [(4, 3, 3, 3)], 0.0: [(), (4,), (4,), (4,)]}
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}


def test_an_encoder_learns_at_its_share_of_the_rate() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1, bias=False))
    settings = OptimizerSettings(lr=0.01, encoder_lr_share=0.25, weight_decay=0.3)
    groups = build_optimizer(network, settings=settings, encoder=network[0]).param_groups
    found = {(group["lr"], group["weight_decay"]): [w.shape[0] for w in group["params"]] for group in groups}
    assert found == {(0.0025, 0.3): [4], (0.0025, 0.0): [4], (0.01, 0.3): [2]}


def test_the_schedule_moves_all_rates_alike() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
    settings = OptimizerSettings(lr=0.5, encoder_lr_share=0.5, warmup_steps=0, final_lr_share=0.0)
    optimizer = build_optimizer(network, settings=settings, encoder=network[0])
    schedule = build_schedule(optimizer, settings=settings, total_steps=2)
    optimizer.step()
    schedule.step()
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([0.125, 0.25])


def test_a_kernel_without_gradient_shrinks_by_the_decay_alone() -> None:
    layer = nn.Conv2d(1, 1, 1)
    nn.init.ones_(layer.weight)
    optimizer = build_optimizer(layer, settings=OptimizerSettings(weight_decay=0.5, lr=0.1))
    for weight in layer.parameters():
        weight.grad = torch.zeros_like(weight)
    before = layer.state_dict()["bias"].item()
    optimizer.step()
    after = layer.state_dict()
    assert after["weight"].item() == pytest.approx(1 - 0.1 * 0.5)
    assert after["bias"].item() == before


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        pytest.param(0, 1 / 5, id="first of four warm-up steps"),
        pytest.param(3, 4 / 5, id="last of them"),
        pytest.param(4, 1.0, id="the peak"),
        pytest.param(12, 0.55, id="the middle of the cosine"),
        pytest.param(20, 0.1, id="the end"),
        pytest.param(50, 0.1, id="beyond the end"),
    ],
)
def test_the_rate_warms_up_and_follows_half_a_cosine(step: int, factor: float) -> None:
    settings = OptimizerSettings(warmup_steps=4, final_lr_share=0.1)
    assert schedule_factor(settings, total_steps=20)(step) == pytest.approx(factor)


def test_a_short_run_warms_up_for_a_fifth_of_it_at_most() -> None:
    factor = schedule_factor(OptimizerSettings(warmup_steps=1000), total_steps=10)
    assert [factor(step) for step in range(3)] == pytest.approx([1 / 3, 2 / 3, 1.0])


@pytest.mark.parametrize("total_steps", [1, 2, 5])
def test_even_the_shortest_run_has_a_schedule_within_bounds(total_steps: int) -> None:
    factor = schedule_factor(OptimizerSettings(final_lr_share=0.01), total_steps=total_steps)
    assert all(0.01 <= factor(step) <= 1.0 for step in range(total_steps + 1))
    assert factor(total_steps) == pytest.approx(0.01)


def test_the_schedule_moves_the_optimiser() -> None:
    settings = OptimizerSettings(lr=0.5, warmup_steps=0, final_lr_share=0.0)
    optimizer = build_optimizer(nn.Conv2d(1, 1, 1), settings=settings)
    schedule = build_schedule(optimizer, settings=settings, total_steps=2)
    rates = []
    for _ in range(2):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert [*rates, optimizer.param_groups[0]["lr"]] == pytest.approx([0.5, 0.25, 0.0])


def averaged_values(*, decay: float, values: list[float]) -> list[float]:
    """The average of one weight after each of its values."""
    network = nn.BatchNorm2d(1)
    averaged = build_average(network, decay=decay)
    told = []
    for value in values:
        nn.init.constant_(network.weight, value)
        assert network.running_mean is not None
        assert network.num_batches_tracked is not None
        network.running_mean.fill_(value)
        network.num_batches_tracked += 1
        averaged.update_parameters(network)
        weight, mean, count = (
            averaged.module.state_dict()[name] for name in ("weight", "running_mean", "num_batches_tracked")
        )
        # Running statistics are averaged as weights are; counters are copied.
        assert float(weight) == float(mean)
        assert int(count) == int(network.num_batches_tracked)
        told.append(float(weight))
    return told


def test_the_average_starts_at_the_first_weights_and_slows_down_to_its_decay() -> None:
    # Kept shares: min(decay, 2/11), then min(decay, 3/12).
    first = 4.0 * 2 / 11 + 8.0 * 9 / 11
    second = first * 0.2 + 1.0 * 0.8
    assert averaged_values(decay=0.2, values=[4.0, 8.0, 1.0]) == pytest.approx([4.0, first, second])


def test_without_decay_the_average_is_the_last_step() -> None:
    assert averaged_values(decay=0.0, values=[4.0, 8.0, 1.0]) == [4.0, 8.0, 1.0]
