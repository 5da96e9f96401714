"""Parts with known defects, drawn from a seed: the demo, the examples and the tests need no download.

The pictures resemble what a camera above a line sees, and the labels are exact. They stand in for real data
to show that the whole path works; scores on them say nothing about a real surface.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.images import encode_jpeg
from data.layout import LabelledImage, refuse_full_folder, write_layout
from data.manifest import DatasetError, Manifest
from data.sources import open_dataset
from data.synthetic_camera import photograph
from data.synthetic_defects import DEFECTS, DefectName, DefectPatch, draw_defect
from data.synthetic_surfaces import SURFACES, SizeHw, SurfaceName, draw_surface

SYNTHETIC_CLASSES = ClassMap.from_names(("background", *DEFECTS))
"""What the labels of every synthetic part mean."""

SMALLEST_PX = 64
"""Below this side length the defects do not fit."""

DEFAULT_COUNTS: Mapping[str, int] = {"train": 160, "val": 40, "test": 60}

_MOST_OF_A_KIND: Mapping[DefectName, int] = {"scratch": 3, "pit": 6, "stain": 2, "crack": 2}
_JPEG_QUALITY = 93
_PLACES_TRIED = 12
_CLEARANCE = np.ones((9, 9), np.uint8)


@dataclass(frozen=True, slots=True)
class SyntheticDefect:
    """What is known of one drawn defect.

    center_xy: px, the middle of the stroke or of the spot. length_px, width_px: as drawn: along the main
    stroke and at its widest, or the two axes of the spot. area_px: its pixels in the label map, which hold a
    stroke's edges, lit or in shadow, and its branches as well.
    """

    name: DefectName
    class_id: int
    center_xy: tuple[float, float]
    length_px: float
    width_px: float
    area_px: int


@dataclass(frozen=True, slots=True)
class SyntheticPart:
    """image: uint8 [height, width, 3] RGB; labels: uint8 [height, width], ids of SYNTHETIC_CLASSES."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    surface: SurfaceName
    defects: tuple[SyntheticDefect, ...]


def draw_part(
    seed: int,
    *,
    surface: SurfaceName,
    size_hw: SizeHw = (256, 256),
    defects: Sequence[DefectName] = (),
) -> SyntheticPart:
    """Draw one part; the same arguments give the same bytes.

    defects: one name for each defect wanted; places and sizes are random. The surface, the light and the
    sensor noise depend on the seed alone: with and without defects it is the same part. Defects keep clear of
    each other while there is room; after that a later one covers an earlier one.

    Raises:
        ValueError: an unknown surface or defect, or a side below 64 px.
    """
    if min(size_hw) < SMALLEST_PX:
        raise ValueError(
            f"a part of {size_hw[1]} x {size_hw[0]} px is too small for its defects; "
            f"give at least {SMALLEST_PX} px a side"
        )
    of_surface, of_camera, of_defects = (
        np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(3)
    )
    canvas = draw_surface(surface, size_hw=size_hw, rng=of_surface)
    labels = np.zeros(size_hw, np.uint8)
    numbers = np.zeros(size_hw, np.int32)
    patches: list[DefectPatch] = []
    for number, name in enumerate(defects, start=1):
        patch = _find_room(name, surface=surface, taken=numbers > 0, rng=of_defects)
        patch.put_on(canvas)
        labels[patch.window][patch.label] = SYNTHETIC_CLASSES.index_of(name)
        numbers[patch.window][patch.label] = number
        patches.append(patch)
    areas_px = np.bincount(numbers.ravel(), minlength=len(patches) + 1)[1:]
    return SyntheticPart(
        image=photograph(canvas, surface=surface, rng=of_camera),
        labels=labels,
        surface=surface,
        defects=tuple(
            SyntheticDefect(
                name=name,
                class_id=SYNTHETIC_CLASSES.index_of(name),
                center_xy=patch.center_xy,
                length_px=patch.length_px,
                width_px=patch.width_px,
                area_px=int(area_px),
            )
            for name, patch, area_px in zip(defects, patches, areas_px, strict=True)
        ),
    )


def write_synthetic_dataset(
    destination: Path,
    *,
    counts: Mapping[str, int] = DEFAULT_COUNTS,
    seed: int = 0,
    size_hw: SizeHw = (256, 256),
    surfaces: Sequence[SurfaceName] = SURFACES,
    on_done: Callable[[int], None] = lambda done: None,
) -> Manifest:
    """Draw a whole data set below `destination`, whole or not at all, and open it.

    counts: split -> parts. In each split every other part, the first included, has defects; kinds and
    surfaces take turns, so that eight parts show all four kinds and 24 show each kind on each surface. More
    parts in one split change nothing in what is drawn for the first ones, nor in other splits.

    Raises:
        DatasetError: `destination` is not empty, or nothing to draw.
        ValueError: an unknown surface, or a side below 64 px.
    """
    destination = Path(destination)
    refuse_full_folder(destination)
    if not surfaces or any(count < 0 for count in counts.values()) or not any(counts.values()):
        raise DatasetError(
            f"{dict(counts)} parts on {len(surfaces)} surfaces: expected at least one part and one surface"
        )
    write_layout(
        _draw_all(counts, seed=seed, size_hw=size_hw, surfaces=surfaces),
        class_map=SYNTHETIC_CLASSES,
        destination=destination,
        on_done=on_done,
    )
    return open_dataset(destination)


def _draw_all(
    counts: Mapping[str, int], *, seed: int, size_hw: SizeHw, surfaces: Sequence[SurfaceName]
) -> Iterator[LabelledImage]:
    for split, count in counts.items():
        for index in range(count):
            name = f"{split}_{index:04d}"
            part_seed = int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8])
            turn = index // 2
            kind = DEFECTS[turn % len(DEFECTS)]
            # Shifted by one each round of kinds: no kind stays with one surface, however many there are.
            surface = surfaces[(turn + turn // len(DEFECTS)) % len(surfaces)]
            part = draw_part(
                part_seed,
                surface=surface,
                size_hw=size_hw,
                defects=_choose(kind, seed=part_seed) if index % 2 == 0 else (),
            )
            yield LabelledImage(
                name=f"{name}_{surface}",
                split=split,
                content=encode_jpeg(part.image, quality=_JPEG_QUALITY),
                labels=part.labels,
                origin=f"synthetic part {name}",
            )


def _choose(kind: DefectName, *, seed: int) -> tuple[DefectName, ...]:
    """A few defects of that kind, and at times one of another."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, _MOST_OF_A_KIND[kind] + 1))
    others = [name for name in DEFECTS if name != kind]
    extra = (others[rng.integers(len(others))],) if rng.random() < 0.35 else ()
    return (kind,) * count + extra


def _find_room(
    name: DefectName, *, surface: SurfaceName, taken: NDArray[np.bool_], rng: np.random.Generator
) -> DefectPatch:
    """The first of a few tries that touches no other defect; the last one if none is free."""
    size_hw = (taken.shape[0], taken.shape[1])
    for _ in range(_PLACES_TRIED):
        patch = draw_defect(name, surface=surface, size_hw=size_hw, rng=rng)
        # Shapes that touch would melt into one region.
        near = cv2.dilate(patch.label.astype(np.uint8), _CLEARANCE) > 0
        if not (near & taken[patch.window]).any():
            break
    return patch
