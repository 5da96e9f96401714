"""Elastic weight consolidation: learn the new where the old does not depend on it (arXiv 1612.00796).

Around the champion's weights θ*, the divergence of a network's answers from the champion's is, to second order,
½ (θ - θ*)ᵀ F (θ - θ*) with its Fisher information F. The diagonal of F is all that is kept of the old data: small
enough to travel with the model, and enough to know which weights may move when the old images are gone.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from data.classes import IGNORE_LABEL
from data.dataset import CropKey
from model.segmenter import Segmenter
from training.tensor_file import read_tensors, write_tensors

FISHER_FILE: Final = "fisher.pt"
_KIND: Final = "Fisher information of a trained network"


class Crops(Protocol):
    """`data.dataset.CropDataset`, as far as it is needed here."""

    def __getitem__(self, key: CropKey, /) -> tuple[Tensor, Tensor, int]:
        """(image uint8 [height, width, 3], labels int64 [height, width], sample position)."""
        ...


class ElasticPenalty:
    """λ/2 Σ F (θ - θ*)², equation 3 of the paper: with λ = 1 about the mean divergence of a pixel's answer, in nats.

    The diagonal leaves out how weights act together, so the true divergence is larger or smaller. On magnetic_tile 40
    steps of fine-tuning at a rate of 1e-3 made it 0.003 beside a loss of 0.65: λ = 100 has a say, 10 hardly.
    """

    def __init__(self, champion: Segmenter, *, fisher: Mapping[str, Tensor], strength: float) -> None:
        """Remember the weights as they are now (θ*), on their device.

        Args:
            champion: its weights are those that `fisher` was computed at.
            fisher: by parameter name, of the parameter's shape; parameters that are not in it move freely, and so do
                entries that are 0, such as the rows of new classes.
            strength: λ.

        Raises:
            ValueError: an entry has another shape than its parameter, or no parameter has an entry.
        """
        self._strength = strength
        weights = dict(champion.named_parameters())
        self._names = [name for name in weights if name in fisher]
        if not self._names:
            raise ValueError(
                "the Fisher information knows no parameter of this network; compute it for this one"
            )
        for name in self._names:
            if weights[name].shape != fisher[name].shape:
                raise ValueError(
                    f"the Fisher information of {name} is {list(fisher[name].shape)}, the parameter "
                    f"{list(weights[name].shape)}; it belongs to another network: compute it for this one"
                )
        self._fisher = self._line_up(fisher).to(champion.mean.device)
        self._anchor = self._line_up(weights).detach()

    def __call__(self, segmenter: Segmenter) -> Tensor:
        """The penalty, float32 [], with a graph to the parameters of `segmenter`; autocast does not touch it."""
        with torch.autocast(segmenter.mean.device.type, enabled=False):
            moved = self._line_up(dict(segmenter.named_parameters())) - self._anchor
            return 0.5 * self._strength * (self._fisher * moved.square()).sum()

    def _line_up(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """All in one vector: one multiplication instead of hundreds of small ones."""
        return torch.cat([tensors[name].float().flatten() for name in self._names])


def compute_fisher(
    segmenter: Segmenter, dataset: Crops, *, crops: int, device: torch.device, seed: int = 0
) -> dict[str, Tensor]:
    """The diagonal Fisher information of every parameter, per pixel, over the first crops of the data.

    Labels are drawn from the network's own answers. The true labels would give the empirical Fisher, which vanishes
    where the network is right and is no curvature (arXiv 1905.12558). Labels of pixels drawn apart have
    uncorrelated gradients, so the square of a crop's summed gradient is the sum of its pixels' squares on average,
    and one backward pass serves a whole crop. Ignored pixels do not count.

    Args:
        segmenter: left as it is; evaluated with its running statistics, in float32.
        dataset: crop (0, index) for index < crops.

    Returns:
        By parameter name, float32 on the CPU, 0 or more.
    """
    twin = copy.deepcopy(segmenter).to(device).eval().requires_grad_(True)
    weights = dict(twin.named_parameters())
    squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    draws = torch.Generator(device).manual_seed(seed)
    pixels = 0
    for index in range(crops):
        image, labels, _ = dataset[0, index]
        known = (labels != IGNORE_LABEL).to(device)
        if not known.any():
            continue
        logits = twin(image[None].to(device))[0, :, known].T
        drawn = torch.multinomial(logits.detach().softmax(1), 1, generator=draws)[:, 0]
        loss = functional.cross_entropy(logits, drawn, reduction="sum")
        # A parameter that no answer depends on gets no gradient: its information is 0.
        gradients = torch.autograd.grad(
            loss, list(weights.values()), allow_unused=True, materialize_grads=True
        )
        for square, gradient in zip(squares.values(), gradients, strict=True):
            square += gradient.square()
        pixels += len(drawn)
    return {name: (square / max(1, pixels)).cpu() for name, square in squares.items()}


def add_online(
    before: Mapping[str, Tensor], now: Mapping[str, Tensor], *, decay: float = 0.9
) -> dict[str, Tensor]:
    """What to keep after another round of training: decay · before + now (online EWC, arXiv 1801.10112, section 4).

    So one Fisher stands for all rounds, and old rounds fade. Parameters that `before` does not know are those of `now`.
    """
    return {name: decay * before[name] + value if name in before else value for name, value in now.items()}


def save_fisher(path: Path, fisher: Mapping[str, Tensor]) -> Path:
    """Write fisher.pt, whole or not at all. Raises OSError."""
    return write_tensors(path, {"fisher": {n: v.float().cpu() for n, v in fisher.items()}}, kind=_KIND)


def load_fisher(path: Path) -> dict[str, Tensor]:
    """What `save_fisher` wrote. Raises TensorFileError."""
    fisher: dict[str, Tensor] = read_tensors(path, kind=_KIND)["fisher"]
    return fisher
