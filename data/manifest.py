"""The list of samples a run is made of: which image, which mask, which split, which group."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.classes import ClassMap

Severity = Literal["error", "warning"]

SPLITS = ("train", "val", "test")
"""The three splits a run knows; more may stand beside them (`segnet evaluate --split night_shift`)."""

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MASK_SUFFIX = ".png"

_NAMED_AT_MOST = 5


class DatasetError(ValueError):
    """The data cannot be used as they stand; the message names the file and says what to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing found wrong: what is wrong with which file, and what to do about it."""

    severity: Severity
    file: Path
    what: str
    todo: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}; {self.todo}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image.

    `name` is the file's stem, which pairs image and mask and travels through every report. `group` says
    which images show the same part (None: unknown); no group may stand in two splits.
    """

    name: str
    image: Path
    mask: Path
    split: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """All samples of a data set, ordered by split and name, and what their label ids mean."""

    root: Path
    class_map: ClassMap
    samples: tuple[Sample, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that hold a sample: train, val, test first, others after them by name."""
        return ordered_splits(sample.split for sample in self.samples)

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split, by name.

        Raises:
            DatasetError: the split is empty or unknown.
        """
        chosen = tuple(sample for sample in self.samples if sample.split == name)
        if not chosen:
            raise DatasetError(
                f"{self.root}: no image in the split {name!r}; it holds {', '.join(self.splits) or 'none'}. "
                f"Add images to it, or split anew with `segnet data split {self.root}`"
            )
        return chosen

    def digest(self) -> str:
        """sha256 (hex) over classes, names, splits and the content of every file.

        It does not depend on where the folder stands or on file dates. It reads every byte: about a second
        for 1000 images of 0.5 MB.

        Raises:
            OSError: a file has gone or cannot be read.
        """
        total = hashlib.sha256(self.class_map.to_text().encode())
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for sample, contents in zip(self.samples, pool.map(_contents, self.samples), strict=True):
                total.update(f"\0{sample.split}\0{sample.name}\0".encode())
                total.update(contents)
        return total.hexdigest()


def ordered_splits(names: Iterable[str]) -> tuple[str, ...]:
    """Each split once, in life order: train, val, test, then the others by name."""
    present = set(names)
    known = tuple(split for split in SPLITS if split in present)
    return known + tuple(sorted(present - set(SPLITS)))


def raise_for(problems: Iterable[Problem], *, root: Path) -> None:
    """Stop with one message when any problem is an error; warnings pass.

    Raises:
        DatasetError: names the first files in trouble, counts the rest, and points to the doctor.
    """
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return
    if len(errors) == 1:
        raise DatasetError(str(errors[0]))
    lines = [f"  {problem}" for problem in errors[:_NAMED_AT_MOST]]
    rest = len(errors) - len(lines)
    if rest:
        lines.append(f"  … and {rest} more: `segnet data check {root}` lists them all")
    raise DatasetError("\n".join([f"{root}: {len(errors)} errors in the data", *lines]))


def _contents(sample: Sample) -> bytes:
    """The two files of a sample as 64 bytes."""
    image, mask = (hashlib.sha256(path.read_bytes()).digest() for path in (sample.image, sample.mask))
    return image + mask
