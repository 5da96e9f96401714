"""Our decoder over a pretrained encoder: the default network (configs/fast.toml)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from model.blocks import ConvNormAct
from model.classifier import Classifier
from model.decoder import Decoder, Level
from model.encoders import (
    PACKAGED_ENCODER,
    SCALES,
    STRIDE,
    Normalisation,
    make_encoder,
)
from model.pooling import MaxPool2x2
from model.residual_segnet import DEFAULT_WIDTHS, SEGNET_CONVS

#: A decoder that ends coarser than a quarter of the size would lose what inspection looks for.
_LEAST_SCALES: Final = 3


class EncoderSegNet(nn.Module):
    """Any smp encoder under SegNet's decoder.

    A strided encoder has no pooling positions. Each of its maps is projected by a 1x1 convolution to the
    width of the map that will be unpooled to its size, and the 2x2 maxima of that projection are the
    positions. With SegNet's own encoder, whose maps have these widths already, this is SegNet's rule. At full
    resolution smp gives the image itself: there the projection is 3x3, since a single pixel's colour says
    little about where an edge is.

    With fewer than five widths the decoder ends at a half or a quarter of the size, where most pixels are saved, and
    its logits are enlarged bilinearly, as FPN's and DeepLab's are.

    Attributes:
        normalisation: mean and std the encoder's weights were trained with.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        class_count: int,
        encoder_channels: Sequence[int],
        widths: Sequence[int],
        convs: Sequence[int],
        unpool: bool,
        block_residual: bool,
        scale_residual: bool,
        smooth: bool,
        stacking: str,
        dropout: float,
        prior: Sequence[float] | None,
        normalisation: Normalisation,
    ) -> None:
        super().__init__()
        self.class_count = class_count
        self.stride = STRIDE
        self.normalisation = normalisation
        self.encoder = encoder
        #: Halvings that are left to the bilinear step at the end.
        self.finest = SCALES - len(widths)
        # A pyramid of the decoder's widths: a map for each scale it unpools to, and the smallest.
        targets = (*widths, widths[-1])
        self.project = nn.ModuleList(
            ConvNormAct(channels, out_channels=width, kernel_px=3 if scale == 0 else 1)
            for scale, (channels, width) in enumerate(
                zip(encoder_channels[self.finest :], targets, strict=True), start=self.finest
            )
        )
        self.pool = MaxPool2x2() if unpool else None
        self.decoder = Decoder(widths, convs=convs, block_residual=block_residual, stacking=stacking)
        self.classifier = Classifier(
            self.decoder.feature_widths,
            class_count=class_count,
            scale_residual=scale_residual,
            smooth=smooth,
            dropout=dropout,
            prior=prior,
        )

    def forward(
        self, x: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Return logits of the size of x, whose height and width are multiples of `stride`."""
        found = self.encoder(x)[self.finest :]
        maps = [project(one) for project, one in zip(self.project, found, strict=True)]
        levels = [Level(skip=skip, positions=self.pool(skip)[1] if self.pool else None) for skip in maps[:-1]]
        logits: Tensor = self.classifier(self.decoder(maps[-1], levels))
        if self.finest == 0:
            return logits
        return functional.interpolate(logits, scale_factor=float(2**self.finest), mode="bilinear")


def encoder_segnet(
    class_count: int,
    *,
    encoder: str = PACKAGED_ENCODER,
    encoder_weights: str | Path | None = None,
    widths: Sequence[int] = DEFAULT_WIDTHS,
    convs: Sequence[int] | None = None,
    unpool: bool = True,
    block_residual: bool = True,
    scale_residual: bool = True,
    smooth: bool = False,
    stacking: str = "euler",
    dropout: float = 0.0,
    prior: Sequence[float] | None = None,
) -> EncoderSegNet:
    """An smp encoder by name under our decoder.

    Args:
        class_count: channels of the logits.
        encoder: a name of smp, or `tu-` and a name of timm.
        encoder_weights: see `model.encoders`.
        widths: channels of the decoder's scales, the finest first and the coarsest at 1/16 of the size. Five end at
            full size, four at a half, three at a quarter.
        convs: as many numbers; default: SegNet's for these scales.
        unpool: by the positions of the projected maps' maxima; False enlarges bilinearly.
        block_residual, stacking: see `model.decoder`.
        scale_residual, smooth, dropout, prior: see `model.classifier`.

    Raises:
        ValueError: an unknown encoder, one without a map at every scale, or weights that do not fit.
    """
    convs = SEGNET_CONVS[-len(widths) :] if convs is None else convs
    if not _LEAST_SCALES <= len(widths) <= SCALES or len(convs) != len(widths):
        raise ValueError(
            f"widths {list(widths)} and convs {list(convs)}; an encoder has five scales: give a number for each, or "
            "leave the finest one or two out"
        )
    built, channels, normalisation = make_encoder(encoder, weights=encoder_weights)
    if 0 in channels:
        raise ValueError(
            f"encoder {encoder!r} has no map at 1/{2 ** channels.index(0)} of the size to take positions "
            f"from; take one that halves step by step, such as resnet18, mobilenet_v2 or {PACKAGED_ENCODER}"
        )
    return EncoderSegNet(
        built,
        class_count=class_count,
        encoder_channels=channels,
        widths=widths,
        convs=convs,
        unpool=unpool,
        block_residual=block_residual,
        scale_residual=scale_residual,
        smooth=smooth,
        stacking=stacking,
        dropout=dropout,
        prior=prior,
        normalisation=normalisation,
    )
