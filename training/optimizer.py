"""How weights move: parameter groups, AdamW, warm-up and cosine, and the average that is validated and exported."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from training.config import OptimizerSettings


def build_optimizer(
    network: nn.Module, *, settings: OptimizerSettings, encoder: nn.Module | None = None
) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101), decaying kernels alone: biases, norms and learned scheme coefficients stay free.

    Args:
        network: what is trained; weights without a gradient are left out.
        encoder: the part of it that learns at `encoder_lr_share` of the rate; None: no part does.
    """
    slow = {id(weight) for weight in encoder.parameters()} if encoder is not None else set()
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for weight in network.parameters():
        if weight.requires_grad:
            share = settings.encoder_lr_share if id(weight) in slow else 1.0
            decay = settings.weight_decay if weight.ndim > 1 else 0.0
            groups[settings.lr * share, decay].append(weight)
    # One kernel over all parameters: with a hundred small tensors the plain loop costs 2 ms a step on a CPU.
    return torch.optim.AdamW(
        [{"params": weights, "lr": lr, "weight_decay": decay} for (lr, decay), weights in groups.items()],
        lr=settings.lr,
        fused=True,
    )


def build_schedule(
    optimizer: torch.optim.Optimizer, *, settings: OptimizerSettings, total_steps: int
) -> LambdaLR:
    """Linear warm-up over `warmup_steps`, then half a cosine down to `final_lr_share` at `total_steps`."""
    return LambdaLR(optimizer, schedule_factor(settings, total_steps=total_steps))


def schedule_factor(settings: OptimizerSettings, *, total_steps: int) -> Callable[[int], float]:
    """step (0 …) → share of the peak learning rate."""
    warmup = min(settings.warmup_steps, total_steps // 5)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
        return settings.final_lr_share + (1.0 - settings.final_lr_share) * cosine

    return factor


def build_average(network: nn.Module, *, decay: float) -> AveragedModel:
    """Exponential moving average of all weights and running statistics (EMA); `decay` 0 copies the last step.

    The decay rises with the steps taken, min(decay, (1 + n) / (10 + n)), so that a short run is not held back by its
    random start.
    """

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], steps: Tensor | int) -> None:
        taken = float(steps)
        weight = 1.0 - min(decay, (1.0 + taken) / (10.0 + taken))
        # Called once for each dtype; counters are copied.
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(list(averaged), list(current), weight)
        else:
            torch._foreach_copy_(list(averaged), list(current))

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)
