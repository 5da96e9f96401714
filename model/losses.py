"""What training minimises: cross-entropy balanced between classes, and sums of it with overlap losses.

The paper (arXiv 2406.01605) balances its cross-entropy by a factor beta whose value we could not read; here
beta is the share of the other class, as in HED (arXiv 1504.06375, equation 2), or a given number.

Every loss takes float logits [batch, classes, height, width] and int64 targets [batch, height, width] in
which 255 is ignored, computes in float32 whatever autocast says, and gives zero with a graph, not NaN, when
all is ignored.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from data.classes import IGNORE_LABEL

#: Terms that `build_loss` can sum.
LOSS_TERMS: Final = ("balanced_ce", "dice", "lovasz", "focal", "presence")


class BalancedCrossEntropy(nn.Module):
    """Cross-entropy in which rare classes weigh more.

    Two classes with `binary_beta`: L = -beta sum_{Y+} log p - (1 - beta) sum_{Y-} log(1 - p), over the number
    of pixels that count, where Y+ is class 1. With beta = |Y-| / |Y| (`"batch"`) both classes weigh the same
    in sum; a batch without defects then has beta 1 and weighs its background 0, so beta stays within
    `beta_limits`.

    Otherwise: the weighted mean sum_i w_{y_i} -log p_{y_i} / N over the N pixels that count. Dividing by N
    and not by the sum of weights keeps a batch of background from weighing as much as one full of rare
    defects.

    Args:
        class_weights: one weight for each class; None weighs all alike.
        binary_beta: a number in 0..1, or "batch"; for two classes only, and not with class_weights.
        beta_limits: where "batch" stops.

    Raises:
        ValueError: weights and beta together, or a beta out of range.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        class_weights: Sequence[float] | None = None,
        binary_beta: float | Literal["batch"] | None = None,
        beta_limits: tuple[float, float] = (0.01, 0.99),
    ) -> None:
        super().__init__()
        if class_weights is not None and binary_beta is not None:
            raise ValueError("class_weights and binary_beta say the same thing twice; give one of them")
        if binary_beta is not None and binary_beta != "batch" and not 0 <= float(binary_beta) <= 1:
            raise ValueError(f'binary_beta {binary_beta}; expected a number in 0..1 or "batch"')
        self.binary_beta = binary_beta
        self.beta_limits = beta_limits
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(
        self, logits: Float[Tensor, "batch classes height width"], target: Int64[Tensor, "batch height width"]
    ) -> Float[Tensor, ""]:
        """Return the loss per pixel that counts, float32."""
        with torch.autocast(logits.device.type, enabled=False):
            weights = (
                self._beta_weights(logits, target) if self.binary_beta is not None else self.class_weights
            )
            total = functional.cross_entropy(
                logits.float(), target, weight=weights, ignore_index=IGNORE_LABEL, reduction="sum"
            )
            return total / (target != IGNORE_LABEL).sum().clamp(min=1)

    def _beta_weights(self, logits: Tensor, target: Tensor) -> Tensor:
        """[1 - beta, beta] as float32."""
        if logits.shape[1] != 2:
            raise ValueError(f"binary_beta is for two classes, not {logits.shape[1]}; give class_weights")
        if self.binary_beta == "batch":
            known = (target != IGNORE_LABEL).sum().clamp(min=1)
            beta = ((target == 0).sum() / known).clamp(*self.beta_limits)
        else:
            assert isinstance(self.binary_beta, int | float)
            beta = torch.tensor(float(self.binary_beta), device=logits.device)
        return torch.stack((1 - beta, beta)).float()


