"""Whatever else Datumaro reads (CVAT, Pascal VOC, …) → labelled images. Needs the extra `formats`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.layout import LabelledImage, size_of
from data.manifest import DatasetError
from data.masks import polygons_to_mask
from data.search import class_names, label_of, split_in_name

# What Datumaro calls the subset of files that name none: its own word, and the file that CVAT exports.
_NO_SPLIT = ("", "default", "annotations")
# Datumaro passes over these without a word, and the defect would become background.
_LOST_IN_CVAT = re.compile(rb"<(ellipse|cuboid|skeleton)\b")


class ForeignDataset:
    """A data set opened by Datumaro, with its label names."""

    def __init__(self, source: Path, *, format_name: str) -> None:
        """Open `source` as `format_name`, a name of Datumaro's such as `voc`, `cvat` or `cityscapes`.

        Raises:
            DatasetError: Datumaro is not installed, does not know the format, or cannot read the folder.
        """
        try:
            from datumaro import Dataset
            from datumaro.components.annotation import AnnotationType
            from datumaro.components.environment import Environment
            from datumaro.components.errors import DatumaroError
        except ImportError as error:
            raise DatasetError(
                f"the format {format_name!r} is read by Datumaro, which is not installed: "
                'pip install "residual-segnet[formats]"'
            ) from error
        known = sorted(Environment().importers)
        if format_name not in known:
            raise DatasetError(f"no format {format_name!r}; Datumaro reads {', '.join(known)}")
        if format_name == "cvat":
            _refuse_lost_shapes(source)
        try:
            self._dataset = Dataset.import_from(str(source), format_name)
            self._items = list(self._dataset)
        except (DatumaroError, OSError, ValueError, KeyError) as error:
            reason = error.__cause__ or error
            raise DatasetError(
                f"{source}: cannot be read as {format_name}: {reason}; is it this format?"
            ) from error
        labels = self._dataset.categories().get(AnnotationType.label)
        self._labels = [label.name for label in labels.items] if labels is not None else []
        self._source = source
        self._format = format_name

    @property
    def class_names(self) -> tuple[str, ...]:
        """Background first, then the labels in the data set's order."""
        return class_names(self._labels)

    def iterate(self, *, class_map: ClassMap) -> Iterator[LabelledImage]:
        """Each image with its labels; where shapes overlap, the one with the higher z-order lies on top.

        Raises:
            DatasetError: an image is not there, or has boxes, points or lines and nothing with an area.
        """
        for item in self._items:
            origin = f"{self._source}: {item.id}"
            path = self._path_of(item, origin)
            content = path.read_bytes()
            size_hw = size_of(content, origin=origin)
            subset = item.subset or ""
            split = None if subset in _NO_SPLIT else split_in_name(Path(subset)) or subset
            labels = np.zeros(size_hw, np.uint8)
            shapes = [
                shape for shape in item.annotations if shape.type.name in ("mask", "polygon", "ellipse")
            ]
            if not shapes and any(
                shape.type.name in ("bbox", "points", "polyline") for shape in item.annotations
            ):
                raise DatasetError(
                    f"{origin}: boxes or lines only, nothing with an area; label outlines or masks"
                )
            for shape in sorted(shapes, key=lambda shape: int(shape.z_order)):
                inside = _inside(shape, size_hw=size_hw, origin=origin)
                labels[inside] = self._class_id(shape.label, class_map, origin)
            yield LabelledImage(path.stem, split, content, labels, origin)

    def _path_of(self, item: Any, origin: str) -> Path:
        path = getattr(item.media, "path", None)
        if path and Path(path).is_file() and Path(path).resolve().is_relative_to(self._source.resolve()):
            return Path(path)
        suffix = Path(path).suffix if path else ""
        raise DatasetError(
            f"{origin}: no image {item.id}{suffix} in {self._source}; export it with its images"
        )

    def _class_id(self, label: int | None, class_map: ClassMap, origin: str) -> int:
        if label is None or not 0 <= label < len(self._labels):
            raise DatasetError(f"{origin}: a shape without a label; give it one, or remove it")
        return label_of(self._labels[label], class_map=class_map, origin=origin)


def _refuse_lost_shapes(source: Path) -> None:
    for path in [source] if source.is_file() else sorted(source.rglob("*.xml")):
        lost = _LOST_IN_CVAT.search(path.read_bytes())
        if lost is not None:
            raise DatasetError(
                f"{path}: holds an {lost[1].decode()}, which is not read; draw a polygon or mask"
            )


def _inside(shape: Any, *, size_hw: tuple[int, int], origin: str) -> NDArray[np.bool_]:
    """The shape's pixels, bool [height, width]."""
    if shape.type.name == "mask":
        drawn = np.asarray(shape.image).astype(bool)
        if drawn.shape != size_hw:
            raise DatasetError(
                f"{origin}: a mask of {drawn.shape[1]} x {drawn.shape[0]} px on an image of "
                f"{size_hw[1]} x {size_hw[0]} px; export it again"
            )
        return drawn
    flat = shape.as_polygon() if shape.type.name == "ellipse" else shape.points
    try:
        return polygons_to_mask([np.asarray(flat, np.float64).reshape(-1, 2)], size_hw=size_hw)
    except ValueError as error:
        raise DatasetError(f"{origin}: a broken outline ({error}); draw it again") from error
