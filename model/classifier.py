"""From decoder features to logits: at full resolution alone, or refined from scale to scale."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Classifier(nn.Module):
    """A 1x1 convolution a scale, each adding to the enlarged logits of the coarser one.

    With `scale_residual` the coarse scales say what is where, and each finer one only corrects: logits are a residual
    sum across scales, as in FCN's fused predictions (arXiv 1411.4038, section 4.2). The gradient reaches the coarse
    stages without passing every finer one, which is what a network trained from scratch for minutes lacks most
    (docs/experiments.md). Without it the finest scale decides alone, as in SegNet.

    Args:
        widths: channels of the features, full resolution first.
        class_count: channels of the logits.
        scale_residual: see above.
        smooth: enlarge coarser logits bilinearly, as FCN does. False repeats each to a 2x2 block: the coarsest scale
            then speaks in blocks of 16 px, whose edges the finer ones must undo.
        dropout: share of each scale's channels that a training step goes without (arXiv 1411.4280), 0 to below 1.
        prior: share of each class among pixels; the finest bias starts at its logarithm, so that the first steps are
            not spent on learning that most pixels are background (arXiv 1708.02002, section 3.3).

    Raises:
        ValueError: fewer than two classes, or a prior of another length or with a share that is not positive,
            or a dropout outside 0 to below 1.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        class_count: int,
        scale_residual: bool = True,
        smooth: bool = False,
        dropout: float = 0.0,
        prior: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if class_count < 2:
            raise ValueError(f"{class_count} classes; expected background and at least one more")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout {dropout}; expected 0 to below 1")
        self.dropout = nn.Dropout2d(dropout)
        self.enlarge = nn.Upsample(scale_factor=2.0, mode="bilinear" if smooth else "nearest")
        used = widths if scale_residual else widths[:1]
        heads = [nn.Conv2d(width, class_count, 1) for width in used]
        for scale, head in enumerate(heads):
            # The coarse scales begin silent: five random opinions are worse than one.
            nn.init.normal_(head.weight, std=0.0 if scale else 1 / math.sqrt(widths[0]))
            assert head.bias is not None
            nn.init.zeros_(head.bias)
        self.heads = nn.ModuleList(heads)
        if prior is not None:
            if len(prior) != class_count or min(prior) <= 0:
                raise ValueError(
                    f"prior {list(prior)}; expected {class_count} shares above 0, one for each class"
                )
            with torch.no_grad():
                self.bias.copy_(torch.tensor(prior, dtype=torch.float32).log())

    @property
    def bias(self) -> Tensor:
        """The bias at full resolution, float32 [classes]."""
        finest = self.heads[0]
        assert isinstance(finest, nn.Conv2d)
        assert finest.bias is not None
        return finest.bias

    def forward(self, features: Sequence[Tensor]) -> Float[Tensor, "batch classes height width"]:
        """Return logits at full resolution; `features` are [batch, width, ...] a scale, full resolution first."""
        coarsest_first = reversed(list(zip(self.heads, features, strict=False)))
        logits: Tensor | None = None
        for head, feature in coarsest_first:
            said: Tensor = head(self.dropout(feature))
            logits = said if logits is None else said + self.enlarge(logits)
        assert logits is not None, "there is a head at full resolution"
        return logits
