"""Write imported images and masks in the layout that `open_dataset` reads, whole or not at all."""

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.classes import IGNORE_LABEL, ClassMap
from data.images import ImageError, read_header
from data.manifest import DatasetError
from data.masks import encode_labels
from data.sources import CLASSES_FILE

_SUFFIX_OF_FORMAT = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp"}
_TURNS_SIDES = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image of a foreign format with its labels.

    name: stem of the original file; split: None where the source does not say; content: the image file, byte
    for byte; labels: uint8 [height, width], class ids, 255 = ignore; origin: for messages.
    """

    name: str
    split: str | None
    content: bytes
    labels: NDArray[np.uint8]
    origin: str


def write_layout(
    images: Iterable[LabelledImage],
    *,
    class_map: ClassMap,
    destination: Path,
    on_done: Callable[[int], None] = lambda done: None,
) -> int:
    """Write images/, masks/ (palette PNG) and classes.txt below `destination`; returns the count of images.

    Images with a split go to images/{split}/; when no image has one, all go to images/ and
    `segnet data split` deals them. All is written beside `destination` first and moved there at the end.

    Raises:
        DatasetError: `destination` holds files already, two images would get the same name, labels do not fit
            their image, only some images have a split, or there is no image at all.
    """
    destination = Path(destination)
    refuse_full_folder(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        written: dict[str, str] = {}
        splits: set[str | None] = set()
        for image in images:
            splits.add(image.split)
            _refuse_mixed_splits(splits, image)
            if image.name in written:
                raise DatasetError(
                    f"{image.origin} and {written[image.name]} would both become {image.name!r}; "
                    "rename one of them"
                )
            written[image.name] = image.origin
            _write_one(image, class_map=class_map, root=partial)
            on_done(len(written))
        if not written:
            raise DatasetError(f"no image to write to {destination}; is this the right folder and format?")
        (partial / CLASSES_FILE).write_text(class_map.to_text(), encoding="utf-8")
        partial.chmod(0o755)
        if destination.exists():
            destination.rmdir()
        partial.replace(destination)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return len(written)


def refuse_full_folder(destination: Path) -> None:
    """An import never mixes with what is there.

    Raises:
        DatasetError: `destination` is a file or a folder with something in it.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise DatasetError(f"{destination} is not empty, and an import never overwrites; name a new folder")


def check_name(name: str, *, origin: str) -> str:
    """A stem that is a plain file name on every system.

    Raises:
        DatasetError: empty, or it would leave its folder.
    """
    if not name or name.startswith(".") or any(sign in name for sign in '/\\:*?"<>|\0'):
        raise DatasetError(f"{origin}: {name!r} is no file name; rename the image")
    return name


def size_of(content: bytes, *, origin: str) -> tuple[int, int]:
    """(height, width) in px of an image file, turned upright.

    Raises:
        DatasetError: no readable image.
    """
    try:
        facts = read_header(content)
    except ImageError as error:
        raise DatasetError(f"{origin}: no readable image: {error}; replace or remove it") from error
    return facts.upright_hw


def _write_one(image: LabelledImage, *, class_map: ClassMap, root: Path) -> None:
    check_name(image.name, origin=image.origin)
    try:
        facts = read_header(image.content)
    except ImageError as error:
        raise DatasetError(f"{image.origin}: no readable image: {error}; replace or remove it") from error
    size_hw = (facts.height, facts.width)
    if facts.exif_orientation in _TURNS_SIDES:
        size_hw = size_hw[::-1]
    if image.labels.shape != size_hw:
        hint = (
            " (it was labelled before its EXIF turn; save it upright and label that)"
            if image.labels.shape == size_hw[::-1] and facts.exif_orientation in _TURNS_SIDES
            else ""
        )
        raise DatasetError(
            f"{image.origin}: labels of {image.labels.shape[1]} x {image.labels.shape[0]} px for an image of "
            f"{size_hw[1]} x {size_hw[0]} px{hint}; export both anew from the same picture"
        )
    known = (image.labels < len(class_map)) | (image.labels == IGNORE_LABEL)
    if not known.all():
        unknown = np.unique(image.labels[~known]).tolist()
        raise DatasetError(
            f"{image.origin}: unknown ids {unknown}; the classes are 0 to {len(class_map) - 1}, 255 is ignore"
        )
    suffix = _SUFFIX_OF_FORMAT.get(facts.format)
    if suffix is None:
        raise DatasetError(f"{image.origin}: {facts.format} images are not read; save it as PNG or JPEG")
    below = image.split or ""
    for kind, ending, content in (
        ("images", suffix, image.content),
        ("masks", ".png", encode_labels(image.labels, class_map)),
    ):
        folder = root / kind / below
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{image.name}{ending}").write_bytes(content)


def _refuse_mixed_splits(splits: set[str | None], image: LabelledImage) -> None:
    if None in splits and len(splits) > 1:
        raise DatasetError(
            f"{image.origin}: some images of the source belong to a split and some to none; "
            "sort the source, or name one split for all with --split"
        )
