"""What a labelled picture is, whatever its files are called and however they are encoded."""

import hashlib
import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.classes import IGNORE_LABEL, ClassMap
from data.manifest import Manifest, Sample
from data.masks import Labels, read_labels
from data.pixels import read_pair

# So many results wait for whoever reads them, however large the data set is.
_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSample:
    """A sample after its files were read once; it holds hashes, and no pixel.

    Attributes:
        source: the sample, with the files that it was read from.
        renumbered: uint8 [256], the id among the wanted classes for each id in the mask file.
        image: sha256 (hex) of the image file.
        pixels: sha256 of the decoded upright RGB pixels and their size: which picture it is.
        labels: sha256 of the renumbered class ids and their size: what is said of it.
    """

    source: Sample
    renumbered: NDArray[np.uint8]
    image: str
    pixels: str
    labels: str

    def read_labels(self) -> Labels:
        """The mask in the ids of the wanted classes, uint8 [height, width], read anew."""
        renumbered: Labels = self.renumbered[read_labels(self.source.mask)]
        return renumbered


def labelled_samples(
    manifest: Manifest, *, onto: ClassMap | None = None, splits: Collection[str] | None = None
) -> Iterator[LabelledSample]:
    """Read the samples of a data set, of these splits or of all, each once and on all cores.

    `onto` are the classes whose ids are wanted, matched by name; it must know every class of the data set.

    Raises:
        DatasetError: the first file that cannot be read, an unknown id, or a mask that does not fit its image.
        ValueError: `onto` lacks a class.
    """
    renumbered = _renumbering(manifest.class_map, onto=onto or manifest.class_map)

    def read(sample: Sample) -> LabelledSample:
        image, labels = read_pair(sample, class_map=manifest.class_map)
        return LabelledSample(
            source=sample,
            renumbered=renumbered,
            image=hashlib.sha256(sample.image.read_bytes()).hexdigest(),
            pixels=array_sha256(image),
            labels=array_sha256(renumbered[labels]),
        )

    wanted = [sample for sample in manifest.samples if splits is None or sample.split in splits]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(wanted), _AT_ONCE):
            yield from pool.map(read, wanted[start : start + _AT_ONCE])


def array_sha256(array: NDArray[Any]) -> str:
    """sha256 (hex) of an array's shape and bytes."""
    total = hashlib.sha256(f"{array.shape}".encode())
    total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def _renumbering(class_map: ClassMap, *, onto: ClassMap) -> NDArray[np.uint8]:
    ids = np.full(256, IGNORE_LABEL, np.uint8)
    ids[: len(class_map)] = [onto.index_of(name) for name in class_map.names]
    return ids
