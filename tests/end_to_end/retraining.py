"""A line whose champion lacks a class, and the inbox that brings it; all of it drawn, small and quickly learnt.

A part is a mottled plate of 64 x 64 px; its defects are two squares of one kind: scratches are red, pits are blue,
stains green. The golden set has enough of each for a verdict without a person.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from data.classes import ClassMap
from data.images import encode_png
from data.layout import LabelledImage, write_layout

CLASSES: Final = ClassMap.from_names(("background", "scratch", "pit", "stain"))
OK, SCRATCH, PIT, STAIN = 0, 1, 2, 3
_LACKING: Final = ClassMap(classes=CLASSES.classes[:STAIN])
_COLORS: Final = {SCRATCH: (190, 70, 70), PIT: (70, 70, 190), STAIN: (70, 170, 70)}
_SIDE_PX: Final = 64

TRAIN: Final = """
name = "plates"
crops.crop_px = 64
data.workers = 0
network.options.widths = [8, 16]
optimizer = {lr = 1e-2, warmup_steps = 10, ema_decay = 0.9}
schedule = {epochs = 6, crops_per_epoch = 160, batch_size = 8}
compute = {device = "cpu", precision = "fp32", threads = 1}
artefact = {tile_px = 96, halo_px = 32}
"""
#: Other work on the machine must not decide what the gate says of models that take a few milliseconds.
RETRAIN: Final = """
adapt = {strategy = "fine_tune", new_share = 0.5}
optimizer = {lr = 5e-3, warmup_steps = 5}
schedule = {epochs = 4, crops_per_epoch = 128}
gate = {max_latency_ratio = 1000.0, resamples = 1000}
"""


def draw_part(name: str, *, kind: int, split: str | None = None) -> LabelledImage:
    """A part with two squares of a kind, or none for OK: another one for each name."""
    rng = np.random.default_rng(list(name.encode()))
    mottled = cv2.resize(rng.uniform(90, 160, (6, 6)), (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_CUBIC)
    image = np.repeat(mottled[..., None], 3, axis=2)
    labels = np.zeros((_SIDE_PX, _SIDE_PX), np.uint8)
    for _ in range(0 if kind == OK else 2):
        y, x = rng.integers(2, _SIDE_PX - 14, 2)
        image[y : y + 10, x : x + 12] = _COLORS[kind]
        labels[y : y + 10, x : x + 12] = kind
    noisy = (image + rng.normal(0, 5, image.shape)).clip(0, 255).astype(np.uint8)
    return LabelledImage(name, split, encode_png(noisy), labels, "a test")


def draw_parts(prefix: str, counts: dict[int, int], *, split: str | None = None) -> list[LabelledImage]:
    """So many parts of each kind."""
    return [
        draw_part(f"{prefix}_{kind}_{number:02}", kind=kind, split=split)
        for kind, count in counts.items()
        for number in range(count)
    ]


def draw_known(*, split: str | None = None) -> list[LabelledImage]:
    """What the champion is trained on."""
    return draw_parts("known", {OK: 20, SCRATCH: 12, PIT: 12}, split=split)


def write_known(folder: Path) -> None:
    """What the champion learns from: no stain, and no class for one."""
    parts = draw_known(split="train")
    parts += draw_parts("watched", {OK: 8, SCRATCH: 6, PIT: 6}, split="val")
    write_layout(parts, class_map=_LACKING, destination=folder)


def write_golden(folder: Path) -> None:
    """What candidates are judged on: 36 NG parts and 32 OK ones."""
    parts = draw_parts("golden", {OK: 32, SCRATCH: 12, PIT: 12, STAIN: 12}, split="test")
    write_layout(parts, class_map=CLASSES, destination=folder)


def draw_new() -> list[LabelledImage]:
    """What inspectors labelled since: stains above all."""
    return draw_parts("new", {OK: 12, SCRATCH: 8, PIT: 8, STAIN: 24})


def write_inbox(folder: Path, parts: Sequence[LabelledImage]) -> None:
    """As an annotator leaves them: no splits, and the classes that were drawn with."""
    write_layout(parts, class_map=CLASSES, destination=folder)


def relabelled(
    parts: Sequence[LabelledImage], change: Callable[[np.ndarray], np.ndarray]
) -> list[LabelledImage]:
    """The same pictures with other labels."""
    return [replace(part, labels=change(part.labels)) for part in parts]


def shuffled(parts: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Each picture with the labels of another one, drawn by seed."""
    circle = [parts[place] for place in np.random.default_rng(0).permutation(len(parts))]
    return [
        replace(part, labels=other.labels)
        for part, other in zip(circle, circle[1:] + circle[:1], strict=True)
    ]
