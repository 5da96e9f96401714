"""What happens to a line: a champion knows three kinds of defects, a fourth comes up, the old images may be gone.

Drawn, so that old and new are known to the pixel: an image of the old task shows scratches, pits or cracks, one of the
new task stains alone, and in both every other part is OK.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.images import encode_jpeg
from data.layout import LabelledImage, write_layout
from data.manifest import DatasetError, Manifest
from data.sources import open_dataset
from data.synthetic import SYNTHETIC_CLASSES, SyntheticPart, draw_part
from data.synthetic_defects import DefectName
from data.synthetic_surfaces import SURFACES

OLD: Final[tuple[DefectName, ...]] = ("scratch", "pit", "crack")
NEW: Final[DefectName] = "stain"
OLD_CLASSES: Final = ClassMap.from_names(("background", *OLD))
#: The new class behind the old ones, whose ids stay.
ALL_CLASSES: Final = ClassMap.from_names((*OLD_CLASSES.names, NEW))
#: The splits of `Task.test`.
OLD_TEST, NEW_TEST = "old_test", "new_test"
#: Of `Task.kept`: every other one with a defect, four of each kind.
KEPT_IMAGES: Final = 24

_MOST_OF_A_KIND: Final = 2
_JPEG_QUALITY: Final = 93


@dataclass(frozen=True, slots=True)
class Task:
    """Manifests over one folder. `old` (in the old classes), `new` and `both` hold train and val; `kept` is `new` with
    a few old images in train; `test` holds OLD_TEST and NEW_TEST, which show old and new defects apart."""

    old: Manifest
    new: Manifest
    kept: Manifest
    both: Manifest
    test: Manifest


def draw_task(folder: Path, *, seed: int, side_px: int, counts: Mapping[str, int]) -> Task:
    """The task of a seed, drawn into `folder` unless it is there; `counts`: parts by split, such as old_train.

    Raises:
        DatasetError: `folder` holds other parts.
    """
    if not folder.exists():
        images = _draw_all(counts, seed=seed, side_px=side_px)
        write_layout(images, class_map=ALL_CLASSES, destination=folder)
    drawn = open_dataset(folder)
    held = {split: len(drawn.split(split)) for split in drawn.splits}
    if held != dict(counts):
        raise DatasetError(f"{folder} holds {held} parts, expected {dict(counts)}; give another folder")
    old, new = _select(drawn, "old_train", "old_val"), _select(drawn, "new_train", "new_val")
    return Task(
        old=dataclasses.replace(old, class_map=OLD_CLASSES),
        new=new,
        kept=dataclasses.replace(new, samples=new.samples + old.split("train")[:KEPT_IMAGES]),
        both=_select(drawn, "old_train", "old_val", "new_train", "new_val"),
        test=dataclasses.replace(drawn, samples=drawn.split(OLD_TEST) + drawn.split(NEW_TEST)),
    )


def _select(drawn: Manifest, *splits: str) -> Manifest:
    """Some splits; what comes before their first word is no part of their name: old_train is train."""
    samples = tuple(
        dataclasses.replace(sample, split=split.partition("_")[2])
        for split in splits
        for sample in drawn.split(split)
    )
    return dataclasses.replace(drawn, samples=samples)


def _draw_all(counts: Mapping[str, int], *, seed: int, side_px: int) -> Iterator[LabelledImage]:
    for split, count in counts.items():
        kinds = OLD if split.startswith("old") else (NEW,)
        for index in range(count):
            name = f"{split}_{index:04}"
            part_seed = int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8])
            turn = index // 2
            defects = (kinds[turn % len(kinds)],) * (1 + part_seed % _MOST_OF_A_KIND)
            part = draw_part(
                part_seed,
                # Shifted by one each round of kinds: no kind stays with one surface.
                surface=SURFACES[(turn + turn // len(kinds)) % len(SURFACES)],
                size_hw=(side_px, side_px),
                defects=() if index % 2 else defects,
            )
            yield LabelledImage(
                name=name,
                split=split,
                content=encode_jpeg(part.image, quality=_JPEG_QUALITY),
                labels=_in_our_classes(part),
                origin=f"drawn part {name}",
            )


def _in_our_classes(part: SyntheticPart) -> NDArray[np.uint8]:
    ids = np.array([ALL_CLASSES.index_of(name) for name in SYNTHETIC_CLASSES.names], np.uint8)
    return ids[part.labels]