class OverlapLoss(nn.Module):
    """Dice, Lovasz-softmax or focal loss of smp, in float32 and defined on every batch.

    Dice and Lovasz leave out classes that the batch does not hold, so a false alarm on a batch of good parts
    costs them little: do not let them stand alone.

    Args:
        term: "dice" (arXiv 1606.04797), "lovasz" (arXiv 1705.08790) or "focal" (arXiv 1708.02002).
    """

    def __init__(self, term: str) -> None:
        super().__init__()
        # Importing it takes seconds, which a command that only opens a configuration should not wait for.
        from segmentation_models_pytorch import losses

        makers = {"dice": losses.DiceLoss, "lovasz": losses.LovaszLoss, "focal": losses.FocalLoss}
        self.loss: nn.Module = makers[term]("multiclass", ignore_index=IGNORE_LABEL)

    def forward(
        self, logits: Float[Tensor, "batch classes height width"], target: Int64[Tensor, "batch height width"]
    ) -> Float[Tensor, ""]:
        """Return the loss, float32."""
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.float()
            if not bool((target != IGNORE_LABEL).any()):
                return (logits * 0.0).sum()
            value: Tensor = self.loss(logits, target)
            return value


class PresenceLoss(nn.Module):
    """Whether an image shows a class, judged by its surest pixels, as a verdict judges it: -log p or -log(1 - p).

    Multiple-instance learning (arXiv 1411.6228, section 3) with the mean log-odds of the `pixels` surest in place of a
    smooth maximum. Where the image shows the class they are taken from the class's own pixels, so that a false alarm
    elsewhere earns nothing; where it does not, from all that count. A mean over pixels hardly notices a speck that
    turns a good part away, nor a blowhole that is missed; this does, and sees nothing else.

    The first class is background and left out: every image shows it.

    Args:
        pixels: how many decide; a smaller defect is judged by all it has.
    """

    def __init__(self, *, pixels: int = 16) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(
        self, logits: Float[Tensor, "batch classes height width"], target: Int64[Tensor, "batch height width"]
    ) -> Float[Tensor, ""]:
        """Return the mean over images and classes, float32; images without a pixel that counts are left out."""
        with torch.autocast(logits.device.type, enabled=False):
            log_p = functional.log_softmax(logits.float(), dim=1)[:, 1:].flatten(2)
            log_odds = log_p - (-torch.expm1(log_p)).clamp(min=1e-6).log()
            labels = target.flatten(1)[:, None]
            known = labels != IGNORE_LABEL
            own = labels == torch.arange(1, logits.shape[1], device=logits.device)[None, :, None]
            shown = own.any(dim=2)
            counts = torch.where(shown[:, :, None], own, known)
            surest = log_odds.masked_fill(~counts, -torch.inf).topk(min(self.pixels, labels.shape[2])).values
            there = surest.isfinite()
            taken = there.sum(dim=2)
            score = surest.masked_fill(~there, 0.0).sum(dim=2) / taken.clamp(min=1)
            each = functional.binary_cross_entropy_with_logits(score, shown.float(), reduction="none")
            judged = taken > 0
            return (each * judged).sum() / judged.sum().clamp(min=1)


class SumOfLosses(nn.Module):
    """Weighted sum of named losses; a term of weight 0 is not computed."""

    def __init__(self, terms: Mapping[str, tuple[float, nn.Module]]) -> None:
        super().__init__()
        self.weights = {name: weight for name, (weight, _) in terms.items() if weight}
        self.losses = nn.ModuleDict({name: loss for name, (weight, loss) in terms.items() if weight})

    def forward(
        self, logits: Float[Tensor, "batch classes height width"], target: Int64[Tensor, "batch height width"]
    ) -> Float[Tensor, ""]:
        """Return the sum, float32."""
        parts = [self.weights[name] * loss(logits, target) for name, loss in self.losses.items()]
        return torch.stack(parts).sum()


