"""LabelMe files (one JSON beside each image) → labelled images."""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.layout import LabelledImage, size_of
from data.manifest import DatasetError
from data.masks import polygons_to_mask, read_labels
from data.search import FileIndex, class_names, label_of, split_in_name


@dataclass(frozen=True, slots=True)
class LabelMeFile:
    """One annotation file: shapes in drawing order, and the size (height, width) in px they belong to."""

    path: Path
    image_name: str
    image_data: str | None
    size_hw: tuple[int, int] | None
    shapes: Sequence[Mapping[str, Any]]


def read_labelme_files(source: Path) -> tuple[LabelMeFile, ...]:
    """All LabelMe files below `source`; other JSON files are passed over.

    Raises:
        DatasetError: none there, or one that is no JSON.
    """
    paths = [source] if source.is_file() else sorted(source.rglob("*.json"))
    files = [file for path in paths if (file := _read_file(path)) is not None]
    if not files:
        raise DatasetError(f"{source}: no LabelMe file (JSON with shapes and imagePath) below it")
    return tuple(files)


def labelme_class_names(files: Sequence[LabelMeFile]) -> tuple[str, ...]:
    """Background first, then every label by name; labels that mean background or ignore have no id."""
    return class_names(sorted({str(shape["label"]) for file in files for shape in file.shapes}))


def iterate_labelme(
    files: Sequence[LabelMeFile], *, source: Path, class_map: ClassMap, unlabeled_is_background: bool
) -> Iterator[LabelledImage]:
    """Each image with its labels; a later shape lies on top of an earlier one.

    An image without a file is an error, since nobody may have looked at it; with `unlabeled_is_background` it
    counts as a part without a defect.

    Raises:
        DatasetError: an image or a class is missing, or a shape without an area (a line, a point).
    """
    root = source if source.is_dir() else source.parent
    index = FileIndex(root)
    used: set[Path] = set()
    for file in files:
        path, content = _image_of(file, index)
        used.add(path)
        split = split_in_name(file.path.relative_to(root).parent)
        size_hw = file.size_hw or size_of(content, origin=str(path))
        labels = np.zeros(size_hw, np.uint8)
        for number, shape in enumerate(file.shapes):
            where = f"{file.path}, shape {number} ({shape['label']})"
            try:
                inside = _inside(shape, size_hw=size_hw, where=where)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                if isinstance(error, DatasetError):
                    raise
                raise DatasetError(
                    f"{where}: no valid shape ({error!r}); save it again in LabelMe"
                ) from error
            labels[inside] = label_of(str(shape["label"]), class_map=class_map, origin=where)
        yield LabelledImage(path.stem, split, content, labels, str(file.path))
    for path in index.paths if source.is_dir() else ():
        if path in used:
            continue
        if not unlabeled_is_background:
            raise DatasetError(
                f"{path}: no LabelMe file; label it, or say --unlabeled-is-background "
                "if images without one show no defect"
            )
        content = path.read_bytes()
        empty = np.zeros(size_of(content, origin=str(path)), np.uint8)
        yield LabelledImage(
            path.stem, split_in_name(path.relative_to(root).parent), content, empty, str(path)
        )


def _read_file(path: Path) -> LabelMeFile | None:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: no JSON ({error}); save it again in LabelMe") from error
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("shapes"), list)
        or "imagePath" not in content
    ):
        return None
    for number, shape in enumerate(content["shapes"]):
        if not isinstance(shape, dict) or "label" not in shape or "points" not in shape:
            raise DatasetError(f"{path}: shape {number} has no label or no points; save it again in LabelMe")
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size_hw: tuple[int, int] | None = None
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        size_hw = height, width
    return LabelMeFile(
        path=path,
        image_name=str(content["imagePath"] or path.stem),
        image_data=content.get("imageData"),
        size_hw=size_hw,
        shapes=content["shapes"],
    )


def _image_of(file: LabelMeFile, index: FileIndex) -> tuple[Path, bytes]:
    """The image beside the JSON, else the one of that name below the source, else the one inside the JSON."""
    name = PurePosixPath(PureWindowsPath(file.image_name).as_posix()).name
    beside = index.beside(file.path, name=name)
    if beside is not None:
        return beside, beside.read_bytes()
    try:
        path = index.find(file.image_name, origin=str(file.path))
    except DatasetError:
        if not file.image_data:
            raise
        try:
            return file.path.with_name(name), base64.b64decode(file.image_data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise DatasetError(f"{file.path}: imageData is no base64 ({error}); save it again") from error
    return path, path.read_bytes()


def _inside(shape: Mapping[str, Any], *, size_hw: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """The shape's pixels, bool [height, width]."""
    kind = shape.get("shape_type") or "polygon"
    points = np.asarray(shape["points"], np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points of shape {points.shape}, expected [points, 2]")
    if kind == "mask":
        return _pasted_mask(shape, points, size_hw=size_hw)
    if kind == "rectangle":
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    elif kind == "circle":
        centre, rim = points
        radius_px = float(np.hypot(*(rim - centre)))
        rows, columns = np.ogrid[: size_hw[0], : size_hw[1]]
        disc: NDArray[np.bool_] = np.hypot(columns + 0.5 - centre[0], rows + 0.5 - centre[1]) <= radius_px
        return disc
    elif kind != "polygon":
        raise DatasetError(f"{where}: a {kind} has no area; draw a polygon around the defect")
    if len(points) < 3:
        raise DatasetError(f"{where}: {len(points)} points have no area; draw at least three")
    return polygons_to_mask([points], size_hw=size_hw)


def _pasted_mask(
    shape: Mapping[str, Any], points: NDArray[np.float64], *, size_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    """A LabelMe `mask` shape: a small PNG and the corner where it belongs; what sticks out is cut off."""
    drawn = read_labels(base64.b64decode(shape["mask"], validate=True)) > 0
    left, top = (round(float(value)) for value in points[0])
    inside = np.zeros(size_hw, np.bool_)
    if left < 0 or top < 0:
        drawn, left, top = drawn[max(0, -top) :, max(0, -left) :], max(0, left), max(0, top)
    window = inside[top : top + drawn.shape[0], left : left + drawn.shape[1]]
    window |= drawn[: window.shape[0], : window.shape[1]]
    return inside
