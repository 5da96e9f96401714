"""The images that changed most between two models, for the worse and for the better, each with both answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.manifest import Manifest, Sample
from data.pixels import read_pair
from training.evaluation import Evaluation, ImageRow
from training.report_cases import PredictsLabels
from training.report_pictures import draw_picture, find_window

_PER_KIND: Final = 6
#: A mask whose IoU moved by less looks the same.
_LEAST_IOU_CHANGE: Final = 0.05
_HARM: Final = {"caught": 0, "passed": 0, "overkill": 1, "escape": 2}
_UNCHANGED: Final = (0.0, 0.0, 0.0, 0.0)
_Pair = tuple[ImageRow, ImageRow]


@dataclass(frozen=True)
class ChangedCase:
    """One image four times, as data URIs."""

    name: str
    caption: str
    image: str
    truth: str
    champion: str
    candidate: str


@dataclass(frozen=True)
class Changes:
    """What changed one way: how many images in all, and the most telling ones."""

    title: str
    note: str
    cases: tuple[ChangedCase, ...]


def draw_changes(
    manifest: Manifest,
    *,
    models: tuple[PredictsLabels, PredictsLabels],
    evaluations: tuple[Evaluation, Evaluation],
    per_kind: int = _PER_KIND,
) -> tuple[Changes, Changes]:
    """What got worse, then what got better; `models` and `evaluations` are of champion and candidate, in this order.

    Raises:
        DatasetError: an image or a mask cannot be read any more.
    """
    samples = {sample.name: sample for sample in manifest.split(evaluations[0].split)}
    pairs = sorted(zip(evaluations[0].rows, evaluations[1].rows, strict=True), key=_gain)

    def draw(changed: list[_Pair], *, got: str, note: str) -> Changes:
        cases = tuple(
            _draw(samples[pair[0].name], pair=pair, models=models, class_map=manifest.class_map)
            for pair in _one_of_each_part(changed)[:per_kind]
        )
        return Changes(f"Got {got}: {len(changed)} of {len(pairs)} images", note if cases else "None.", cases)

    return (
        draw(
            [pair for pair in pairs if _gain(pair) < _UNCHANGED],
            got="worse",
            note="New escapes first, then new false alarms, lost defects, poorer masks; each part once.",
        ),
        draw(
            [pair for pair in reversed(pairs) if _gain(pair) > _UNCHANGED],
            got="better",
            note="Caught escapes first, then false alarms that are gone, found defects, truer masks; each part once.",
        ),
    )


def _gain(pair: _Pair) -> tuple[float, float, float, float]:
    """How an image changed, what matters most first; above zero is better."""
    old, new = pair
    iou = (new.mean_defect_iou or 0.0) - (old.mean_defect_iou or 0.0)
    return (
        float(_HARM[old.verdict] - _HARM[new.verdict]),
        float(_found(new) - _found(old)),
        float(old.false_regions - new.false_regions),
        iou if abs(iou) >= _LEAST_IOU_CHANGE else 0.0,
    )


def _found(row: ImageRow) -> int:
    return sum(found for found, _ in row.found_by_class.values())


def _one_of_each_part(pairs: Sequence[_Pair]) -> list[_Pair]:
    """The first of each part; in their order."""
    first: dict[str, _Pair] = {}
    for pair in pairs:
        first.setdefault(pair[0].part, pair)
    return list(first.values())


def _draw(
    sample: Sample, *, pair: _Pair, models: tuple[PredictsLabels, PredictsLabels], class_map: ClassMap
) -> ChangedCase:
    image, truth = read_pair(sample, class_map=class_map)
    champion, candidate = (model.predict(image).labels for model in models)
    wrong = candidate if _gain(pair) < _UNCHANGED else champion
    window = find_window(truth, wrong, class_map=class_map)

    def picture(labels: NDArray[np.uint8]) -> str:
        return draw_picture(image[window], labels=labels[window], class_map=class_map)

    return ChangedCase(
        name=sample.name,
        caption=_caption(pair),
        image=draw_picture(image[window]),
        truth=picture(truth),
        champion=picture(champion),
        candidate=picture(candidate),
    )


def _caption(pair: _Pair) -> str:
    """What changed, in words."""
    old, new = pair
    said = [old.verdict if old.verdict == new.verdict else f"{old.verdict} → {new.verdict}"]
    for name, (before, true) in old.found_by_class.items():
        after = new.found_by_class[name][0]
        said.append(
            f"{name}: {before} of {true} found" + (f" → {after} of {true}" if after != before else "")
        )
    if old.false_regions != new.false_regions:
        said.append(f"false alarms {old.false_regions} → {new.false_regions}")
    if old.mean_defect_iou is not None and new.mean_defect_iou is not None:
        said.append(f"IoU {old.mean_defect_iou:.2f} → {new.mean_defect_iou:.2f}")
    return " · ".join(said)
