"""What a study is made on: its data set as it lies, brought to one size or dealt in folds, and the parts it shows."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from accuracy_study import Study
from numpy.typing import NDArray

from data.classes import ClassMap, ClassSpec
from data.images import encode_png, read_image
from data.layout import LabelledImage, write_layout
from data.manifest import Manifest, Sample
from data.measure import classes_in_masks
from data.pixels import read_pair
from data.progress import meter
from data.sources import open_dataset
from data.splits import assign_splits, groups_from_column
from data.tables import SPLIT_FILE

Image = NDArray[np.uint8]


def prepare(study: Study, *, datasets: Path, out: Path) -> Manifest:
    """The study's data set, opened; images of a given size are made once, in `out`/data.

    Raises:
        DatasetError: there is none, it is damaged, or its table lacks the column of parts.
    """
    source = open_dataset(datasets / study.data)
    if study.part_column is not None:
        source = _with_parts(source, study=study)
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


def deal(study: Study, source: Manifest) -> tuple[Manifest, ...]:
    """What each fold's run trains on, chooses by and is judged on; without folds, the data set as it is."""
    if study.folds is None:
        return (source,)
    pool = [sample for split in ("train", "val") for sample in source.split(split)]
    parts = _parts_of(pool, source=source, study=study)
    folds = [str(fold) for fold in range(study.folds)]
    fold_of = assign_splits(
        parts,
        fractions=dict.fromkeys(folds, 1 / study.folds),
        classes=classes_in_masks(pool, class_map=source.class_map),
    )

    def place(sample: Sample, *, judged: str, chosen_by: str) -> Sample:
        fold = fold_of[sample.name]
        if fold == judged:
            return replace(sample, split="test", group=parts[sample.name])
        return replace(sample, split="val" if fold == chosen_by else "train")

    return tuple(
        replace(source, samples=tuple(place(sample, judged=judged, chosen_by=chosen_by) for sample in pool))
        for judged, chosen_by in zip(folds, folds[1:] + folds[:1], strict=True)
    )


def _with_parts(source: Manifest, *, study: Study) -> Manifest:
    """The same, its test images grouped by the part that they show."""
    test = source.split("test")
    parts = _parts_of(test, source=source, study=study)
    samples = tuple(
        replace(sample, group=parts[sample.name]) if sample.split == "test" else sample
        for sample in source.samples
    )
    return replace(source, samples=samples)


def _parts_of(samples: Sequence[Sample], *, source: Manifest, study: Study) -> dict[str, str]:
    """name -> the part that the image shows: by the study's column, else by the data set's own, else itself."""
    if study.part_column is None:
        return {sample.name: sample.group or sample.name for sample in samples}
    names = [sample.name for sample in samples]
    return groups_from_column(names, table=source.root / SPLIT_FILE, column=study.part_column)


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
