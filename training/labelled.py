"""A split, image by image, as the model file and its judge see it: pixels, truth, and how far the work is."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.images import read_image
from data.manifest import Sample
from data.masks import read_labels
from data.progress import meter


class PairError(ValueError):
    """An image and its mask, or a data set and a model, that do not belong together."""


def watched(samples: Sequence[Sample], *, what: str) -> Iterator[Sample]:
    """The samples again, with a bar in a terminal and a line now and then in a log."""
    with meter(what, total=len(samples)) as progress:
        for sample in samples:
            yield sample
            progress.advance()


def read_pair(sample: Sample, *, class_map: ClassMap) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image uint8 RGB [height, width, 3] and truth uint8 [height, width].

    Raises:
        PairError: their sizes differ.
        ImageError, MaskError, OSError: a file cannot be read, or the mask holds ids of no class.
    """
    image = read_image(sample.image)
    truth = read_labels(sample.mask, class_count=len(class_map))
    if truth.shape != image.shape[:2]:
        raise PairError(
            f"{sample.mask}: the mask is {truth.shape[1]}x{truth.shape[0]} px, its image "
            f"{image.shape[1]}x{image.shape[0]} px; run `segnet data check`"
        )
    return image, truth


def check_classes(model_classes: ClassMap, *, data_classes: ClassMap) -> None:
    """PairError when a model and a data set do not mean the same by their class numbers."""
    if model_classes.names != data_classes.names:
        raise PairError(
            f"the model's classes are {', '.join(model_classes.names)}, the data set's "
            f"{', '.join(data_classes.names)}; names and order must agree for a score to mean anything"
        )
