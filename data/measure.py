"""Read every image and mask of a data set once and note what the doctor, the splits and the table need."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.classes import IGNORE_LABEL, ClassMap
from data.duplicates import THUMBNAIL_PX, Fingerprint, take_fingerprint
from data.images import ImageError, ImageFacts, read_header, read_thumbnail
from data.label_counts import count_labels
from data.manifest import Problem, Sample, raise_for
from data.masks import MaskError, read_labels
from data.pairs import error, warning

_UNREADABLE = "replace the file, or remove it with its partner"


@dataclass(frozen=True, slots=True)
class Measured:
    """What stands in the two files of one sample; None for what could not be read.

    size_hw: of the image as training sees it, turned upright; label_pixels: int64 [256], pixels per id;
    image_digest: sha256 of the file.
    """

    sample: Sample
    size_hw: tuple[int, int] | None
    label_pixels: NDArray[np.int64] | None
    fingerprint: Fingerprint | None
    image_digest: bytes
    problems: tuple[Problem, ...]


def measure_samples(
    samples: Sequence[Sample],
    *,
    class_map: ClassMap,
    want_fingerprints: bool = True,
    on_done: Callable[[int], None] = lambda done: None,
) -> tuple[Measured, ...]:
    """Measure all samples on all cores, in their order; `on_done` hears how many are done, now and then.

    JPEGs are decoded at the size of a thumbnail, so a large picture costs a fraction of its full decoding;
    every byte is still read, and a file that ends too early is found.
    """
    measured: list[Measured] = []

    def one(sample: Sample) -> Measured:
        return measure_sample(sample, class_map=class_map, want_fingerprint=want_fingerprints)

    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        for result in pool.map(one, samples):
            measured.append(result)
            on_done(len(measured))
    return tuple(measured)


def classes_in_masks(samples: Sequence[Sample], *, class_map: ClassMap) -> dict[str, frozenset[int]]:
    """image name → defect classes that its mask shows.

    Raises:
        DatasetError: a mask cannot be read; names it.
    """

    def one(sample: Sample) -> frozenset[int]:
        problems: list[Problem] = []
        _, pixels = _measure_mask(sample, class_map, problems)
        raise_for(problems, root=sample.mask)
        return frozenset(
            class_id for class_id in class_map.defect_ids if pixels is not None and pixels[class_id]
        )

    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        return dict(zip((sample.name for sample in samples), pool.map(one, samples), strict=True))


def measure_sample(sample: Sample, *, class_map: ClassMap, want_fingerprint: bool) -> Measured:
    """Measure one sample; whatever is wrong with its files ends up in `problems`, never as an exception."""
    problems: list[Problem] = []
    facts, fingerprint, digest = _measure_image(sample, want_fingerprint, problems)
    mask_hw, label_pixels = _measure_mask(sample, class_map, problems)
    size_hw: tuple[int, int] | None = None
    if facts is not None:
        size_hw = facts.upright_hw
        _judge_header(sample, facts, problems)
        if mask_hw is not None:
            _compare_sizes(sample, facts, mask_hw, problems)
    return Measured(sample, size_hw, label_pixels, fingerprint, digest, tuple(problems))


def _measure_image(
    sample: Sample, want_fingerprint: bool, problems: list[Problem]
) -> tuple[ImageFacts | None, Fingerprint | None, bytes]:
    try:
        content = sample.image.read_bytes()
    except OSError as reason:
        problems.append(error(sample.image, f"cannot be read: {reason.strerror}", "check the file's rights"))
        return None, None, b""
    digest = hashlib.sha256(content).digest()
    try:
        facts = read_header(content)
        thumbnail = read_thumbnail(content, edge_px=THUMBNAIL_PX)
    except ImageError as reason:
        problems.append(error(sample.image, f"is no readable image: {reason}", _UNREADABLE))
        return None, None, digest
    return facts, take_fingerprint(thumbnail) if want_fingerprint else None, digest


def _measure_mask(
    sample: Sample, class_map: ClassMap, problems: list[Problem]
) -> tuple[tuple[int, int] | None, NDArray[np.int64] | None]:
    """The mask's (height, width) and its pixels per id."""
    try:
        labels = read_labels(sample.mask.read_bytes())
    except (OSError, MaskError, ImageError) as reason:
        problems.append(
            error(
                sample.mask,
                f"is no readable index mask: {reason}",
                "save it as 8-bit index PNG",
            )
        )
        return None, None
    pixels = count_labels(labels)
    ids = np.flatnonzero(pixels)
    unknown = [int(label) for label in ids if label >= len(class_map) and label != IGNORE_LABEL]
    if unknown:
        listed = ", ".join(map(str, unknown[:8])) + (", …" if len(unknown) > 8 else "")
        count = int(pixels[unknown].sum())
        known = f"0 to {len(class_map) - 1} and {IGNORE_LABEL}"
        problems.append(
            error(
                sample.mask,
                f"holds the unknown ids {listed} ({count} pixels)",
                f"classes.txt knows {known}: add the class, or correct the mask",
            )
        )
    elif list(ids) == [IGNORE_LABEL]:
        problems.append(
            warning(
                sample.mask,
                f"is all {IGNORE_LABEL}, which means ignore",
                "teaches nothing: draw it, or remove it",
            )
        )
    return (labels.shape[0], labels.shape[1]), pixels


def _judge_header(sample: Sample, facts: ImageFacts, problems: list[Problem]) -> None:
    if facts.bit_depth > 8:
        problems.append(
            warning(
                sample.image,
                f"has {facts.bit_depth} bits per channel, training sees 8",
                "convert it with a window you choose, the same for all images, or accept the full range",
            )
        )
    if facts.frames > 1:
        problems.append(
            warning(sample.image, f"holds {facts.frames} frames", "only the first is used: split it")
        )


def _compare_sizes(
    sample: Sample,
    facts: ImageFacts,
    mask_hw: tuple[int, int],
    problems: list[Problem],
) -> None:
    size_hw = facts.upright_hw
    turned = facts.exif_orientation not in (None, 1)
    if mask_hw == size_hw:
        if turned:
            problems.append(
                warning(
                    sample.image,
                    f"is turned by EXIF (orientation {facts.exif_orientation}) and its mask fits that",
                    "look at it on the contact sheet, then save it upright",
                )
            )
    elif turned and mask_hw == (facts.height, facts.width):
        problems.append(
            error(
                sample.mask,
                f"fits {sample.image.name} only before its EXIF turn (orientation {facts.exif_orientation})",
                "turn the mask likewise, or save the image without the EXIF orientation",
            )
        )
    else:
        problems.append(
            error(
                sample.mask,
                f"is {mask_hw[1]} x {mask_hw[0]} px, its image {size_hw[1]} x {size_hw[0]} px",
                "draw it on this very image; do not resize either",
            )
        )
