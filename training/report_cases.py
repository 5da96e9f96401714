"""The pictures of a report: the images that went wrong, the best ones, each with truth and prediction.

Every picture travels inside the page, so it is small, few are shown, and a tiny defect in a large image is
shown as a detail around it: shrunk with the rest it would vanish.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from data.classes import IGNORE_LABEL, ClassMap
from data.images import encode_jpeg
from data.manifest import Manifest, Sample
from data.masks import overlay
from data.pixels import read_pair
from training.evaluation import Evaluation, ImageRow

#: Longest side of a picture, and of what is shown of a larger image, in pixels.
_SHOWN_PX: Final = 420
_DETAIL_PX: Final = 512
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
            part = row.group or row.name
            if part not in seen and len(chosen) < per_gallery:
                seen.add(part)
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
    window = _window(truth, labels, class_map=class_map)
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
        image=_picture(image[window]),
        truth=_picture(image[window], labels=truth[window], class_map=class_map),
        predicted=_picture(image[window], labels=labels[window], class_map=class_map),
    )


def _window(
    truth: NDArray[np.uint8], labels: NDArray[np.uint8], *, class_map: ClassMap
) -> tuple[slice, slice]:
    """Everything, or of a large image a square around the largest mistake, else the largest defect."""
    height, width = truth.shape
    if max(height, width) <= int(_DETAIL_PX * 1.5):
        return slice(0, height), slice(0, width)
    true_defect, said_defect = np.isin(truth, class_map.defect_ids), np.isin(labels, class_map.defect_ids)
    wrong = (true_defect != said_defect) & (truth != IGNORE_LABEL)
    for mask in (wrong, true_defect, said_defect):
        if mask.any():
            _, _, stats, centres = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
            x, y = centres[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))]
            break
    else:
        return slice(0, height), slice(0, width)
    top = int(np.clip(y - _DETAIL_PX / 2, 0, max(0, height - _DETAIL_PX)))
    left = int(np.clip(x - _DETAIL_PX / 2, 0, max(0, width - _DETAIL_PX)))
    return slice(top, min(height, top + _DETAIL_PX)), slice(left, min(width, left + _DETAIL_PX))


def _picture(
    image: NDArray[np.uint8], *, labels: NDArray[np.uint8] | None = None, class_map: ClassMap | None = None
) -> str:
    """A JPEG data URI, scaled to the shown size, its labels tinted and outlined."""
    scale = _SHOWN_PX / max(image.shape[:2])
    size_wh = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    drawn = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    shown = np.asarray(drawn, np.uint8)
    if labels is not None and class_map is not None:
        scaled = np.asarray(cv2.resize(labels, size_wh, interpolation=cv2.INTER_NEAREST), np.uint8)
        shown = np.ascontiguousarray(overlay(shown, scaled, class_map, 0.3))
        for class_id in class_map.defect_ids:
            contours, _ = cv2.findContours(
                (scaled == class_id).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
            )
            color = tuple(int(channel) for channel in class_map.classes[class_id].color)
            cv2.drawContours(shown, contours, -1, color, 1, cv2.LINE_AA)
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(shown)).decode()
