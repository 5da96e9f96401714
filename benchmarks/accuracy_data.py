"""What a study is made on: its data set as it lies, or brought to one size, and which images show one part."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from accuracy_study import Study, StudyError
from numpy.typing import NDArray

from data.classes import ClassMap, ClassSpec
from data.images import encode_png, read_image
from data.layout import LabelledImage, write_layout
from data.manifest import Manifest
from data.pixels import read_pair
from data.progress import meter
from data.sources import open_dataset
from data.tables import SPLIT_FILE, read_rows, stem_of

Image = NDArray[np.uint8]


def prepare(study: Study, *, datasets: Path, out: Path) -> Manifest:
    """The study's data set, opened; images of a given size are made once, in `out`/data.

    Raises:
        DatasetError: there is none, or it is damaged. StudyError: its table lacks the column of parts.
    """
    source = _with_parts(open_dataset(datasets / study.data), study=study)
    if study.size_hw is None and not study.scenes:
        return source
    destination = out / "data"
    if not destination.exists():
        count = sum(len(source.split(split)) for split in source.splits)
        with meter(f"{study.data} for this study", total=count) as bar:
            write_layout(
                _resized(source, study=study),
                class_map=_class_map(source, study=study),
                destination=destination,
                on_done=lambda done: bar.advance(),
            )
    return open_dataset(destination)


def _with_parts(source: Manifest, *, study: Study) -> Manifest:
    """The same, its test images grouped by the part that they show."""
    if study.part_column is None:
        return source
    table = source.root / SPLIT_FILE
    rows = {stem_of(row["name"]): row.get(study.part_column) for row in read_rows(table)}
    missing = sum(not rows.get(sample.name) for sample in source.split("test"))
    if missing:
        raise StudyError(f"{table}: {missing} test images have nothing in the column {study.part_column!r}")
    samples = tuple(
        replace(sample, group=rows[sample.name]) if sample.split == "test" else sample
        for sample in source.samples
    )
    return replace(source, samples=samples)


def _class_map(source: Manifest, *, study: Study) -> ClassMap:
    if not study.scenes:
        return source.class_map
    return ClassMap(
        classes=tuple(
            ClassSpec(name=spec.name, color=spec.color, role="background")
            for spec in source.class_map.classes
        )
    )


def _resized(source: Manifest, *, study: Study) -> Iterator[LabelledImage]:
    """Images by the mean of the pixels that become one, labels by the nearest."""
    for split in source.splits:
        for sample in source.split(split):
            image, labels = read_pair(sample, class_map=source.class_map)
            if study.size_hw is not None:
                size_wh = study.size_hw[::-1]
                image = np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
                labels = np.asarray(
                    cv2.resize(labels, size_wh, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8
                )
            yield LabelledImage(
                name=sample.name,
                split=split,
                content=encode_png(image),
                labels=labels,
                origin=str(sample.image),
                group=sample.group,
            )


def typical_image(manifest: Manifest) -> Image:
    """The test image of median area, uint8 RGB [height, width, 3]."""
    images = [read_image(sample.image) for sample in manifest.split("test")]
    return sorted(images, key=lambda image: image.size)[len(images) // 2]
