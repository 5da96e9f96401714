"""The original SegNet, to compare with: the same parts with every residual connection off."""

from collections.abc import Sequence
from typing import Final

from model.residual_segnet import ResidualSegNet

#: VGG16's.
SEGNET_WIDTHS: Final = (64, 128, 256, 512, 512)


def segnet(
    class_count: int,
    *,
    widths: Sequence[int] = SEGNET_WIDTHS,
    convs: Sequence[int] | None = None,
    prior: Sequence[float] | None = None,
) -> ResidualSegNet:
    """SegNet (arXiv 1511.00561, section 3) with 29.5 million parameters at its own widths.

    One difference: a 1x1 classifier follows the decoder; SegNet's last 3x3 convolution is its classifier.
    """
    return ResidualSegNet(
        class_count,
        widths=widths,
        convs=convs,
        block_residual=False,
        concat_skip=False,
        scale_residual=False,
        narrow_early=False,
        prior=prior,
    )
