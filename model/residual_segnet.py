"""The network: SegNet with residual connections inside its stages and across its scales.

After arXiv 2406.01605 (SegNet with multi-residual connections, to lose less in down-sampling). Its layer
table is not published in what we could read: widths, the place of the connections and the narrowing of the
decoder are our choices, made for inspection on a CPU. Each connection can be switched off by itself; with all
off this is SegNet (arXiv 1511.00561) at other widths.

    pixels     [batch,   3, height,    width   ]
    stage 1    [batch,  16, height,    width   ]  -> skip, 2x2 maxima and positions   2 convs
    stage 2    [batch,  32, height/2,  width/2 ]  -> skip, 2x2 maxima and positions   2 convs
    stage 3    [batch,  64, height/4,  width/4 ]  -> skip, 2x2 maxima and positions   3 convs
    stage 4    [batch,  96, height/8,  width/8 ]  -> skip, 2x2 maxima and positions   3 convs
    stage 5    [batch, 112, height/16, width/16]  -> skip, 2x2 maxima and positions   3 convs
    smallest   [batch, 112, height/32, width/32]
    up 5..1    unpool, join the skip, 3, 3, 3, 2, 2 convs; [batch, 16, height, width] at the end
    classify   [batch, classes, height, width], the sum of each scale's own logits, enlarged
"""

from collections.abc import Sequence
from typing import Final

from jaxtyping import Float
from torch import Tensor, nn

from model.blocks import Stage
from model.classifier import Classifier
from model.decoder import Decoder, Level
from model.pooling import MaxPool2x2

#: Few channels where pixels are many: the two full-resolution stages take most of the time all the same.
DEFAULT_WIDTHS: Final = (16, 32, 64, 96, 112)
#: SegNet's, which are VGG16's.
SEGNET_CONVS: Final = (2, 2, 3, 3, 3)


class ResidualSegNet(nn.Module):
    """Encoder with remembered positions, decoder that puts values back there, 1x1 classifier.

    Args:
        class_count: channels of the logits.
        widths: channels of the stages, full resolution first; as many stages, as many poolings.
        convs: 3x3 convolutions of each stage; the decoder mirrors them. Default: SegNet's, for at most five stages.
        block_residual: residual functions inside the stages.
        concat_skip: the encoder's map of the same scale joins the unpooled one.
        stacking: how residual functions follow each other, see `model.stacking`.
        narrow_early: see `Decoder`.
        in_channels: channels of the input.
        scale_residual, smooth, dropout, prior: see `Classifier`.

    Raises:
        ValueError: widths, convs or prior that make no network; an unknown stacking.
    """

    def __init__(
        self,
        class_count: int,
        *,
        widths: Sequence[int] = DEFAULT_WIDTHS,
        convs: Sequence[int] | None = None,
        block_residual: bool = True,
        concat_skip: bool = True,
        scale_residual: bool = True,
        smooth: bool = False,
        stacking: str = "euler",
        narrow_early: bool = True,
        dropout: float = 0.0,
        in_channels: int = 3,
        prior: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        convs = _convs_of_stages(widths, given=convs)
        self.class_count = class_count
        self.stride = 2 ** len(widths)
        self.encoder = nn.ModuleList(
            Stage(
                previous,
                out_channels=width,
                convs=count,
                block_residual=block_residual,
                stacking=stacking,
            )
            for previous, width, count in zip((in_channels, *widths[:-1]), widths, convs, strict=True)
        )
        self.pool = MaxPool2x2()
        self.decoder = Decoder(
            widths,
            convs=convs,
            block_residual=block_residual,
            concat_skip=concat_skip,
            stacking=stacking,
            narrow_early=narrow_early,
        )
        self.classifier = Classifier(
            self.decoder.feature_widths,
            class_count=class_count,
            scale_residual=scale_residual,
            smooth=smooth,
            dropout=dropout,
            prior=prior,
        )

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Return logits of the size of x, whose height and width are multiples of `stride`."""
        levels: list[Level] = []
        for stage in self.encoder:
            skip = stage(x)
            x, positions = self.pool(skip)
            levels.append(Level(skip=skip, positions=positions))
        logits: Tensor = self.classifier(self.decoder(x, levels))
        return logits


def _convs_of_stages(widths: Sequence[int], *, given: Sequence[int] | None) -> tuple[int, ...]:
    """A configuration file can say anything; say what is wrong with it before torch does."""
    if not widths or any(not isinstance(width, int) or width < 1 for width in widths):
        raise ValueError(f"widths {list(widths)}; expected one whole number above 0 for each stage")
    if given is None and len(widths) > len(SEGNET_CONVS):
        raise ValueError(
            f"widths {list(widths)} are {len(widths)} stages, and convs, left out, are SegNet's "
            f"{list(SEGNET_CONVS)}, enough for {len(SEGNET_CONVS)}; give convs too, one whole number above 0 "
            f"for each stage, or at most {len(SEGNET_CONVS)} widths"
        )
    convs = SEGNET_CONVS[: len(widths)] if given is None else tuple(given)
    if len(convs) != len(widths) or any(not isinstance(count, int) or count < 1 for count in convs):
        raise ValueError(
            f"convs {list(convs)} for {len(widths)} stages; expected one whole number above 0 for each"
        )
    return convs
