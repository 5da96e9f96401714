"""Folders of images and masks that `open_dataset` does not take as they are → labelled images.

Coloured masks become index masks by a colour map; missing masks become empty ones where that is meant.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap, ClassSpec
from data.images import ImageError
from data.layout import LabelledImage, size_of
from data.manifest import MASK_SUFFIX, DatasetError, raise_for
from data.masks import MaskError, read_color_labels, read_labels
from data.pairs import files_in, is_image
from data.search import label_of, means_ignore, split_in_name
from data.tables import SPLIT_FILE, read_split_table

Color = tuple[int, int, int]

_LOSSLESS = (MASK_SUFFIX, ".bmp", ".tif", ".tiff")
_COLOR_LINES = (
    re.compile(r"(?P<name>[^:#]+):(?P<red>\d+),(?P<green>\d+),(?P<blue>\d+)(:.*)?"),
    re.compile(r"(\d+\s+)?(?P<name>\S+)\s+(background\s+|defect\s+)?#(?P<hex>[0-9a-fA-F]{6})"),
    re.compile(r"(?P<red>\d+)[\s,]+(?P<green>\d+)[\s,]+(?P<blue>\d+)[\s,]+(?P<name>\D\S*)"),
    re.compile(r"(\d+\s+)?(?P<name>\D\S*?)[\s,]+(?P<red>\d+)[\s,]+(?P<green>\d+)[\s,]+(?P<blue>\d+)"),
)


@dataclass(frozen=True, slots=True)
class _Pair:
    name: str
    split: str | None
    group: str | None
    image: Path
    masks: Path

    def mask(self) -> Path | None:
        """The image's mask, in the first lossless format there is."""
        candidates = (self.masks / (self.name + suffix) for suffix in _LOSSLESS)
        return next((path for path in candidates if path.is_file()), None)


def read_color_map(path: Path) -> dict[str, Color]:
    """name → (red, green, blue) from a text file, one class a line; a line that starts with # is a remark.

    Read are `scratch 255 0 0`, `255 0 0 scratch`, CVAT's `scratch:255,0,0::` and classes.txt's
    `1 scratch #ff0000`. The names ignore and void mean the label 255.

    Raises:
        DatasetError: a line that is none of these, or a name or colour given twice.
        OSError: the file cannot be read.
    """
    colors: dict[str, Color] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, color = _parse_color_line(line.strip(), where=f"{path}, line {number}")
        if name in colors or color in colors.values():
            raise DatasetError(
                f"{path}, line {number}: {name} or its colour stands above already; correct it"
            )
        colors[name] = color
    if not colors:
        raise DatasetError(f"{path}: no colour in it; write one class a line, such as `scratch 255 0 0`")
    return colors


def class_map_of_colors(colors: Mapping[str, Color]) -> ClassMap:
    """Classes in the order of the colour map, with its colours; `background` comes first wherever it stands.

    Raises:
        DatasetError: no colour for background.
    """
    names = [name for name in colors if not means_ignore(name)]
    background = next((name for name in names if name.lower() == "background"), None)
    if background is None:
        raise DatasetError(f"no colour for background among {', '.join(colors)}; add it: `background 0 0 0`")
    names.sort(key=lambda name: name != background)
    return ClassMap(
        classes=tuple(
            ClassSpec(name=name, color=colors[name], role="background" if name == background else "defect")
            for name in names
        )
    )


def iterate_folder(
    source: Path, *, class_map: ClassMap, colors: Mapping[str, Color] | None, unlabeled_is_background: bool
) -> Iterator[LabelledImage]:
    """Each image of `source`: images/ and masks/, with a folder per split, or flat with or without split.csv.

    Masks are index or palette PNGs; with `colors` they are RGB pictures of a lossless format.

    Raises:
        DatasetError: an image without a mask (unless `unlabeled_is_background`), a mask that cannot be read
            or holds an id or a colour that is not known.
    """
    ids = None if colors is None else _ids_of_colors(colors, class_map)
    for pair in _pairs(source):
        content = pair.image.read_bytes()
        mask = pair.mask()
        if mask is not None:
            labels = _read_mask(mask, class_map=class_map, ids=ids)
        elif unlabeled_is_background:
            labels = np.zeros(size_of(content, origin=str(pair.image)), np.uint8)
        else:
            raise DatasetError(
                f"{pair.image}: no mask {pair.masks / (pair.name + MASK_SUFFIX)}; draw one, or say "
                "--unlabeled-is-background if images without a mask show no defect"
            )
        yield LabelledImage(pair.name, pair.split, content, labels, origin=str(pair.image), group=pair.group)


def _read_mask(mask: Path, *, class_map: ClassMap, ids: Mapping[Color, int] | None) -> NDArray[np.uint8]:
    try:
        content = mask.read_bytes()
        if ids is not None:
            return read_color_labels(content, ids)
        return read_labels(content, class_count=len(class_map))
    except (MaskError, ImageError) as error:
        raise DatasetError(f"{mask}: {error}") from error


def _ids_of_colors(colors: Mapping[str, Color], class_map: ClassMap) -> dict[Color, int]:
    return {
        color: label_of(name, class_map=class_map, origin="the colour map") for name, color in colors.items()
    }


def _pairs(source: Path) -> Iterator[_Pair]:
    images, masks = source / "images", source / "masks"
    if not images.is_dir():
        raise DatasetError(f"{images}: no such folder; expected images/ and masks/ in {source}")
    folders = sorted(path for path in images.iterdir() if path.is_dir() and not path.name.startswith("."))
    flat = [path for path in files_in(images) if is_image(path)]
    table, problems = read_split_table(source / SPLIT_FILE, needs_split=bool(flat))
    raise_for(problems, root=source)
    rows = table or {}
    for folder in folders:
        split = split_in_name(Path(folder.name)) or folder.name
        for path in filter(is_image, files_in(folder)):
            row = rows.get(path.stem)
            yield _Pair(path.stem, split, row.group if row else None, path, masks / folder.name)
    for path in flat:
        row = rows.get(path.stem)
        yield _Pair(path.stem, row.split if row else None, row.group if row else None, path, masks)


def _parse_color_line(line: str, *, where: str) -> tuple[str, Color]:
    for pattern in _COLOR_LINES:
        match = pattern.fullmatch(line)
        if match is None:
            continue
        found = match.groupdict()
        if found.get("hex"):
            red, green, blue = bytes.fromhex(found["hex"])
        else:
            red, green, blue = (int(found[channel]) for channel in ("red", "green", "blue"))
        if max(red, green, blue) <= 255:
            return found["name"].strip(), (red, green, blue)
    raise DatasetError(f"{where}: {line!r} is no colour; write `scratch 255 0 0` or `1 scratch #ff0000`")
