"""A champion's weights in one small file beside its model file, for the next training to go on from.

A checkpoint holds them too, and four times as much besides that only its own run can use.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from data.classes import ClassMap
from model.segmenter import Segmenter, build
from training.checkpoint import Checkpoint, load_checkpoint
from training.config import NetworkSettings, parse_config
from training.tensor_file import read_tensors, write_tensors

NETWORK_FILE: Final = "network.pt"
_KIND: Final = "weights of a trained network"


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """settings: which network; class_names: in the order of its logits; weights: its Segmenter's state dict, on the
    CPU."""

    settings: NetworkSettings
    class_names: tuple[str, ...]
    weights: Mapping[str, Tensor]

    def build(self) -> Segmenter:
        """The network itself."""
        options = self.settings.structural_options
        segmenter = build(self.settings.name, class_count=len(self.class_names), options=options)
        segmenter.load_state_dict(dict(self.weights))
        return segmenter


def averaged_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The state dict of the averaged segmenter, which is what was validated and exported."""
    return {
        name.removeprefix("module."): value
        for name, value in checkpoint.averaged.items()
        if name != "n_averaged"
    }


def write_network(checkpoint: Path) -> Path:
    """Write network.pt beside a checkpoint, from its averaged weights, and return its path.

    Raises:
        CheckpointError: the checkpoint is missing or damaged. OSError: network.pt cannot be written.
    """
    saved = load_checkpoint(checkpoint)
    content = {
        "network": parse_config(tomllib.loads(saved.config), origin=str(checkpoint)).network.model_dump(),
        "class_names": list(ClassMap.from_text(saved.classes, origin=str(checkpoint)).names),
        "weights": averaged_weights(saved),
    }
    return write_tensors(checkpoint.with_name(NETWORK_FILE), content, kind=_KIND)


def read_network(path: Path) -> TrainedNetwork:
    """What `write_network` wrote. Raises TensorFileError."""
    content = read_tensors(path, kind=_KIND)
    return TrainedNetwork(
        settings=NetworkSettings.model_validate(content["network"]),
        class_names=tuple(content["class_names"]),
        weights=content["weights"],
    )
