"""Where to set the bar between OK and NG, given how validation images score.

The rule, in order:

1. At most `k` of `n` NG images may score below the bar, `k = floor(rate * (n + 1) - 1/2)` and at least 0,
   and the bar stands midway, in log-odds, between the last one missed and the first one caught (never more
   than one unit below the latter). A next NG image then falls below it with an expected probability of `(k
   + 1/2) / (n + 1)`, within the target; a bar right at the edge of `floor(rate * n)` misses would exceed it
   more often than not (order statistics, as in conformal prediction, arXiv 2208.02814).
2. That holds for independent images, and on average. Validation sets hold few NG parts, often several views
   of each, so the bar is lowered on: to at most three units below the first one caught, for as long as this
   costs no more than 5 % of the OK images (or one image) on top, and no more than a tenth of the masks'
   IoU. In a simulation of 10 NG tiles shot six times each (heavy and light tails, 1500 draws) rule 1 alone
   kept 5 % escape on unseen tiles in 50 to 60 % of draws, with this margin in 64 to 99 %, for 0 to 6 points
   of overkill; k = 0 instead cost up to 27 points.
3. Of the smallest areas that meet it, those with the fewest OK images called NG at the bar of rule 1 (one
   image is no difference); among these the highest mean defect IoU, then the widest margin.
4. Every threshold between the same two neighbouring scores, of OK or NG images, decides alike on these. The
   middle half of that gap is as safe as it gets on both sides; within it the threshold with the best masks
   is taken.
5. Where NG images never fire, or the bar would turn away more than half of the OK images, the target is out
   of reach: the threshold with the lowest sum of both rates is taken. Where another model is to be replaced, a
   target that costs more overkill than that one has is out of reach too, and the threshold is the one that
   shares the gain: neither rate gets worse for the sake of the other (a candidate that was better at every
   threshold was refused for 16 points of overkill, bought with 27 of escape). Without OK images
   it is the one with the best masks, without NG images the network's own argmax.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.image_scores import NEVER, THRESHOLDS

#: Steps of THRESHOLDS in one unit of log-odds.
_UNIT: Final = round(1.0 / (THRESHOLDS[1] - THRESHOLDS[0]))
#: How far at most the bar is set below the first NG image it must catch: by rule 1, and by rule 2.
_MIDWAY_STEPS: Final = 1 * _UNIT
_MARGIN_STEPS: Final = 3 * _UNIT
#: Share of the OK images that may be spent on the margin of rule 2.
_MARGIN_OVERKILL: Final = 0.05
#: Share of the mean defect IoU that may be spent on it.
_MARGIN_IOU: Final = 0.1
#: A bar that turns away more than this share of the OK images is no inspection.
MOST_OVERKILL: Final = 0.5
#: Means of IoU closer than this are one.
_SAME_IOU: Final = 0.01
#: The threshold that leaves the network's own argmax as it is.
NEUTRAL: Final = int(np.flatnonzero(THRESHOLDS == 0.0)[0])


#: Where no OK image can say what false alarms cost, masks say it: the target may cost this share of them at most.
#: Without it a weak model met its target by calling everything a defect (IoU 0.35 to 0.16 on val, 0.01 on test).
_LEAST_MASKS: Final = 0.75


@dataclass(frozen=True)
class ScoredImages:
    """Scores of one split under one set of class weights.

    Attributes:
        scores: int16 [images, areas], indices into THRESHOLDS or NEVER; not rising along areas.
        areas_px: the smallest areas tried, ascending.
        is_ng: bool [images], whether truth holds any defect pixel.
        defect_px: int64 [images], area of the largest true region; 0 on OK images.
        mean_defect_iou: float64 [thresholds]; None when truth holds no defect.
    """

    scores: NDArray[np.int16]
    areas_px: tuple[int, ...]
    is_ng: NDArray[np.bool_]
    defect_px: NDArray[np.int64]
    mean_defect_iou: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True)
class Rates:
    """Escape and overkill of a model, shares in 0…1."""

    escape: float
    overkill: float


@dataclass(frozen=True)
class Choice:
    """A threshold (index) and a smallest area (position), and what they cost on the calibration split.

    `bar_overkill` is what rule 1 alone costs, None without an OK image; `margin_steps` is how far the
    threshold lies below the first NG image that must be caught.
    """

    threshold: int
    area: int
    bar_overkill: float | None
    mean_defect_iou: float | None
    margin_steps: int
    target_met: bool


def allowed_misses(ng_images: int, *, max_escape_rate: float) -> int:
    """How many of `ng_images` may score below the bar: see rule 1 of this module."""
    return max(
        0, min(int(max_escape_rate * ng_images + 1e-9), int(max_escape_rate * (ng_images + 1) - 0.5 + 1e-9))
    )


def choose(images: ScoredImages, *, max_escape_rate: float, replaced: Rates | None = None) -> Choice:
    """The operating point by the rules of this module.

    Where the target cannot be met (rule 5), the choice comes back with `target_met` false; `replaced` are the rates of
    the model that this one is to replace, on the same images.
    """
    ng_images = int(images.is_ng.sum())
    if not ng_images:
        return _fall_back(images, areas=[0])
    misses = allowed_misses(ng_images, max_escape_rate=max_escape_rate)
    has_ok = ng_images < len(images.is_ng)
    # What even a perfect mask would call OK is no smallest area to consider. Where no OK image can speak
    # against specks, a quarter of the smallest defects' size is what keeps them out of the list of defects.
    smallest_px = np.sort(images.defect_px[images.is_ng])[misses] / (1 if has_ok else 4)
    allowed = [at for at, area_px in enumerate(images.areas_px) if at == 0 or area_px <= smallest_px]
    found = (_at_area(images, area=at, misses=misses) for at in allowed)
    choices = [one for one in found if one is not None and (one.bar_overkill or 0.0) <= MOST_OVERKILL]
    if not choices:
        return _fall_back(images, areas=allowed, replaced=replaced)
    chosen = best(choices, ok_images=len(images.is_ng) - ng_images, areas_px=images.areas_px)
    if replaced is not None and _overkill(images, chosen) > replaced.overkill:
        return _fall_back(images, areas=allowed, replaced=replaced)
    iou = images.mean_defect_iou
    if not has_ok and iou is not None and iou[chosen.threshold] < _LEAST_MASKS * iou.max():
        return _fall_back(images, areas=allowed)
    return chosen


def _overkill(images: ScoredImages, choice: Choice) -> float:
    """The share of the OK images that a choice calls NG, 0 without any."""
    ok_scores = images.scores[~images.is_ng, choice.area]
    return float((ok_scores >= choice.threshold).mean()) if ok_scores.size else 0.0


def best(choices: list[Choice], *, ok_images: int, areas_px: tuple[int, ...]) -> Choice:
    """Fewest OK images called NG, give or take one; then masks; then the margin; then the area."""
    least = min((choice.bar_overkill for choice in choices if choice.bar_overkill is not None), default=None)
    if least is not None:
        within = least + 1.0 / ok_images + 1e-9
        choices = [one for one in choices if one.bar_overkill is not None and one.bar_overkill <= within]
    masks = max(choice.mean_defect_iou or 0.0 for choice in choices)
    choices = [choice for choice in choices if (choice.mean_defect_iou or 0.0) >= masks - _SAME_IOU]
    return max(choices, key=lambda choice: (choice.margin_steps if ok_images else 0, areas_px[choice.area]))


def _at_area(images: ScoredImages, *, area: int, misses: int) -> Choice | None:
    """The best threshold for one smallest area; None when too many NG images never fire at it."""
    scores, iou = images.scores[:, area], images.mean_defect_iou
    ng_scores, ok_scores = np.sort(scores[images.is_ng]), scores[~images.is_ng]
    caught, missed = int(ng_scores[misses]), int(ng_scores[misses - 1]) if misses else NEVER
    if caught == NEVER:
        return None
    bar = max((missed + caught + 1) // 2, caught - _MIDWAY_STEPS, 0)
    if not ok_scores.size:
        threshold = _best_masks(iou, lowest=0, middle=bar, highest=bar)
    else:
        threshold = _with_margin(ok_scores, bar=bar, lowest=max(caught - _MARGIN_STEPS, 0), iou=iou)
        below, above = scores[scores < threshold], scores[scores >= threshold]
        neighbours = int(below.max()) if below.size else NEVER, int(above.min())
        middle, quarter = (sum(neighbours) + 1) // 2, (neighbours[1] - neighbours[0]) // 4
        safest = _best_masks(iou, lowest=middle - quarter, middle=middle, highest=middle + quarter)
        threshold = safest if _masks_hold(iou, at=safest, bar=bar) else threshold
    return Choice(
        threshold=threshold,
        area=area,
        bar_overkill=float((ok_scores >= bar).mean()) if ok_scores.size else None,
        mean_defect_iou=None if iou is None else float(iou[threshold]),
        margin_steps=caught - threshold,
        target_met=True,
    )


def _with_margin(
    ok_scores: NDArray[np.int16], *, bar: int, lowest: int, iou: NDArray[np.float64] | None
) -> int:
    """The bar lowered by rule 2, down to `lowest` at most."""
    spent = int((ok_scores >= bar).sum()) + max(1, int(_MARGIN_OVERKILL * len(ok_scores)))
    for threshold in range(lowest, bar):
        cost = int((ok_scores >= threshold).sum())
        if cost <= spent and _masks_hold(iou, at=threshold, bar=bar):
            return threshold
    return bar


def _masks_hold(iou: NDArray[np.float64] | None, *, at: int, bar: int) -> bool:
    """Whether masks at a threshold are about as good as at the bar."""
    return iou is None or bool(iou[at] >= (1 - _MARGIN_IOU) * iou[bar])


def _best_masks(iou: NDArray[np.float64] | None, *, lowest: int, middle: int, highest: int) -> int:
    """Of the thresholds from lowest to highest the one with the best masks; the middle when it is as good."""
    if iou is None:
        return middle
    inside = iou[lowest : highest + 1]
    as_good = lowest + np.flatnonzero(inside >= inside.max() - _SAME_IOU / 4)
    return int(as_good[np.argmin(np.abs(as_good - middle))])


def _fall_back(images: ScoredImages, *, areas: list[int], replaced: Rates | None = None) -> Choice:
    """Rule 5, for when the target says nothing or asks too much; `areas` are positions that may be chosen."""
    iou = images.mean_defect_iou
    area, threshold = 0, NEUTRAL
    if images.is_ng.any() and not images.is_ng.all():
        # [images, areas, thresholds]; a few hundred images make it a few MB.
        called_ng = images.scores[:, areas, None] >= np.arange(len(THRESHOLDS))
        caught, alarmed = called_ng[images.is_ng].mean(axis=0), called_ng[~images.is_ng].mean(axis=0)
        balance = caught - alarmed
        if replaced is not None:
            balance = np.minimum(replaced.escape - (1 - caught), replaced.overkill - alarmed)
        masks = np.zeros(len(THRESHOLDS)) if iou is None else iou
        # Masks only part what is balanced alike: their weight is less than one image's.
        at, threshold = (int(at) for at in np.unravel_index(np.argmax(balance + 1e-6 * masks), balance.shape))
        area = areas[at]
    elif iou is not None:
        threshold = int(np.argmax(iou))
    ok_scores = images.scores[~images.is_ng, area]
    return Choice(
        threshold=threshold,
        area=area,
        bar_overkill=float((ok_scores >= threshold).mean()) if ok_scores.size else None,
        mean_defect_iou=None if iou is None else float(iou[threshold]),
        margin_steps=0,
        target_met=False,
    )
