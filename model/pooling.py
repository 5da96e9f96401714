"""2x2 max-pooling that remembers where each maximum stood, and the unpooling that puts values back there.

Two forms of one pair of functions. Native kernels are the fastest in PyTorch, but their ONNX operator is
slow on the CPU, slower still in OpenVINO and unknown to GPU providers; so the exported file holds plain
tensor operations instead (docs/decisions/0002). Both agree bit for bit, in values and in gradients, and in
both the first maximum of a window, in reading order, wins.

The form for export marks the maxima in a mask of full size, and unpools by repeating each value 2x2 and
multiplying by the mask. Gathering the four pixels of each window and depth-to-space say the same and are
slower: 47 against 51 ms for the default network at 256x256 (ONNX Runtime, one thread, of which the
convolutions take 42), 23 against 28 ms in OpenVINO.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class _TwoForms(nn.Module):
    """What `set_export_form` finds and switches."""

    def __init__(self) -> None:
        super().__init__()
        self.export_form = False


class MaxPool2x2(_TwoForms):
    """Halve height and width, and say where in each 2x2 window the maximum stood."""

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch channels half_height half_width"], Tensor]:
        """Return the maxima and their positions, which only `MaxUnpool2x2` in the same form understands.

        Height and width must be even. Positions are int64 [batch, channels, height / 2, width / 2], indices
        into one channel of x; or, in the form for export, a mask of x's shape and dtype, 1 where a maximum
        stood.
        """
        if not self.export_form:
            values, indices = functional.max_pool2d(x, 2, return_indices=True)
            return values, indices
        values = functional.max_pool2d(x, 2)
        # Ties are common (a ReLU leaves whole windows of zeros): only the tied pixel of highest rank stays.
        ranked = (x == _repeat(values)).to(x.dtype) * _rank_in_window(x)
        return values, (ranked == _repeat(functional.max_pool2d(ranked, 2))).to(x.dtype)


class MaxUnpool2x2(_TwoForms):
    """Double height and width: each value goes back to where its maximum stood, zeros elsewhere (SegNet)."""

    def forward(
        self, values: Float[Tensor, "batch channels half_height half_width"], positions: Tensor
    ) -> Float[Tensor, "batch channels height width"]:
        """Return [batch, channels, 2 * half_height, 2 * half_width]; `positions` come from `MaxPool2x2`."""
        if not self.export_form:
            # On a CPU autocast would run this, and the join after it, in float32: a third of the time.
            with torch.autocast(values.device.type, enabled=False):
                return functional.max_unpool2d(values, positions, (2, 2))
        return _repeat(values) * positions


def set_export_form(module: nn.Module, enabled: bool) -> None:
    """Switch every pooling module inside `module` to the form for export, or back to native kernels."""
    for part in module.modules():
        if isinstance(part, _TwoForms):
            part.export_form = enabled


def _repeat(x: Tensor) -> Tensor:
    """[..., height, width] -> [..., 2 * height, 2 * width], each value four times."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def _rank_in_window(x: Tensor) -> Tensor:
    """[height, width] of 4 3 / 2 1 in every 2x2 window: the earlier in reading order, the higher."""
    rows = torch.arange(x.shape[-2], device=x.device) % 2
    columns = torch.arange(x.shape[-1], device=x.device) % 2
    return (4 - 2 * rows[:, None] - columns).to(x.dtype)
