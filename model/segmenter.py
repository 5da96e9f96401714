"""Pixels in, logits out: the module that is trained is the module that is exported, so they cannot drift."""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from model.encoder_segnet import encoder_segnet
from model.peers import peer
from model.residual_segnet import ResidualSegNet
from model.segnet import segnet

_NETWORKS: Final[dict[str, Callable[..., nn.Module]]] = {
    "residual_segnet": ResidualSegNet,
    "segnet": segnet,
    "encoder_segnet": encoder_segnet,
    "peer": peer,
}
#: The names that `build` knows.
NETWORKS: Final = tuple(_NETWORKS)


class Segmenter(nn.Module):
    """A network behind its normalisation.

    Attributes:
        network: float32 [batch, 3, height, width] -> logits [batch, classes, height, width].
        class_count: channels of the logits.
        stride: height and width must be multiples of it.
        encoder_is_frozen: see `freeze_encoder`.

    Args:
        mean, std: of each channel, on the scale 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        class_count: int,
        stride: int,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(
                f"mean {list(mean)} and std {list(std)}; expected three numbers each, std above 0"
            )
        self.network = network
        self.class_count = class_count
        self.stride = stride
        self.encoder_is_frozen = False
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))

    def forward(
        self, image: UInt8[Tensor, "batch height width 3"]
    ) -> Float[Tensor, "batch {self.class_count} height width"]:
        """Return float32 logits for RGB images.

        Raises:
            ValueError: height or width is no multiple of the stride.
        """
        height, width = image.shape[1:3]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"image of {height} x {width} pixels; height and width must be multiples of {self.stride}: pad "
                "it (model.predictor does), or crop it"
            )
        # Seen as channels first, the image already lies in memory channels last, as convolutions like it.
        pixels = image.permute(0, 3, 1, 2).float()
        logits: Tensor = self.network((pixels - self.mean * 255.0) / (self.std * 255.0))
        return logits.float()

    @property
    def encoder(self) -> nn.Module:
        """The network's part that turns pixels into features, before any decoder."""
        return _part(self.network, "encoder")

    @property
    def classifier(self) -> nn.Module:
        """The network's part that turns features into logits; axis 0 of each of its tensors is the class."""
        return _part(self.network, "classifier")

    def freeze_encoder(self) -> None:
        """Keep the encoder as it is from now on: its weights get no gradient, its statistics no update."""
        self.encoder_is_frozen = True
        self.encoder.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Segmenter":
        """As of any module; a frozen encoder stays in evaluation, where batch norm counts nothing."""
        super().train(mode)
        if self.encoder_is_frozen:
            self.encoder.eval()
        return self


def build(name: str, *, class_count: int, options: Mapping[str, object] | None = None) -> Segmenter:
    """Return the named network, freshly initialised, behind its normalisation.

    Args:
        name: one of NETWORKS.
        class_count: at least 2.
        options: keyword arguments of that network, and `mean` and `std` of the normalisation.

    Raises:
        ValueError: an unknown name, an unknown option (the nearest known one is named), or a value that makes
            no network.
    """
    if name not in _NETWORKS:
        raise ValueError(f"network {name!r} is unknown; {_hint(name, NETWORKS)}")
    maker = _NETWORKS[name]
    known = [key for key in inspect.signature(maker).parameters if key not in ("class_count", "in_channels")]
    known += ["mean", "std"]
    given: dict[str, Any] = dict(options or {})
    for option in given:
        if option not in known:
            raise ValueError(f"network {name!r} has no option {option!r}; {_hint(option, known)}")
    chosen: dict[str, Any] = {key: given.pop(key) for key in ("mean", "std") if key in given}
    network = maker(class_count, **given)
    normalisation = {**getattr(network, "normalisation", {}), **chosen}
    stride = network.stride
    assert isinstance(stride, int)
    return Segmenter(network, class_count=class_count, stride=stride, **normalisation)


def _part(network: nn.Module, name: str) -> nn.Module:
    part = getattr(network, name)
    assert isinstance(part, nn.Module), f"{type(network).__name__}.{name} is a module"
    return part


def _hint(name: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return f"nearest is {nearest!r}, all are {', '.join(known)}"
