"""From validation images to the decision that rides in the model file: class weights and a smallest area.

A network's plain argmax is nobody's operating point. What a factory asks is: of the parts that are bad, at
most so many may pass; how few good ones must then be thrown away? `calibrate` answers through the predictor
that will serve the model, image by image, so that memory does not grow with the split.
"""

import logging
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.manifest import Manifest, Sample
from data.pixels import read_pair
from data.regions import find_regions
from model.contract import Decision
from training.calibration import Calibration, ImageScore, OperatingPoint
from training.class_weights import PixelSample
from training.image_scores import (
    AREAS_PX,
    NEVER,
    THRESHOLDS,
    IouCurve,
    PredictsProbabilities,
    scores_by_area,
    weigh,
)
from training.labelled import check_classes, watched
from training.operating_point import NEUTRAL, Choice, Rates, ScoredImages, best, choose

_log: Final = logging.getLogger(__name__)
#: Pixels kept to find class weights on: about 15 MB at six classes.
_SAMPLED_PIXELS: Final = 600_000


class CalibrationError(ValueError):
    """The target cannot be calibrated for."""


def calibrate(
    model: PredictsProbabilities,
    manifest: Manifest,
    *,
    split: str = "val",
    max_escape_rate: float = 0.05,
    replaced: Rates | None = None,
) -> Calibration:
    """Choose decision weights and a smallest area on `split`: fewest OK images called NG at that escape rate.

    Args:
        model: the opened artefact; its current decision has no influence on the result.
        manifest: the data set, with the class map the model was trained on.
        split: never the split that the model is judged on.
        max_escape_rate: share of NG images that may be called OK, in [0, 1).
        replaced: rates on this split of the model that this one is to replace, for where that is out of reach.

    Raises:
        CalibrationError: the target is no rate, or the split is "test".
        DatasetError, PairError: the split is empty, a file is broken, or the classes are not the model's.
    """
    if not 0.0 <= max_escape_rate < 1.0:
        raise CalibrationError(f"max_escape_rate is {max_escape_rate}, but a rate in [0, 1) was expected")
    if split == "test":
        raise CalibrationError(
            'a decision chosen on "test" would make every score on it worthless; calibrate on "val"'
        )
    class_map, samples = manifest.class_map, manifest.split(split)
    check_classes(model.contract.classes, data_classes=class_map)
    if not class_map.defect_ids or not class_map.background_ids:
        return _nothing_to_decide(manifest, split=split, max_escape_rate=max_escape_rate)
    ones = (1.0,) * len(class_map.defect_ids)
    candidates = [ones]
    if len(ones) > 1:
        weights = _class_weights(model, samples, class_map=class_map)
        candidates += [weights] if weights != ones else []
    scored = _score(model, samples, class_map=class_map, candidates=candidates)
    choices = [choose(images, max_escape_rate=max_escape_rate, replaced=replaced) for images in scored]
    ok_images = int((~scored[0].is_ng).sum())
    met = [choice for choice in choices if choice.target_met] or choices[:1]
    chosen = best(met, ok_images=ok_images, areas_px=AREAS_PX)
    at = next(position for position, choice in enumerate(choices) if choice is chosen)
    return _told(
        manifest,
        chosen,
        images=scored[at],
        plain=scored[0],
        defect_weights=candidates[at],
        split=split,
        max_escape_rate=max_escape_rate,
    )


def decision_for(
    class_map: ClassMap, *, threshold: float, defect_weights: tuple[float, ...], min_area_px: int
) -> Decision:
    """A threshold in log-odds and relative defect weights as weights of a decision, the largest being 1."""
    weights = np.full(len(class_map), np.exp(threshold))
    weights[list(class_map.defect_ids)] = defect_weights
    return Decision(
        weights=tuple(float(weight) for weight in weights / weights.max()), min_area_px=min_area_px
    )


