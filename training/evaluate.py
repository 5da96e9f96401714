"""Score a model file on a split, through the predictor that serves it: no number is about anything else.

Image by image, so that memory does not grow with the split.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.manifest import Manifest, Sample
from data.pixels import read_pair
from data.regions import find_regions
from model.contract import Contract, Decision
from training.evaluation import Evaluation, ImageRow
from training.image_scores import NEVER, THRESHOLDS, scores_by_area, weigh
from training.labelled import check_classes, watched
from training.metrics import Confusion, Reliability, escape_rate, overkill_rate
from training.region_metrics import BoundaryScore, DefectCounts


class Predicted(Protocol):
    """What judging needs of a prediction."""

    @property
    def labels(self) -> NDArray[np.uint8]:
        """uint8 [height, width], by the decision of the model."""

    @property
    def confidence(self) -> NDArray[np.uint8]:
        """uint8 [height, width], the label's probability, 255 being 1."""

    @property
    def probabilities(self) -> NDArray[np.float32] | None:
        """float32 [classes, height, width], before the decision's weights."""


class Predicts(Protocol):
    """What judging needs of a predictor: `model.predictor.Predictor`, or a fake in a test."""

    @property
    def contract(self) -> Contract:
        """What the model promises: its classes and its decision."""

    def predict(self, image: NDArray[np.uint8], *, want_probabilities: bool = ...) -> Predicted:
        """uint8 RGB [height, width, 3] -> a prediction, with probabilities when asked."""


def evaluate(model: Predicts, manifest: Manifest, *, split: str = "test") -> Evaluation:
    """Judge the model as it would decide in service: its own weights, its own smallest area.

    An image is NG when its truth holds a defect pixel, and called NG when one predicted defect region has at
    least `decision.min_area_px` pixels. Scores by class count what is of that class; `defect_recall` and
    `false_alarms_per_image` of the whole ask only whether there is a defect. See `training.metrics` and
    `training.region_metrics` for what each number means; null: the split holds nothing to measure it on.

    Raises:
        DatasetError, PairError: the split is empty, a file is broken, or the classes are not the model's.
    """
    class_map = manifest.class_map
    check_classes(model.contract.classes, data_classes=class_map)
    tally = _Tally.of(class_map, decision=model.contract.decision)
    samples = manifest.split(split)
    rows = tuple(
        _judge(model, sample, tally=tally) for sample in watched(samples, what=f"judging {split} images")
    )
    return Evaluation(
        split=split,
        scores=_scores(tally, rows),
        rows=rows,
        confusion=tuple(tuple(row) for row in tally.confusion.counts.tolist()),
        reliability=tally.reliability.bins(),
    )


@dataclass(frozen=True)
class _Tally:
    """Everything that is counted while the images pass."""

    class_map: ClassMap
    decision: Decision
    confusion: Confusion
    reliability: Reliability
    boundary: BoundaryScore
    defects: DefectCounts

    @classmethod
    def of(cls, class_map: ClassMap, *, decision: Decision) -> "_Tally":
        return cls(
            class_map=class_map,
            decision=decision,
            confusion=Confusion(len(class_map)),
            reliability=Reliability(),
            boundary=BoundaryScore(len(class_map)),
            defects=DefectCounts(class_map, min_area_px=decision.min_area_px),
        )


def _judge(model: Predicts, sample: Sample, *, tally: _Tally) -> ImageRow:
    """Count one image, and its row."""
    class_map, min_area_px = tally.class_map, tally.decision.min_area_px
    image, truth = read_pair(sample, class_map=class_map)
    prediction = model.predict(image, want_probabilities=True)
    labels = prediction.labels
    confusion = Confusion(len(class_map))
    confusion.add(truth, labels)
    tally.confusion.merge(confusion)
    tally.reliability.add(prediction.confidence, truth=truth, predicted=labels)
    tally.boundary.add(truth, labels)
    defects = tally.defects.add(truth, labels)
    regions = find_regions(labels, class_ids=class_map.defect_ids, min_area_px=min_area_px)
    return ImageRow(
        name=sample.name,
        group=sample.group,
        is_ng=bool(np.isin(truth, class_map.defect_ids).any()),
        called_ng=bool(regions),
        margin=_margin(prediction, decision=tally.decision, class_map=class_map),
        regions=len(regions),
        true_regions=defects.true,
        missed_regions=defects.missed,
        false_regions=defects.false,
        found_by_class={
            class_map.names[class_id]: found for class_id, found in defects.found_by_class.items()
        },
        mean_defect_iou=confusion.mean_defect_iou(class_map),
        pixels_by_class={
            name: (right, true, said)
            for name, right, true, said in zip(class_map.names, *confusion.sums(), strict=True)
            if true or said
        },
    )


def _margin(prediction: Predicted, *, decision: Decision, class_map: ClassMap) -> float | None:
    """How far the surest region lies above the decision, in log-odds; None when nothing comes near."""
    assert prediction.probabilities is not None, "asked for probabilities"
    if not class_map.defect_ids or not class_map.background_ids:
        return None
    weights = np.array(decision.weights, np.float32)
    evidence = weigh(
        prediction.probabilities * weights[:, None, None],
        defect_weights=(1.0,) * len(class_map.defect_ids),
        class_map=class_map,
    )
    (score,) = scores_by_area(evidence, areas_px=(decision.min_area_px,))
    return None if score == NEVER else float(THRESHOLDS[score])


def _scores(tally: _Tally, rows: tuple[ImageRow, ...]) -> dict[str, Any]:
    """The numbers that travel with the model, plain JSON values."""
    is_ng, called_ng = [row.is_ng for row in rows], [row.called_ng for row in rows]
    return {
        "images": len(rows),
        "ng_images": sum(is_ng),
        "ok_images": len(rows) - sum(is_ng),
        "escape_rate": escape_rate(is_ng, called_ng=called_ng),
        "overkill_rate": overkill_rate(is_ng, called_ng=called_ng),
        "defect_recall": tally.defects.recall(),
        "false_alarms_per_image": tally.defects.false_alarms_per_image(),
        "mean_iou": tally.confusion.mean_iou,
        "mean_defect_iou": tally.confusion.mean_defect_iou(tally.class_map),
        "ece": tally.reliability.ece(),
        "classes": _scores_by_class(tally),
    }


def _scores_by_class(tally: _Tally) -> Mapping[str, Mapping[str, float | None]]:
    """Each class's own scores; only defect classes have defects to find."""
    by_class = {
        "iou": tally.confusion.iou(),
        "dice": tally.confusion.dice(),
        "precision": tally.confusion.precision(),
        "recall": tally.confusion.recall(),
        "boundary_f": tally.boundary.f_scores(),
    }
    told = {}
    for class_id, name in enumerate(tally.class_map.names):
        is_defect = class_id in tally.class_map.defect_ids
        told[name] = {
            **{score: values[class_id] for score, values in by_class.items()},
            "defect_recall": tally.defects.recall(class_id) if is_defect else None,
            "false_alarms_per_image": tally.defects.false_alarms_per_image(class_id) if is_defect else None,
        }
    return told
