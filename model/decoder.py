"""SegNet's decoder: unpool by remembered positions, join, refine, scale by scale."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from model.blocks import ConvNormAct, Stage, UpsampleAndJoin


@dataclass(frozen=True)
class Level:
    """What the encoder leaves for the decoder at one scale.

    Attributes:
        skip: [batch, width, height, width], the map before pooling.
        positions: where its 2x2 maxima stand, from `MaxPool2x2`; None: the smaller map is enlarged bilinearly.
    """

    skip: Tensor
    positions: Tensor | None


class Decoder(nn.Module):
    """From the smallest map back to full resolution, one stage a scale.

    Args:
        widths: channels of the levels, full resolution first; the smallest map has the last of them.
        convs: 3x3 convolutions a stage, full resolution first.
        block_residual, stacking: see `Stage`.
        concat_skip: join the encoder's map at every scale; False is SegNet's plain unpooling.
        narrow_early: the first convolution of a stage goes to the width of the next scale, and the rest of
            the stage costs a quarter; False narrows in the last one, as SegNet does.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        convs: Sequence[int],
        block_residual: bool = True,
        concat_skip: bool = True,
        stacking: str = "euler",
        narrow_early: bool = True,
    ) -> None:
        super().__init__()
        self.join = UpsampleAndJoin(concat_skip=concat_skip)
        stages: list[nn.Module] = []
        #: Channels of what each stage gives, full resolution first.
        self.feature_widths = (widths[0], *widths[:-1])
        for width, next_width, count in zip(widths, self.feature_widths, convs, strict=True):
            joined = 2 * width if concat_skip else width
            if narrow_early or next_width == width:
                stages.append(
                    Stage(
                        joined,
                        out_channels=next_width,
                        convs=count,
                        block_residual=block_residual,
                        stacking=stacking,
                    )
                )
            else:
                wide = Stage(
                    joined,
                    out_channels=width,
                    convs=count - 1,
                    block_residual=block_residual,
                    stacking=stacking,
                )
                stages.append(nn.Sequential(wide, ConvNormAct(width, out_channels=next_width)))
        self.stages = nn.ModuleList(stages)

    def forward(
        self, x: Float[Tensor, "batch channels small_height small_width"], levels: Sequence[Level]
    ) -> tuple[Tensor, ...]:
        """Return the features of every stage, full resolution first: `feature_widths` channels.

        Args:
            x: the smallest map, widths[-1] channels.
            levels: full resolution first, as many as stages.
        """
        features: list[Tensor] = []
        for stage, level in zip(reversed(self.stages), reversed(levels), strict=True):
            x = stage(self.join(x, positions=level.positions, skip=level.skip))
            features.append(x)
        return tuple(reversed(features))