def _probabilities(model: PredictsProbabilities, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Float32 [classes, height, width]."""
    probabilities = model.predict(image, want_probabilities=True).probabilities
    assert probabilities is not None, "asked for probabilities"
    return probabilities


def _class_weights(
    model: PredictsProbabilities, samples: tuple[Sample, ...], *, class_map: ClassMap
) -> tuple[float, ...]:
    """First look at the split: relative weights of the defect classes."""
    pixels = PixelSample(class_map, pixels_per_image=max(500, _SAMPLED_PIXELS // len(samples)))
    for sample in watched(samples, what="weighing classes"):
        image, truth = read_pair(sample, class_map=class_map)
        probabilities = _probabilities(model, image)
        pixels.add(probabilities=probabilities, truth=truth)
    return pixels.best_weights()


def _score(
    model: PredictsProbabilities,
    samples: tuple[Sample, ...],
    *,
    class_map: ClassMap,
    candidates: list[tuple[float, ...]],
) -> list[ScoredImages]:
    """Second look: every image's scores and the masks at every threshold, for each candidate's weights."""
    curves = [IouCurve(class_map) for _ in candidates]
    scores: list[list[NDArray[np.int16]]] = [[] for _ in candidates]
    defect_px = []
    for sample in watched(samples, what="scoring images"):
        image, truth = read_pair(sample, class_map=class_map)
        probabilities = _probabilities(model, image)
        regions = find_regions(truth, class_ids=class_map.defect_ids)
        defect_px.append(max((region.area_px for region in regions), default=0))
        for at, defect_weights in enumerate(candidates):
            evidence = weigh(probabilities, defect_weights=defect_weights, class_map=class_map)
            scores[at].append(scores_by_area(evidence))
            curves[at].add(level=evidence.level, defect=evidence.defect, truth=truth)
    largest_px = np.array(defect_px, np.int64)
    return [
        ScoredImages(
            scores=np.stack(scores[at]),
            areas_px=AREAS_PX,
            is_ng=largest_px > 0,
            defect_px=largest_px,
            mean_defect_iou=curves[at].mean(),
        )
        for at in range(len(candidates))
    ]


def _told(
    manifest: Manifest,
    chosen: Choice,
    *,
    images: ScoredImages,
    plain: ScoredImages,
    defect_weights: tuple[float, ...],
    split: str,
    max_escape_rate: float,
) -> Calibration:
    """The choice in words and numbers that can be stored and drawn."""
    scores = images.scores[:, chosen.area]
    ng_images = int(images.is_ng.sum())
    notes = _notes(ng_images, len(images.is_ng) - ng_images, met=chosen.target_met, rate=max_escape_rate)
    for note in notes:
        _log.warning("calibration on %s: %s", split, note)
    curve = tuple(_point(images, threshold=at, area=chosen.area) for at in range(len(THRESHOLDS)))
    return Calibration(
        decision=decision_for(
            manifest.class_map,
            threshold=float(THRESHOLDS[chosen.threshold]),
            defect_weights=defect_weights,
            min_area_px=images.areas_px[chosen.area],
        ),
        split=split,
        max_escape_rate=max_escape_rate,
        target_met=chosen.target_met,
        ng_images=ng_images,
        ok_images=len(images.is_ng) - ng_images,
        chosen=curve[chosen.threshold],
        before=_point(plain, threshold=NEUTRAL, area=0),
        best_mean_defect_iou=None if images.mean_defect_iou is None else float(images.mean_defect_iou.max()),
        curve=curve,
        images=tuple(
            ImageScore(
                name=sample.name,
                is_ng=bool(is_ng),
                score=None if score == NEVER else float(THRESHOLDS[score]),
            )
            for sample, is_ng, score in zip(manifest.split(split), images.is_ng, scores, strict=True)
        ),
        notes=notes,
    )


def _point(images: ScoredImages, *, threshold: int, area: int) -> OperatingPoint:
    """What one threshold and smallest area cost."""
    ng = images.scores[:, area] >= threshold
    iou = images.mean_defect_iou
    return OperatingPoint(
        threshold=float(THRESHOLDS[threshold]),
        min_area_px=images.areas_px[area],
        escape_rate=float((~ng[images.is_ng]).mean()) if images.is_ng.any() else None,
        overkill_rate=float(ng[~images.is_ng].mean()) if not images.is_ng.all() else None,
        mean_defect_iou=None if iou is None else float(iou[threshold]),
    )


def _notes(ng_images: int, ok_images: int, *, met: bool, rate: float) -> tuple[str, ...]:
    """What a person should know before trusting the numbers."""
    notes = []
    if not ng_images:
        notes.append("no image with a defect: the decision stays the network's own argmax")
    elif not met:
        notes.append(
            f"an escape rate of {rate:.0%} is out of reach, as NG images show nothing, or less than OK ones; "
            f"{'this decision balances both rates' if ok_images else 'the masks decided'}. Look at the "
            "images that are missed, or train longer"
        )
    elif rate * (ng_images + 1) < 1:
        notes.append(
            f"{ng_images} NG images are too few to vouch for an escape rate of {rate:.0%} "
            f"({int(np.ceil(1 / rate)) - 1 if rate else 'no number'} are needed): none of them may be missed"
        )
    if not ok_images:
        notes.append(
            "no image without a defect: the overkill rate is unknown, the masks decided the threshold"
        )
    return tuple(notes)


def _nothing_to_decide(manifest: Manifest, *, split: str, max_escape_rate: float) -> Calibration:
    """Classes that are all defect or all background have no OK and NG to weigh: argmax stays."""
    note = "every class is a defect, or none is: there is no OK and NG to tell apart, argmax stays"
    _log.warning("calibration on %s: %s", split, note)
    unmoved = OperatingPoint(
        threshold=0.0, min_area_px=1, escape_rate=None, overkill_rate=None, mean_defect_iou=None
    )
    return Calibration(
        decision=Decision(weights=(1.0,) * len(manifest.class_map), min_area_px=1),
        split=split,
        max_escape_rate=max_escape_rate,
        target_met=False,
        ng_images=0,
        ok_images=0,
        chosen=unmoved,
        before=unmoved,
        best_mean_defect_iou=None,
        curve=(),
        images=(),
        notes=(note,),
    )
