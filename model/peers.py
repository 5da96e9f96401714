"""Whole networks of segmentation_models_pytorch (smp), to compare with."""

import difflib
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from model.constant_padding import with_constant_padding
from model.encoders import STRIDE, Normalisation, check_encoder, load_encoder_weights


class Peer(nn.Module):
    """A whole smp network, as it comes."""

    def __init__(self, network: nn.Module, *, class_count: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.class_count = class_count
        self.stride = STRIDE
        self.normalisation = normalisation
        self.network = network

    @property
    def encoder(self) -> nn.Module:
        """smp's, whose features go to the decoder."""
        return self.network.get_submodule("encoder")

    @property
    def classifier(self) -> nn.Module:
        """smp's head: decoder features to logits."""
        return self.network.get_submodule("segmentation_head")

    def forward(
        self, x: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Return logits of the size of x, whose height and width are multiples of `stride`."""
        logits: Tensor = self.network(x)
        return logits


def peer(
    class_count: int,
    *,
    arch: str = "unet",
    encoder: str = "resnet18",
    encoder_weights: str | Path | None = None,
) -> Peer:
    """A whole smp network by name, for comparison.

    Args:
        class_count: channels of the logits.
        arch: unet, unetplusplus, linknet, fpn, deeplabv3plus ... as smp names them.
        encoder: a name of smp, or `tu-` and a name of timm. encoder_weights: see `load_encoder_weights`.

    Raises:
        ValueError: an unknown architecture or encoder, or weights that do not fit.
    """
    import segmentation_models_pytorch as smp

    # DPT sits on a vision transformer of one fixed image size; everything here takes any multiple of 32.
    known = sorted(set(smp.MODEL_ARCHITECTURES_MAPPING) - {"dpt"})
    if arch not in known:
        nearest = difflib.get_close_matches(arch, known, n=1, cutoff=0.0)[0]
        raise ValueError(f"arch {arch!r} is unknown; nearest is {nearest!r}, all are {', '.join(known)}")
    check_encoder(encoder)
    network = smp.create_model(arch, encoder, encoder_weights=None, classes=class_count)
    with_constant_padding(network.encoder)
    normalisation = load_encoder_weights(network.encoder, name=encoder, weights=encoder_weights)
    return Peer(network, class_count=class_count, normalisation=normalisation)
