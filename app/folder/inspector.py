"""From one image file to its row and its pictures, in three steps that different threads may take.

`read` waits for disks and decodes, `predict` computes, `finish` measures, judges and writes. None of them raises for an
image that is at fault: it becomes a row that says why. What raises is our own output folder, or the model.
"""

import hashlib
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from app.examine import examine
from app.folder.inspection import Inspection
from app.folder.sources import ImageFile, Source
from data.files import write_atomically
from data.images import ImageError, encode_jpeg, read_image
from data.masks import encode_labels, overlay
from model.predictor import Prediction, Predictor
from model.recipe import Recipe, RecipeError

MASKS: Final = "masks"
OVERLAYS: Final = "overlays"
THUMBNAILS: Final = "thumbnails"
_THUMBNAIL_PX: Final = 160
_LONGEST_NAME: Final = 200
"""Bytes of a file name that leave room for its ending and for the mark of a file that is being written."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A file that was read: uint8 RGB [height, width, 3], or the error that stands in its way."""

    file: ImageFile
    image: NDArray[np.uint8] | None
    sha256: str = ""
    error: str = ""

    @property
    def pixels(self) -> int:
        """Height x width; 0 without an image."""
        return 0 if self.image is None else self.image.shape[0] * self.image.shape[1]


@dataclass(frozen=True)
class Inspector:
    """What turns image files into rows: one predictor, one recipe, one output folder.

    `write_overlays`: also the pictures with tinted defects.
    """

    source: Source
    predictor: Predictor
    recipe: Recipe
    out: Path
    write_overlays: bool = True

    def inspect(self, file: ImageFile, *, stem: str) -> Inspection:
        """All three steps, one after the other."""
        picture = self.read(file)
        return self.finish(picture, self.predict(picture), stem=stem)

    def read(self, file: ImageFile) -> Picture:
        """Read and decode; errors of the file are part of the answer."""
        try:
            content, seen = self.source.read(file)
        except OSError as error:
            return Picture(file, None, error=_why(error))
        sha256 = hashlib.sha256(content).hexdigest()
        try:
            return Picture(seen, read_image(content), sha256=sha256)
        except ImageError as error:
            return Picture(seen, None, sha256=sha256, error=str(error))

    def predict(self, picture: Picture) -> Prediction | None:
        """Labels and confidence; None for a file without an image. One thread at a time."""
        return None if picture.image is None else self.predictor.predict(picture.image)

    def finish(self, picture: Picture, prediction: Prediction | None, *, stem: str) -> Inspection:
        """Measure, judge and write what belongs to one image: its row, once all its files are there.

        Raises:
            OSError: the output folder cannot be written.
        """
        row = Inspection(
            key=picture.file.key,
            verdict="ERROR",
            reasons=(picture.error,),
            sha256=picture.sha256,
            size_bytes=picture.file.size_bytes,
            mtime_ns=picture.file.mtime_ns,
        )
        if picture.image is None or prediction is None:
            return row
        class_map = self.predictor.contract.classes
        height_px, width_px = picture.image.shape[:2]
        row = replace(row, height_px=height_px, width_px=width_px)
        mask = self._write(MASKS, f"{stem}.png", encode_labels(prediction.labels, class_map))
        try:
            ruling = examine(prediction, recipe=self.recipe, class_map=class_map)
        except RecipeError as error:
            return replace(row, reasons=(str(error),), mask=mask)
        row = replace(row, verdict=ruling.verdict, reasons=ruling.reasons, defects=ruling.counted, mask=mask)
        wants_thumbnail = ruling.verdict != "OK"
        if not (self.write_overlays or wants_thumbnail):
            return row
        tinted = overlay(picture.image, prediction.labels, class_map)
        if self.write_overlays:
            row = replace(row, overlay=self._write(OVERLAYS, f"{stem}.jpg", encode_jpeg(tinted)))
        if wants_thumbnail:
            row = replace(
                row, thumbnail=self._write(THUMBNAILS, f"{stem}.jpg", encode_jpeg(_small(tinted), quality=80))
            )
        return row

    def _write(self, folder: str, name: str, content: bytes) -> str:
        path = self.out / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        return f"{folder}/{name}"


class Stems:
    """Names of masks without ending: the image's own without its extension, or with it where that is taken.

    `parts/a.jpg` → `parts/a`, and `parts/a.png` beside it → `parts/a.png`. Compared without case, as some file
    systems do.
    """

    def __init__(self, taken: Mapping[str, str]) -> None:
        """`taken`: key → the name that it already has."""
        self._by_key = dict(taken)
        self._taken = {stem.casefold() for stem in taken.values()}

    def give(self, keys: Iterable[str]) -> None:
        """Name these keys, in this order; those that have a name keep it."""
        for key in keys:
            if key not in self._by_key:
                stem = next(stem for stem in _stems_of(key) if stem.casefold() not in self._taken)
                self._by_key[key] = stem
                self._taken.add(stem.casefold())

    def __getitem__(self, key: str) -> str:
        return self._by_key[key]


def _stems_of(key: str) -> Iterable[str]:
    """Names that a mask may have, the plainest first."""
    folder, name = posixpath.split(key)
    plain = posixpath.splitext(name)[0]
    if len(name.encode()) <= _LONGEST_NAME:
        yield posixpath.join(folder, plain)
        yield key
    digest = hashlib.sha256(key.encode()).hexdigest()
    cut = plain.encode()[: _LONGEST_NAME - 20].decode("utf-8", "ignore")
    yield posixpath.join(folder, f"{cut}-{digest[:16]}")
    yield posixpath.join(folder, digest)


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """At most 160 px along the longer side."""
    height, width = image.shape[:2]
    scale = min(1.0, _THUMBNAIL_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is not there (any more); copy it again, or take it off the list"
    return error.strerror or str(error)
