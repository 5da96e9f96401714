"""The cases of a report: the images that went wrong, the best ones, each with truth and prediction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.manifest import Manifest, Sample
from data.pixels import read_pair
from training.evaluation import Evaluation, ImageRow
from training.report_pictures import draw_picture, find_window

_PER_GALLERY: Final = 6


class HasLabels(Protocol):
    """What drawing needs of a prediction."""

    @property
    def labels(self) -> NDArray[np.uint8]:
        """uint8 [height, width]."""


class PredictsLabels(Protocol):
    """What drawing needs of a predictor."""

    def predict(self, image: NDArray[np.uint8]) -> HasLabels:
        """uint8 RGB [height, width, 3] → a prediction."""


@dataclass(frozen=True)
class Case:
    """One image three times, as data URIs."""

    name: str
    caption: str
    image: str
    truth: str
    predicted: str


@dataclass(frozen=True)
class Gallery:
    """Cases of one kind."""

    title: str
    note: str
    cases: tuple[Case, ...]


def draw_galleries(
    model: PredictsLabels, manifest: Manifest, *, evaluation: Evaluation, per_gallery: int = _PER_GALLERY
) -> tuple[Gallery, ...]:
    """Escapes, false alarms, worst and best masks of the judged split; kinds without a case are left out."""
    samples = {sample.name: sample for sample in manifest.split(evaluation.split)}
    galleries = []
    for title, note, rows in _picked(evaluation.rows, per_gallery=per_gallery):
        cases = tuple(_draw(model, samples[row.name], row=row, class_map=manifest.class_map) for row in rows)
        if cases:
            galleries.append(Gallery(title=title, note=note, cases=cases))
    return tuple(galleries)


def _picked(rows: Sequence[ImageRow], *, per_gallery: int) -> list[tuple[str, str, list[ImageRow]]]:
    """Which rows are shown under which title; of one part only its most telling view."""

    def pick(wanted: Callable[[ImageRow], bool], order: Callable[[ImageRow], float]) -> list[ImageRow]:
        seen: set[str] = set()
        chosen: list[ImageRow] = []
        for row in sorted(filter(wanted, rows), key=order):
            if row.part not in seen and len(chosen) < per_gallery:
                seen.add(row.part)
                chosen.append(row)
        return chosen

    escapes = [row for row in rows if row.verdict == "escape"]
    alarms = [row for row in rows if row.verdict == "overkill"]
    return [
        (
            f"Missed: NG called OK ({len(escapes)})",
            "The most serious mistakes, the surest first.",
            pick(lambda row: row.verdict == "escape", lambda row: _margin(row)),
        ),
        (
            f"False alarms: OK called NG ({len(alarms)})",
            "The surest first. Look twice: some of these turn out to be unlabelled defects.",
            pick(lambda row: row.verdict == "overkill", lambda row: -_margin(row)),
        ),
        (
            "Worst masks among the caught",
            "Called NG, but drawn badly: lowest IoU first.",
            pick(lambda row: row.verdict == "caught", lambda row: row.mean_defect_iou or 0.0),
        ),
        (
            "Best masks",
            "What it looks like when it works.",
            pick(lambda row: bool(row.mean_defect_iou), lambda row: -(row.mean_defect_iou or 0.0)),
        ),
    ]


def _margin(row: ImageRow) -> float:
    """For ordering: images with nothing near the decision come first."""
    return -1e9 if row.margin is None else row.margin


def _draw(model: PredictsLabels, sample: Sample, *, row: ImageRow, class_map: ClassMap) -> Case:
    """The three pictures of one image."""
    image, truth = read_pair(sample, class_map=class_map)
    labels = model.predict(image).labels
    window = find_window(truth, labels, class_map=class_map)
    detail = window != (slice(0, image.shape[0]), slice(0, image.shape[1]))
    parts = []
    if row.mean_defect_iou is not None:
        parts.append(f"IoU {row.mean_defect_iou:.2f}")
    if row.true_regions:
        parts.append(f"{row.true_regions - row.missed_regions} of {row.true_regions} defects found")
    if row.false_regions:
        parts.append(f"{row.false_regions} false alarm" + "s" * (row.false_regions > 1))
    parts.append(f"{image.shape[1]} × {image.shape[0]} px" + (", detail shown" if detail else ""))  # noqa: RUF001
    return Case(
        name=sample.name,
        caption=" · ".join(parts),
        image=draw_picture(image[window]),
        truth=draw_picture(image[window], labels=truth[window], class_map=class_map),
        predicted=draw_picture(image[window], labels=labels[window], class_map=class_map),
    )
