"""Decode each labelled image once and keep it: crops of large pictures must not wait for JPEG.

Decoding a 4-megapixel JPEG costs 40 ms, a 256-pixel crop of the decoded picture 1 ms. On systems that fork,
loader processes share these arrays with the training process, so they are held once.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.images import ImageError, read_image
from data.manifest import DatasetError, Sample
from data.masks import MaskError, read_labels

Image = NDArray[np.uint8]
Labels = NDArray[np.uint8]

_DOCTOR = "`segnet data check` lists everything of this kind"


def read_pair(sample: Sample, *, class_map: ClassMap) -> tuple[Image, Labels]:
    """A sample's image, uint8 RGB [height, width, 3], and its labels, uint8 [height, width], 255 = ignore.

    Raises:
        DatasetError: a file that cannot be read, an unknown id, or sizes that differ; names the file.
    """
    image = _decode(sample.image, read_image)
    labels = _decode(sample.mask, lambda path: read_labels(path, class_count=len(class_map)))
    if image.shape[:2] != labels.shape:
        raise DatasetError(
            f"{sample.mask}: the mask is {labels.shape[1]} x {labels.shape[0]} px, its image "
            f"{image.shape[1]} x {image.shape[0]} px; draw it on this very image; {_DOCTOR}"
        )
    return image, labels


def _decode(path: Path, decode: Callable[[Path], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The decoded file; what is wrong with it, as DatasetError that names it."""
    try:
        return decode(path)
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}; {_DOCTOR}") from error
    except (ImageError, MaskError) as error:
        said = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise DatasetError(f"{said}; {_DOCTOR}") from error


class PixelStore:
    """Images and labels of some samples by position; decoded ones are kept as far as the budget goes."""

    def __init__(self, samples: Sequence[Sample], *, class_map: ClassMap, cache_mb: int) -> None:
        """Nothing is read yet; `cache_mb` (10^6 bytes) bounds what is kept, not what can be read."""
        self._samples = tuple(samples)
        self._class_map = class_map
        self._free_bytes = cache_mb * 1_000_000
        self._kept: dict[int, tuple[Image, Labels]] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, position: int) -> tuple[Image, Labels]:
        """The decoded pair, kept or read anew. Raises DatasetError as `read_pair` does."""
        kept = self._kept.get(position)
        return kept if kept is not None else read_pair(self._samples[position], class_map=self._class_map)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples, in the order of their positions."""
        return self._samples

    def fill(
        self, look_at: Callable[[int, Labels], None], *, on_done: Callable[[int], None] = lambda done: None
    ) -> None:
        """Read every sample once, show its labels to `look_at(position, labels)`, keep what the budget allows.

        Raises:
            DatasetError: the first file in the way: broken data stop a run before it starts.
        """
        for position, sample in enumerate(self._samples):
            image, labels = read_pair(sample, class_map=self._class_map)
            look_at(position, labels)
            size_bytes = image.nbytes + labels.nbytes
            if size_bytes <= self._free_bytes:
                self._free_bytes -= size_bytes
                self._kept[position] = (image, labels)
            on_done(position + 1)
