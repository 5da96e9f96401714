"""Write imported images and masks in the layout that `open_dataset` reads, whole or not at all."""

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.images import ImageError, read_header
from data.manifest import DatasetError
from data.masks import MaskError, encode_labels
from data.sources import CLASSES_FILE
from data.tables import SPLIT_FILE, write_split_table

_SUFFIX_OF_FORMAT = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp"}


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image of a foreign format with its labels.

    name: stem of the original file; split: None where the source does not say; content: the image file, byte
    for byte; labels: uint8 [height, width], class ids, 255 = ignore; origin: for messages; group: which part
    it shows, None where the source does not say.
    """

    name: str
    split: str | None
    content: bytes
    labels: NDArray[np.uint8]
    origin: str
    group: str | None = None


def write_layout(
    images: Iterable[LabelledImage],
    *,
    class_map: ClassMap,
    destination: Path,
    on_done: Callable[[int], None] = lambda done: None,
) -> int:
    """Write images/, masks/ (palette PNG) and classes.txt below `destination`; returns the count of images.

    Images with a split go to images/{split}/, and split.csv names their groups if there are any; when no
    image has a split, all go to images/ and `segnet data split` deals them. All is written beside
    `destination` first and moved there at the end.

    Raises:
        DatasetError: `destination` holds files already, two images of a split would get the same name, labels
            do not fit their image, only some images have a split, or there is no image at all.
    """
    destination = Path(destination)
    refuse_full_folder(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        count = _write_all(images, class_map=class_map, root=partial, on_done=on_done)
        if not count:
            raise DatasetError(f"no image to write to {destination}; is this the right folder and format?")
        partial.chmod(0o755)
        if destination.exists():
            destination.rmdir()
        partial.replace(destination)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return count


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
        raise DatasetError(f"{origin}: {name!r} is no file name; rename it")
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


def _write_all(
    images: Iterable[LabelledImage], *, class_map: ClassMap, root: Path, on_done: Callable[[int], None]
) -> int:
    origins: dict[tuple[str | None, str], str] = {}
    without_split: set[bool] = set()
    splits: dict[str, str] = {}
    groups: dict[str, str] = {}
    for image in images:
        key = image.split, image.name
        if key in origins:
            raise DatasetError(
                f"{image.origin} and {origins[key]} would both become {image.name!r}; rename one of them"
            )
        origins[key] = image.origin
        without_split.add(image.split is None)
        if len(without_split) > 1:
            raise DatasetError(
                f"{image.origin}: some images of the source belong to a split and some to none; "
                "sort the source, or name one split for all with --split"
            )
        _write_one(image, class_map=class_map, root=root)
        if image.split is not None and image.group is not None:
            splits[image.name], groups[image.name] = image.split, image.group
        on_done(len(origins))
    (root / CLASSES_FILE).write_text(class_map.to_text(), encoding="utf-8")
    if groups:
        write_split_table(root / SPLIT_FILE, splits=splits, groups=groups)
    return len(origins)


def _write_one(image: LabelledImage, *, class_map: ClassMap, root: Path) -> None:
    check_name(image.name, origin=image.origin)
    try:
        facts = read_header(image.content)
    except ImageError as error:
        raise DatasetError(f"{image.origin}: no readable image: {error}; replace or remove it") from error
    size_hw = facts.upright_hw
    if image.labels.shape != size_hw:
        hint = (
            " (it was labelled before its EXIF turn; save it upright and label that)"
            if image.labels.shape == (facts.height, facts.width)
            else ""
        )
        raise DatasetError(
            f"{image.origin}: labels of {image.labels.shape[1]} x {image.labels.shape[0]} px for an image of "
            f"{size_hw[1]} x {size_hw[0]} px{hint}; export both anew from the same picture"
        )
    try:
        mask = encode_labels(image.labels, class_map)
    except MaskError as error:
        raise DatasetError(f"{image.origin}: {error}") from error
    suffix = _SUFFIX_OF_FORMAT.get(facts.format)
    if suffix is None:
        raise DatasetError(f"{image.origin}: {facts.format} images are not read; save it as PNG or JPEG")
    below = check_name(image.split, origin=image.origin) if image.split is not None else ""
    for kind, ending, content in (
        ("images", suffix, image.content),
        ("masks", ".png", mask),
    ):
        folder = root / kind / below
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{image.name}{ending}").write_bytes(content)
