"""Manifest → training crops: a crop is a pure function of (seed, epoch, index) (docs/decisions/0003).

So loader processes, parallel training processes and resumed runs have nothing to agree on.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from data.augment import AugmentSettings, Photometry
from data.classes import ClassMap
from data.cropping import crop_matrix, cut_crop
from data.manifest import Sample
from data.paste import paste_defects
from data.pixels import PixelStore
from data.sampling import DefectIndex, SamplingSettings, Target, mix

CropKey = tuple[int, int]
"""(epoch, index): the name of a crop."""


class CropSettings(BaseModel):
    """What a training crop is.

    crop_px: side of the square, a multiple of the network's stride. Crops are at native scale, so that small
    defects stay: an image smaller than the crop is mirrored at its border, and what lies outside it is ignored
    by the loss.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop_px: int = Field(256, ge=32, le=2048, multiple_of=32)
    sampling: SamplingSettings = SamplingSettings()
    augment: AugmentSettings = AugmentSettings()


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops stacked: images uint8 [batch, height, width, 3], labels int64 [batch, height, width] (255 = ignore),
    and the positions of the samples that they come from, int64 [batch]."""

    images: Tensor
    labels: Tensor
    positions: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        moved = (part.to(device, non_blocking=True) for part in (self.images, self.labels, self.positions))
        return Batch(*moved)

    def pin_memory(self) -> "Batch":
        """In page-locked memory, from which a GPU copies faster; the loader calls this."""
        return Batch(*(part.pin_memory() for part in (self.images, self.labels, self.positions)))


class CropDataset(Dataset[tuple[Tensor, Tensor, int]]):
    """Training crops by their key; all samples are read when it is made."""

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        class_map: ClassMap,
        settings: CropSettings,
        seed: int,
        cache_mb: int = 2000,
        new_samples: Set[str] = frozenset(),
        new_share: float | None = None,
        on_done: Callable[[int], None] = lambda done: None,
    ) -> None:
        """Read all samples once; `new_samples` (names) and `new_share`: see `data.sampling.mix`.

        Raises:
            DatasetError: the first file in the way, by its name.
        """
        self._store = PixelStore(samples, class_map=class_map, cache_mb=cache_mb)
        self.index = DefectIndex(class_map, self._store.samples)
        self._store.fill(self.index.add, on_done=on_done)
        self._drawn_from = mix(self.index, new_samples=new_samples, new_share=new_share)
        self._settings = settings
        self._seed = seed
        self._photometry = Photometry(settings.augment)

    def __getitem__(self, key: CropKey) -> tuple[Tensor, Tensor, int]:
        """(image uint8 [crop, crop, 3], labels int64 [crop, crop], sample position) of crop (epoch, index)."""
        epoch, index = key
        random = np.random.default_rng((self._seed, epoch, index))
        target = self._drawn_from.draw(random, settings=self._settings.sampling)
        image, labels = self._cut(target, random=random)
        paste_share = self._settings.sampling.paste_share
        if self.index.shown and not target.at_defect and paste_share and random.random() < paste_share:
            donor_image, donor_labels = self._cut(self.index.draw_defect(random), random=random)
            image, labels = paste_defects(
                image,
                labels,
                donor_image=donor_image,
                donor_labels=donor_labels,
                class_map=self.index.class_map,
            )
        image = self._photometry(image, seed=int(random.integers(2**31 - 1)))
        return torch.from_numpy(image), torch.from_numpy(labels).long(), target.position

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples, in the order of their positions."""
        return self._store.samples

    def _cut(
        self, target: Target, *, random: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The crop around a target, turned, scaled and flipped at random."""
        image, labels = self._store[target.position]
        crop_px, augment = self._settings.crop_px, self._settings.augment
        matrix = crop_matrix(target, labels.shape, crop_px=crop_px, augment=augment, random=random)
        return cut_crop(image, labels, matrix=matrix, crop_px=crop_px)


class CropKeys(Sampler[list[CropKey]]):
    """Batches of crop keys for one of several processes, epoch after epoch, so that prefetching never pauses.

    Process `rank` of `world` takes every world-th crop: processes see disjoint crops, whose union does not depend
    on how many there are.
    """

    def __init__(
        self,
        *,
        epochs: range,
        crops_per_epoch: int,
        batch_size: int,
        steps_multiple: int = 1,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """`batch_size` is per process. An epoch is a multiple of `steps_multiple` batches in every process; crops
        beyond that are left out."""
        self._epochs = epochs
        self._steps = crops_per_epoch // (batch_size * world * steps_multiple) * steps_multiple
        self._batch_size, self._rank, self._world = batch_size, rank, world
        if not self._steps:
            raise ValueError(
                f"crops_per_epoch is {crops_per_epoch}, too few for {steps_multiple} batches of {batch_size} in "
                f"each of {world} processes; raise it"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch and process."""
        return self._steps

    def __len__(self) -> int:
        return self._steps * len(self._epochs)

    def __iter__(self) -> Iterator[list[CropKey]]:
        for epoch in self._epochs:
            for step in range(self._steps):
                first = step * self._batch_size
                yield [
                    (epoch, (first + offset) * self._world + self._rank) for offset in range(self._batch_size)
                ]


def crop_loader(
    dataset: CropDataset, *, keys: CropKeys, workers: int, pin_memory: bool = False
) -> "DataLoader[tuple[Tensor, Tensor, int]]":
    """A loader of `Batch`es in the order of `keys`, made ahead by `workers` processes (0: by the caller)."""
    if workers:
        # OpenCV's thread pool does not survive a fork: a child that touches it waits for ever. Give it up first.
        cv2.setNumThreads(1)
    return DataLoader(
        dataset,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_single_thread if workers else None,
        # Its own generator: each loader draws one number, and a resumed run makes one loader more.
        generator=torch.Generator(),
    )


def _collate(crops: Sequence[tuple[Tensor, Tensor, int]]) -> Batch:
    images, labels, positions = zip(*crops, strict=True)
    return Batch(torch.stack(images), torch.stack(labels), torch.tensor(positions))


def _single_thread(_worker: int) -> None:
    """Loader processes run beside the training threads: more threads in each would only fight for cores."""
    torch.set_num_threads(1)
