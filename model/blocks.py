"""The parts every network here is made of: conv-norm-act, residual stage, upsample-and-join."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from model.pooling import MaxUnpool2x2
from model.stacking import build_stacking


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm, ReLU, as in SegNet; the export folds the norm into the convolution.

    Height and width stay. `activated=False` leaves the ReLU out, for functions that are summed before it.
    """

    def __init__(
        self, in_channels: int, *, out_channels: int, kernel_px: int = 3, activated: bool = True
    ) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel_px, padding=kernel_px // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        parts: list[nn.Module] = [conv, nn.BatchNorm2d(out_channels)]
        if activated:
            parts.append(nn.ReLU(inplace=True))
        super().__init__(*parts)


class Stage(nn.Module):
    """`convs` 3x3 convolutions at one scale: the first changes the width, the others are residual functions.

    A residual function is one convolution and its norm; the ReLU comes after the sum (He et al., arXiv
    1512.03385, figure 2), where a runtime fuses convolution, sum and ReLU into one kernel. With one
    convolution a function, its norm starts at 1: started at 0, as is the custom for deep networks, it would
    hold the only gradient back from the convolution, and stages of three do not need it.

    Args:
        block_residual: False makes a plain chain of the same convolutions, as in SegNet.
        stacking: how the residual functions follow each other, see `model.stacking`.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        convs: int,
        block_residual: bool = True,
        stacking: str = "euler",
    ) -> None:
        super().__init__()
        self.widen = ConvNormAct(in_channels, out_channels=out_channels)
        self.functions = nn.ModuleList(
            ConvNormAct(out_channels, out_channels=out_channels, activated=not block_residual)
            for _ in range(convs - 1)
        )
        self.stacking = build_stacking(stacking, function_count=convs - 1) if block_residual else None

    def forward(
        self, x: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """Return [batch, out_channels, height, width], nowhere negative."""
        state: Tensor = self.widen(x)
        functions: list[Callable[[Tensor], Tensor]] = list(self.functions)
        if self.stacking is not None:
            return self.stacking.run(state, functions=functions, project=torch.relu_)
        for function in functions:
            state = function(state)
        return state


class UpsampleAndJoin(nn.Module):
    """Unpool by the remembered positions, if there are any, and lay the encoder's map of the same scale beside it."""

    def __init__(self, *, concat_skip: bool = True) -> None:
        super().__init__()
        self.concat_skip = concat_skip
        self.unpool = MaxUnpool2x2()

    def forward(
        self,
        x: Float[Tensor, "batch channels half_height half_width"],
        *,
        positions: Tensor | None,
        skip: Float[Tensor, "batch channels height width"],
    ) -> Float[Tensor, "batch joined height width"]:
        """Return x unpooled or enlarged to the skip's size, then the skip's channels if `concat_skip`."""
        larger: Tensor = (
            functional.interpolate(x, scale_factor=2.0, mode="bilinear")
            if positions is None
            else self.unpool(x, positions)
        )
        return torch.cat((larger, skip), dim=1) if self.concat_skip else larger
