"""Import a foreign data set into the layout that `open_dataset` reads: one door for every format."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data.classes import ClassMap
from data.layout import LabelledImage, refuse_full_folder, write_layout
from data.manifest import DatasetError
from data.sources import CLASSES_FILE

FORMATS = ("folder", "coco", "labelme")
"""The formats read here; every other name is Datumaro's, by the extra `formats`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSettings:
    """What a source may leave open.

    classes: a classes.txt that fixes names, order, roles and colours; None: from the source.
    colors: a colour map for RGB masks (format folder).
    split: put every image into this split, whatever the source says.
    unlabeled_is_background: an image without a mask or annotation file shows no defect (folder, labelme).
        Off, such an image is an error: perhaps nobody looked at it yet.
    """

    classes: Path | None = None
    colors: Path | None = None
    split: str | None = None
    unlabeled_is_background: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import wrote. Without a split the folder is flat, and `segnet data split` comes next."""

    class_map: ClassMap
    images: int
    has_splits: bool


def import_dataset(
    source: Path,
    *,
    destination: Path,
    format_name: str,
    settings: ImportSettings | None = None,
    on_done: Callable[[int], None] = lambda done: None,
) -> Imported:
    """Read `source` as `format_name` and write images/, masks/ and classes.txt to `destination`.

    Images are copied byte for byte and keep their stems; masks become palette PNGs. Nothing is left behind
    when it fails.

    Raises:
        DatasetError: `destination` is not empty, or the source is not what was said; names the file.
    """
    settings = settings or ImportSettings()
    source = Path(source)
    if not source.exists():
        raise DatasetError(f"{source}: no such file or folder; give what the labelling tool exported")
    refuse_full_folder(destination)
    class_map = ClassMap.read(settings.classes) if settings.classes else None
    class_map, images = _open(source, format_name=format_name, class_map=class_map, settings=settings)
    if class_map.classes[0].role != "background":
        raise DatasetError(
            f"class 0 ({class_map.names[0]}) is a defect, but what nobody outlined becomes class 0; "
            "put a background class first"
        )
    splits: set[str | None] = set()

    def with_split() -> Iterator[LabelledImage]:
        for image in images:
            chosen = dataclasses.replace(image, split=settings.split) if settings.split else image
            splits.add(chosen.split)
            yield chosen

    count = write_layout(with_split(), class_map=class_map, destination=destination, on_done=on_done)
    return Imported(class_map=class_map, images=count, has_splits=None not in splits)


def _open(
    source: Path, *, format_name: str, class_map: ClassMap | None, settings: ImportSettings
) -> tuple[ClassMap, Iterator[LabelledImage]]:
    """The classes and the images of a source; only the library that the format needs is loaded."""
    if format_name == "coco":
        from data.coco import coco_class_names, iterate_coco, read_coco_files

        coco = read_coco_files(source)
        classes = class_map or ClassMap.from_names(coco_class_names(coco))
        return classes, iterate_coco(coco, source=source, class_map=classes)
    if format_name == "labelme":
        from data.labelme import iterate_labelme, labelme_class_names, read_labelme_files

        labelme = read_labelme_files(source)
        classes = class_map or ClassMap.from_names(labelme_class_names(labelme))
        return classes, iterate_labelme(
            labelme,
            source=source,
            class_map=classes,
            unlabeled_is_background=settings.unlabeled_is_background,
        )
    if format_name == "folder":
        return _open_folder(source, class_map=class_map, settings=settings)
    from data.foreign import ForeignDataset

    foreign = ForeignDataset(source, format_name=format_name)
    classes = class_map or ClassMap.from_names(foreign.class_names)
    return classes, foreign.iterate(class_map=classes)


def _open_folder(
    source: Path, *, class_map: ClassMap | None, settings: ImportSettings
) -> tuple[ClassMap, Iterator[LabelledImage]]:
    from data.folders import class_map_of_colors, iterate_folder, read_color_map

    colors = read_color_map(settings.colors) if settings.colors else None
    if class_map is None and (source / CLASSES_FILE).is_file():
        class_map = ClassMap.read(source / CLASSES_FILE)
    if class_map is None:
        if colors is None:
            raise DatasetError(
                f"{source}: no {CLASSES_FILE}; write `0 background`, `1 scratch`, … or give --classes"
            )
        class_map = class_map_of_colors(colors)
    return class_map, iterate_folder(
        source,
        class_map=class_map,
        colors=colors,
        unlabeled_is_background=settings.unlabeled_is_background,
    )