def build_loss(
    terms: Mapping[str, float],
    *,
    class_count: int,
    class_weights: Sequence[float] | None = None,
    binary_beta: float | Literal["batch"] | None = None,
) -> SumOfLosses:
    """Return the sum of the named terms, for example {"balanced_ce": 1.0, "dice": 0.5}.

    `class_weights` and `binary_beta` go to the term balanced_ce; given both, `binary_beta` counts.

    Raises:
        ValueError: an unknown term, a negative weight, no term, or weights for another class count.
    """
    for name, weight in terms.items():
        if name not in LOSS_TERMS:
            nearest = difflib.get_close_matches(name, LOSS_TERMS, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"loss {name!r} is unknown; nearest is {nearest!r}, all are {', '.join(LOSS_TERMS)}"
            )
        if weight < 0:
            raise ValueError(f"loss {name!r} has the weight {weight}; expected 0 or more")
    if not any(terms.values()):
        raise ValueError('no loss has a weight; expected something like {"balanced_ce": 1.0, "dice": 0.5}')
    if class_weights is not None and len(class_weights) != class_count:
        raise ValueError(f"{len(class_weights)} class weights for {class_count} classes")
    if binary_beta is not None and class_count != 2:
        raise ValueError(f"binary_beta is for two classes, not {class_count}; give class_weights")
    parts: dict[str, tuple[float, nn.Module]] = {}
    for name, weight in terms.items():
        if not weight:
            continue
        if name == "balanced_ce":
            weights = class_weights if binary_beta is None else None
            parts[name] = (weight, BalancedCrossEntropy(class_weights=weights, binary_beta=binary_beta))
        elif name == "presence":
            parts[name] = (weight, PresenceLoss())
        else:
            parts[name] = (weight, OverlapLoss(name))
    return SumOfLosses(parts)


def median_frequency_weights(
    pixel_counts: Sequence[int],
    *,
    pixels_where_present: Sequence[int] | None = None,
    gamma: float = 0.5,
    clamp: tuple[float, float] = (0.1, 10.0),
) -> tuple[float, ...]:
    """(median frequency / frequency)^gamma for each class (arXiv 1411.4734, section 4.3; used by SegNet).

    Args:
        pixel_counts: pixels of each class in the training split.
        pixels_where_present: pixels of all images that hold the class, the denominator of its frequency; None
            takes all pixels, for counts without images.
        gamma: 1 is the paper; 0.25..0.5 softens it, since defects of 0.1 % would drown everything else.
        clamp: smallest and largest weight. A class without a pixel gets weight 1: it says nothing.

    Raises:
        ValueError: counts of different length, negative ones, or none above 0.
    """
    totals = (
        pixels_where_present if pixels_where_present is not None else [sum(pixel_counts)] * len(pixel_counts)
    )
    if len(totals) != len(pixel_counts):
        raise ValueError(f"{len(totals)} totals for {len(pixel_counts)} classes; expected as many")
    _check_counts(pixel_counts)
    frequencies = [count / total if count else 0.0 for count, total in zip(pixel_counts, totals, strict=True)]
    present = torch.tensor([frequency for frequency in frequencies if frequency], dtype=torch.float64)
    median = float(present.quantile(0.5))
    return _softened(
        [median / frequency if frequency else 1.0 for frequency in frequencies], gamma=gamma, clamp=clamp
    )


def effective_number_weights(
    counts: Sequence[int],
    *,
    beta: float = 0.999,
    gamma: float = 1.0,
    clamp: tuple[float, float] = (0.1, 10.0),
) -> tuple[float, ...]:
    """((1 - beta) / (1 - beta^n))^gamma, scaled to a mean of 1 before gamma (arXiv 1901.05555, equation 4).

    Args:
        counts: samples n of each class. Count images or defects: millions of pixels are no independent
            samples, and with them every class looks inexhaustible.
        beta: 0 weighs all alike, towards 1 by inverse frequency.
        gamma, clamp: as in `median_frequency_weights`.

    Raises:
        ValueError: beta outside [0, 1), negative counts, or none above 0.
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta {beta}; expected at least 0 and below 1, for example 0.999")
    _check_counts(counts)
    raw = [(1 - beta) / (1 - beta**count) if count else None for count in counts]
    present = [weight for weight in raw if weight is not None]
    mean = sum(present) / len(present)
    return _softened(
        [weight / mean if weight is not None else 1.0 for weight in raw], gamma=gamma, clamp=clamp
    )


def _check_counts(counts: Sequence[int]) -> None:
    if not any(counts) or min(counts) < 0:
        raise ValueError(
            f"counts {list(counts)}; expected none below 0 and one above; is the training split empty?"
        )


def _softened(weights: Sequence[float], *, gamma: float, clamp: tuple[float, float]) -> tuple[float, ...]:
    lowest, highest = clamp
    return tuple(min(max(weight**gamma, lowest), highest) for weight in weights)
