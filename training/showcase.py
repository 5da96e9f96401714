"""One picture of what a model finds: a part in each row, as it is, as it was labelled, as the model sees it."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from data.classes import ClassMap
from data.manifest import Manifest, Sample
from data.masks import overlay, read_labels
from data.pixels import read_pair
from model.predictor import Predictor

_PANEL_PX: Final = 256
_GAP_PX: Final = 6
_HEADING_PX: Final = 54
_PAPER, _INK = (250, 250, 248), (40, 44, 52)


def draw_showcase(
    predictor: Predictor, manifest: Manifest, *, split: str = "test", rows: int = 3, across: int = 2
) -> NDArray[np.uint8]:
    """uint8 RGB [height, width, 3]: `rows` x `across` parts, each three times; defects tinted by class.

    Parts that show the most classes come first, and one without a defect comes last.
    """
    chosen = _choose(manifest.split(split), class_map=manifest.class_map, count=rows * across)
    cells = [_draw(predictor, sample, class_map=manifest.class_map) for sample in chosen]
    while len(cells) % across:
        cells.append(np.full_like(cells[0], _PAPER, subok=False))
    gap = np.full((cells[0].shape[0], 3 * _GAP_PX, 3), _PAPER, np.uint8)
    lines = [np.hstack(_between(cells[at : at + across], gap)) for at in range(0, len(cells), across)]
    between = np.full((_GAP_PX, lines[0].shape[1], 3), _PAPER, np.uint8)
    return np.vstack(
        [_heading(lines[0].shape[1], manifest.class_map, across=across), *_between(lines, between)]
    )


def _choose(samples: Sequence[Sample], *, class_map: ClassMap, count: int) -> list[Sample]:
    """A greedy cover: each next part shows what has been shown least; the last one shows nothing."""
    shown = {
        sample: set(np.unique(read_labels(sample.mask)).tolist()) & set(class_map.defect_ids)
        for sample in samples
    }
    times = dict.fromkeys(class_map.defect_ids, 0)
    chosen: list[Sample] = []
    left = [sample for sample in samples if shown[sample]]
    while left and len(chosen) < count - 1:
        best = max(left, key=lambda sample: sum(1.0 / (1 + times[one]) ** 2 for one in shown[sample]))
        left.remove(best)
        chosen.append(best)
        for one in shown[best]:
            times[one] += 1
    return chosen + [sample for sample in samples if not shown[sample]][:1]


def _draw(predictor: Predictor, sample: Sample, *, class_map: ClassMap) -> NDArray[np.uint8]:
    image, truth = read_pair(sample, class_map=class_map)
    found = predictor.predict(image).labels
    panels = [image, overlay(image, truth, class_map, 0.6), overlay(image, found, class_map, 0.6)]
    return np.hstack(
        _between([_fit(panel) for panel in panels], np.full((_PANEL_PX, 2, 3), _PAPER, np.uint8))
    )


def _fit(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scaled and centred in a square."""
    scale = _PANEL_PX / max(picture.shape[:2])
    shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    drawn = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=shrinks)[:_PANEL_PX, :_PANEL_PX]
    panel = np.full((_PANEL_PX, _PANEL_PX, 3), _PAPER, np.uint8)
    top, left = (_PANEL_PX - drawn.shape[0]) // 2, (_PANEL_PX - drawn.shape[1]) // 2
    panel[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn
    return panel


def _heading(width: int, class_map: ClassMap, *, across: int) -> NDArray[np.uint8]:
    """The colours of the classes, and under them the titles of the columns."""
    strip = Image.new("RGB", (width, _HEADING_PX), _PAPER)
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(15)
    for cell in range(across):
        for column, title in enumerate(("part", "labelled", "found")):
            left = cell * (width + 3 * _GAP_PX) // across + column * (_PANEL_PX + 2)
            pen.text((left + 2, 30), title, fill=_INK, font=font)
    left = 2
    for class_id in class_map.defect_ids:
        spec = class_map.classes[class_id]
        pen.rectangle((left, 8, left + 12, 20), fill=spec.color)
        pen.text((left + 18, 6), spec.name, fill=_INK, font=font)
        left += 18 + int(pen.textlength(spec.name, font=font)) + 16
    return np.asarray(strip)


def _between(parts: Sequence[NDArray[np.uint8]], gap: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The parts with a gap between each two."""
    joined = [piece for part in parts for piece in (part, gap)]
    return joined[:-1]
