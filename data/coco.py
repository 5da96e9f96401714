"""COCO instance files (JSON with polygons or run lengths) → labelled images."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.layout import LabelledImage
from data.manifest import DatasetError
from data.masks import from_rle, polygons_to_mask
from data.search import FileIndex, class_names, label_of, split_in_name


@dataclass(frozen=True, slots=True)
class CocoFile:
    """One checked annotation file: images, the outlines of each in drawing order, category names by id."""

    path: Path
    split: str | None
    images: Sequence[Mapping[str, Any]]
    annotations: Mapping[Any, Sequence[Mapping[str, Any]]]
    categories: Mapping[Any, str]


def read_coco_files(source: Path) -> tuple[CocoFile, ...]:
    """The annotation files in `source`: a JSON file, or a folder (`annotations/instances_train.json`).

    The split comes from the file's name, or its folder's (`train/_annotations.coco.json`), else it is None.

    Raises:
        DatasetError: no annotation file, no JSON, not COCO, or a reference to an unknown image or category.
    """
    paths = [source] if source.is_file() else sorted(source.rglob("*.json"))
    root = source.parent if source.is_file() else source
    files = [
        file for path in paths if (file := _read_file(path, root=root, required=source.is_file())) is not None
    ]
    if not files:
        raise DatasetError(f"{source}: no COCO file (JSON with images, annotations and categories) below it")
    return tuple(files)


def coco_class_names(files: Sequence[CocoFile]) -> tuple[str, ...]:
    """Background first, then the categories by their id, as `ClassMap.from_names` wants them."""
    return class_names(file.categories[number] for file in files for number in sorted(file.categories))


def iterate_coco(files: Sequence[CocoFile], *, source: Path, class_map: ClassMap) -> Iterator[LabelledImage]:
    """Each image with its labels; where outlines overlap, the later annotation lies on top.

    An image without annotations is all background: COCO lists the images that were looked at.

    Raises:
        DatasetError: an image is not below `source`, an annotation has only a box, or names an unknown class.
    """
    index = FileIndex(source if source.is_dir() else source.parent)
    for file in files:
        for image in file.images:
            origin = f"{file.path}: {image['file_name']}"
            path = index.find(str(image["file_name"]), prefer=file.split, origin=origin)
            size_hw = int(image["height"]), int(image["width"])
            labels = np.zeros(size_hw, np.uint8)
            for annotation in file.annotations.get(image["id"], ()):
                category = file.categories[annotation["category_id"]]
                inside = _inside(annotation, size_hw=size_hw, origin=origin)
                labels[inside] = label_of(category, class_map=class_map, origin=origin)
            yield LabelledImage(path.stem, file.split, path.read_bytes(), labels, origin)


def _read_file(path: Path, *, root: Path, required: bool) -> CocoFile | None:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: no JSON ({error}); export it again") from error
    wanted = ("images", "annotations", "categories")
    if not isinstance(content, dict) or any(not isinstance(content.get(key), list) for key in wanted):
        if required:
            raise DatasetError(f"{path}: expected a COCO file with the lists {', '.join(wanted)}")
        return None
    try:
        categories = {category["id"]: str(category["name"]) for category in content["categories"]}
        for image in content["images"]:
            if not (
                image["id"] is not None and image["file_name"] and image["width"] > 0 and image["height"] > 0
            ):
                raise DatasetError(f"{path}: image {image} needs id, file_name, width and height")
        known = {image["id"] for image in content["images"]}
        annotations: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            if annotation["image_id"] not in known or annotation["category_id"] not in categories:
                raise DatasetError(
                    f"{path}: annotation {annotation.get('id')} refers to image {annotation['image_id']} of "
                    f"category {annotation['category_id']}, not both in the file; export it again"
                )
            annotations[annotation["image_id"]].append(annotation)
    except (KeyError, TypeError) as error:
        raise DatasetError(
            f"{path}: no valid COCO file, {error!r} is missing or of the wrong kind"
        ) from error
    return CocoFile(path, split_in_name(path.relative_to(root)), content["images"], annotations, categories)


def _inside(annotation: Mapping[str, Any], *, size_hw: tuple[int, int], origin: str) -> NDArray[np.bool_]:
    """The annotation's pixels, bool [height, width]; several polygons of one annotation are united."""
    outline = annotation.get("segmentation")
    where = f"{origin}, annotation {annotation.get('id')}"
    if not outline:
        raise DatasetError(f"{where}: only a box, no outline; a box is no mask: label the outline")
    try:
        if isinstance(outline, list):
            rings = [np.asarray(flat, np.float64).reshape(-1, 2) for flat in outline]
            return polygons_to_mask(rings, size_hw=size_hw)
        inside = from_rle(outline)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{where}: neither polygons nor run lengths ({error}); export it again") from error
    if inside.shape != size_hw:
        raise DatasetError(
            f"{where}: run lengths for {inside.shape[1]} x {inside.shape[0]} px, "
            f"the image is {size_hw[1]} x {size_hw[0]} px; export it again"
        )
    return inside
