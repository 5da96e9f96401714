"""Save and restore a run between two epochs: everything that the next step depends on, whole or not at all."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from data.files import write_atomically
from training.tensor_file import TensorFileError, pack, unpack

LAST, BEST = "last.pt", "best.pt"
_FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or does not fit; says which and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A run after `epoch` epochs.

    config: the configuration as TOML; classes: classes.txt as text; network, averaged: state dicts of the trained and
    of the averaged (EMA) segmenter, both on the CPU; optimizer, schedule, scaler: their state dicts ({} where
    there is none); random_state: torch's CPU generator; best_score, best_epoch: of the monitored score so
    far; stale_epochs: epochs without a better one. Crops need no state: they are a function of the epoch.
    """

    config: str
    classes: str
    epoch: int
    network: dict[str, Any]
    averaged: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    scaler: dict[str, Any]
    random_state: torch.Tensor
    best_score: float | None
    best_epoch: int
    stale_epochs: int


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> Path:
    """Write `checkpoint` to `path`, replacing an older one only when all is on disk.

    Raises:
        CheckpointError: the disk is full or not writable; the older file is intact.
    """
    content = pack({"format": _FORMAT, **{f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)}})
    try:
        return write_atomically(path, content)
    except OSError as error:
        raise CheckpointError(
            f"{path}: the checkpoint of epoch {checkpoint.epoch} could not be written ({error.strerror}); "
            "earlier checkpoints are intact: make room and go on with --resume"
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; only tensors and plain values are unpickled, never code.

    Raises:
        CheckpointError: no such file, damaged, not a checkpoint, or of another format.
    """
    try:
        archive = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint; has this run finished an epoch?") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); go on from another") from error
    try:
        content = unpack(archive)
    except TensorFileError as error:
        raise CheckpointError(
            f"{path}: damaged, or no checkpoint ({error}); go on from another, or train anew"
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: no checkpoint of format {_FORMAT}; train anew with this version")
    content = {key: value for key, value in content.items() if key != "format"}
    expected = {field.name for field in fields(Checkpoint)}
    if content.keys() != expected:
        raise CheckpointError(f"{path}: lacks {', '.join(sorted(expected ^ content.keys()))}; train anew")
    return Checkpoint(**content)
