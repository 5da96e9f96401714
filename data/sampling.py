"""Where training looks: which image, and which point of it, the next crop shows.

Defects are rare twice over: few images hold any, and in those they cover few pixels. Crops drawn evenly would be
background for hours; crops drawn at defects alone teach that every picture holds one, and every OK part is
called NG (measured: 145 of 180). The policy names the mixture.
"""

import copy
from collections import defaultdict
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from data.classes import IGNORE_LABEL, ClassMap
from data.label_counts import count_labels
from data.manifest import Sample
from data.regions import find_regions

_SEEDS_PER_REGION = 64


class SamplingSettings(BaseModel):
    """How crops are drawn.

    policy:
        `balanced`: with probability `defect_share` a crop that holds a defect: the class is drawn evenly, then one
            of the groups (parts) that show it, one of its images, one of the defects in it, one of its pixels,
            which lies anywhere in the inner part of the crop. Else a point anywhere in any image.
        `defects`: `balanced` with a defect in every crop.
        `uniform`: a point anywhere in any image.
    defect_share: see `balanced`.
    paste_share: probability that a crop not drawn at a defect gets those of another crop pasted in
        (`data.paste`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Literal["balanced", "defects", "uniform"] = "balanced"
    defect_share: float = Field(0.5, ge=0.0, le=1.0)
    paste_share: float = Field(0.0, ge=0.0, le=1.0)

    @property
    def share(self) -> float:
        """Probability that a crop is drawn at a defect."""
        return {"balanced": self.defect_share, "defects": 1.0, "uniform": 0.0}[self.policy]


@dataclass(frozen=True, slots=True)
class Target:
    """The point that a crop is drawn around: sample position, (y, x) in px, and whether a defect is there."""

    position: int
    y: float
    x: float
    at_defect: bool


@dataclass(slots=True)
class DefectIndex:
    """Where the defects of a data set are, and how much of what it holds; filled image by image.

    class_pixels: int64 [classes], its pixels; image_pixels: int64 [classes], labelled pixels of the images that show
    the class; class_images: int64 [classes], how many these are.
    """

    class_map: ClassMap
    samples: tuple[Sample, ...]
    class_pixels: NDArray[np.int64] = field(init=False)
    image_pixels: NDArray[np.int64] = field(init=False)
    class_images: NDArray[np.int64] = field(init=False)
    sizes_hw: dict[int, tuple[int, int]] = field(default_factory=dict)
    _regions: dict[int, dict[str, dict[int, list[NDArray[np.int32]]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.class_pixels, self.image_pixels, self.class_images = np.zeros((3, len(self.class_map)), np.int64)

    def add(self, position: int, labels: NDArray[np.uint8]) -> None:
        """Note the labels, uint8 [height, width], of the sample at `position`."""
        self.sizes_hw[position] = (labels.shape[0], labels.shape[1])
        counts = count_labels(labels)
        known = counts[: len(self.class_map)]
        self.class_pixels += known
        self.image_pixels += np.where(known > 0, labels.size - counts[IGNORE_LABEL], 0)
        self.class_images += known > 0
        sample = self.samples[position]
        group = sample.group or sample.name
        for region in find_regions(labels, class_ids=self.class_map.defect_ids):
            left, top, *_ = region.box_xyxy
            points = np.argwhere(region.mask)
            step = max(1, len(points) // _SEEDS_PER_REGION)
            by_group = self._regions.setdefault(region.class_id, {})
            by_image = by_group.setdefault(group, defaultdict(list))
            by_image[position].append((points[::step] + np.array([top, left])).astype(np.int32))

    @property
    def shown(self) -> tuple[int, ...]:
        """The defect classes that occur, ascending."""
        return tuple(sorted(self._regions))

    def draw(self, random: np.random.Generator, *, settings: SamplingSettings) -> Target:
        """The next crop's target, by the settings' policy; a data set without defects is drawn evenly."""
        if self.shown and random.random() < settings.share:
            return self.draw_defect(random)
        position = list(self.sizes_hw)[random.integers(len(self.sizes_hw))]
        height, width = self.sizes_hw[position]
        return Target(position, float(random.uniform(0, height)), float(random.uniform(0, width)), False)

    def draw_defect(self, random: np.random.Generator) -> Target:
        """A target at a defect, by the `balanced` policy; there must be one (`shown`)."""
        by_group = self._regions[self.shown[random.integers(len(self.shown))]]
        by_image = list(by_group.values())[random.integers(len(by_group))]
        position = list(by_image)[random.integers(len(by_image))]
        regions = by_image[position]
        points = regions[random.integers(len(regions))]
        y, x = points[random.integers(len(points))]
        return Target(position, float(y) + 0.5, float(x) + 0.5, True)

    def only(self, positions: Set[int]) -> "DefectIndex":
        """Where to look among these positions alone; what was counted stays that of all."""
        part = copy.copy(self)
        part.sizes_hw = {at: size_hw for at, size_hw in self.sizes_hw.items() if at in positions}
        part._regions = {}
        for class_id, by_group in self._regions.items():
            for group, by_image in by_group.items():
                kept = {at: regions for at, regions in by_image.items() if at in positions}
                if kept:
                    part._regions.setdefault(class_id, {})[group] = kept
        return part


@dataclass(frozen=True, slots=True)
class Mixture:
    """Old samples rehearsed beside new ones, which are few: a crop is drawn from `new` with probability `new_share`,
    else from `old`, and in either by the policy."""

    new: DefectIndex
    old: DefectIndex
    new_share: float

    def draw(self, random: np.random.Generator, *, settings: SamplingSettings) -> Target:
        """The next crop's target."""
        part = self.new if random.random() < self.new_share else self.old
        return part.draw(random, settings=settings)


def mix(index: DefectIndex, *, new_samples: Set[str], new_share: float | None) -> DefectIndex | Mixture:
    """Where to draw from when the samples of these names are new; all alike (`index`) when the share is None, or
    when there are none but new ones, or none."""
    new = {at for at, sample in enumerate(index.samples) if sample.name in new_samples}
    old = set(range(len(index.samples))) - new
    if new_share is None or not new or not old:
        return index
    return Mixture(new=index.only(new), old=index.only(old), new_share=new_share)
