"""Strided convolutions of timm that pad by the image's size, made to pad by constants.

Networks converted from TensorFlow compute their SAME padding from the size, which an export with open height
and width must carry as symbols: tracing took minutes. Sizes here are multiples of the network's stride, for
which that padding is always the same.
"""

from torch import Tensor, nn
from torch.nn import functional


class SameConv2d(nn.Conv2d):
    """SAME padding for sizes that are multiples of the stride: kernel - stride, the odd pixel right and
    below."""

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, out_channels, height / stride, width / stride]."""
        pads: list[int] = []
        # functional.pad counts from the last axis.
        for axis in (1, 0):
            reach = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
            total = max(reach - self.stride[axis], 0)
            pads += [total // 2, total - total // 2]
        return super().forward(functional.pad(x, pads))


def with_constant_padding(network: nn.Module) -> None:
    """Put `SameConv2d` in the place of timm's size-dependent convolutions; weights and their keys stay."""
    from timm.layers.conv2d_same import Conv2dSame

    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, Conv2dSame):
                fixed = SameConv2d(
                    child.in_channels,
                    child.out_channels,
                    (child.kernel_size[0], child.kernel_size[1]),
                    (child.stride[0], child.stride[1]),
                    dilation=(child.dilation[0], child.dilation[1]),
                    groups=child.groups,
                    bias=child.bias is not None,
                )
                fixed.load_state_dict(child.state_dict())
                setattr(part, name, fixed)
