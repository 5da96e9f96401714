"""Losses on numbers worked by hand, and on the batches that make other people's losses NaN."""

import math

import pytest
import torch
from torch import Tensor

from data.classes import IGNORE_LABEL
from model.losses import (
    LOSS_TERMS,
    BalancedCrossEntropy,
    PresenceLoss,
    build_loss,
    effective_number_weights,
    median_frequency_weights,
)


def logits_of(probabilities: list[list[float]]) -> Tensor:
    """One row of pixels, each with its class probabilities, as logits [1, classes, 1, pixels]."""
    return torch.tensor(probabilities).T[None, :, None, :].log()


def row(*labels: int) -> Tensor:
    return torch.tensor([[labels]])


PIXELS = [[0.8, 0.2], [0.5, 0.5], [0.9, 0.1], [0.4, 0.6]]
LABELS = (0, 0, 0, 1)


def test_a_given_beta_weighs_defects_by_beta_and_the_rest_by_what_is_left() -> None:
    loss = BalancedCrossEntropy(binary_beta=0.7)(logits_of(PIXELS), row(*LABELS))
    background = math.log(0.8) + math.log(0.5) + math.log(0.9)
    assert float(loss) == pytest.approx(-(0.7 * math.log(0.6) + 0.3 * background) / 4, rel=1e-5)


def test_beta_of_the_batch_is_the_share_of_background() -> None:
    of_batch = BalancedCrossEntropy(binary_beta="batch")(logits_of(PIXELS), row(*LABELS))
    given = BalancedCrossEntropy(binary_beta=0.75)(logits_of(PIXELS), row(*LABELS))
    assert float(of_batch) == pytest.approx(float(given), rel=1e-6)


def test_ignored_pixels_count_neither_in_beta_nor_in_the_mean() -> None:
    loss = BalancedCrossEntropy(binary_beta="batch")
    with_ignored = loss(logits_of([*PIXELS, [0.01, 0.99]]), row(*LABELS, IGNORE_LABEL))
    assert float(with_ignored) == pytest.approx(float(loss(logits_of(PIXELS), row(*LABELS))), rel=1e-6)


def test_a_batch_without_defects_still_teaches_background() -> None:
    loss = BalancedCrossEntropy(binary_beta="batch")(logits_of(PIXELS), row(0, 0, 0, 0))
    assert float(loss) > 0


def test_class_weights_scale_each_pixel_and_the_mean_is_over_pixels() -> None:
    pixels = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]
    loss = BalancedCrossEntropy(class_weights=[1.0, 2.0, 5.0])(logits_of(pixels), row(0, 1, 2))
    expected = -(math.log(0.7) + 2 * math.log(0.8) + 5 * math.log(0.4)) / 3
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_dice_is_one_minus_twice_the_overlap_over_the_sum() -> None:
    loss = build_loss({"dice": 1.0}, class_count=2)(logits_of(PIXELS), row(*LABELS))
    background = 1 - 2 * 2.2 / (3 + 2.6)
    defect = 1 - 2 * 0.6 / (1 + 1.4)
    assert float(loss) == pytest.approx((background + defect) / 2, rel=1e-5)


def test_terms_add_up_by_their_weights() -> None:
    logits, target = logits_of(PIXELS), row(*LABELS)
    one = {term: float(build_loss({term: 1.0}, class_count=2)(logits, target)) for term in LOSS_TERMS}
    weights = {"balanced_ce": 1.0, "dice": 0.5, "lovasz": 0.25, "focal": 2.0, "presence": 0.1}
    together = build_loss(weights, class_count=2)(logits, target)
    assert float(together) == pytest.approx(sum(weights[term] * one[term] for term in one), rel=1e-5)


def test_presence_judges_a_shown_class_by_its_own_surest_pixels_and_another_by_all() -> None:
    pixels = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.2, 0.6, 0.2]]
    loss = PresenceLoss(pixels=2)(logits_of(pixels), row(0, 0, 1, 1))

    def log_odds(p: float) -> float:
        return math.log(p / (1 - p))

    shown = (log_odds(0.3) + log_odds(0.6)) / 2  # the pixel of 0.8 is no part of the class
    absent = (log_odds(0.4) + log_odds(0.2)) / 2
    expected = (math.log1p(math.exp(-shown)) + math.log1p(math.exp(absent))) / 2
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_presence_hears_of_a_speck_as_loudly_as_of_a_large_false_alarm() -> None:
    target = torch.zeros(1, 16, 16, dtype=torch.int64)
    speck, patch = torch.zeros(2, 1, 2, 16, 16)
    speck[:, 1] = patch[:, 1] = -6.0
    speck[:, 1, :4, :4] = patch[:, 1, :, :8] = 3.0
    assert float(PresenceLoss()(speck, target)) == pytest.approx(math.log1p(math.exp(3.0)), rel=1e-5)
    assert float(PresenceLoss()(patch, target)) == pytest.approx(math.log1p(math.exp(3.0)), rel=1e-5)


def test_presence_leaves_out_an_image_without_a_pixel_that_counts() -> None:
    logits = torch.cat((logits_of(PIXELS), logits_of(PIXELS)))
    target = torch.cat((row(*LABELS), row(*[IGNORE_LABEL] * 4)))
    both, alone = PresenceLoss()(logits, target), PresenceLoss()(logits[:1], target[:1])
    assert float(both) == pytest.approx(float(alone), rel=1e-6)


@pytest.mark.parametrize("term", LOSS_TERMS)
@pytest.mark.parametrize("binary_beta", [None, "batch"])
def test_a_batch_of_ignored_pixels_gives_zero_with_a_graph(term: str, binary_beta: str | None) -> None:
    logits = torch.randn(2, 2, 4, 4, requires_grad=True)
    loss = build_loss({term: 1.0}, class_count=2, binary_beta="batch" if binary_beta else None)(
        logits, torch.full((2, 4, 4), IGNORE_LABEL)
    )
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("term", LOSS_TERMS)
@pytest.mark.parametrize(
    "labels",
    [
        pytest.param((0, 0, 0, 0), id="only background"),
        pytest.param((2, 2, IGNORE_LABEL, 2), id="only one defect class and ignored"),
        pytest.param((0, 1, 2, IGNORE_LABEL), id="all classes and ignored"),
    ],
)
def test_every_term_is_finite_and_learns_nothing_from_ignored_pixels(
    term: str, labels: tuple[int, ...]
) -> None:
    logits = torch.randn(1, 3, 1, 4, requires_grad=True)
    loss = build_loss({term: 1.0}, class_count=3, class_weights=[1.0, 2.0, 3.0])(logits, row(*labels))
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    ignored = torch.tensor(labels) == IGNORE_LABEL
    assert not logits.grad[0, :, 0, ignored].any()
    assert bool(logits.grad[0, :, 0, ~ignored].any())


@pytest.mark.parametrize("term", LOSS_TERMS)
def test_half_precision_logits_are_computed_in_float32(term: str) -> None:
    """In float16 a sum of 512 x 512 ones is infinite, and Dice with it."""
    logits = torch.zeros(1, 2, 512, 512, dtype=torch.float16)
    target = torch.zeros(1, 512, 512, dtype=torch.int64)
    target[0, :100] = 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = build_loss({term: 1.0}, class_count=2)(logits, target)
    assert loss.dtype == torch.float32
    assert math.isfinite(float(loss))


def test_beta_comes_before_class_weights_when_both_are_given() -> None:
    logits, target = logits_of(PIXELS), row(*LABELS)
    both = build_loss({"balanced_ce": 1.0}, class_count=2, class_weights=[9.0, 9.0], binary_beta=0.7)
    assert float(both(logits, target)) == float(BalancedCrossEntropy(binary_beta=0.7)(logits, target))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"terms": {"dise": 1.0}}, "nearest is 'dice'", id="unknown term"),
        pytest.param({"terms": {"dice": -1.0}}, "expected 0 or more", id="negative weight"),
        pytest.param({"terms": {"dice": 0.0}}, "no loss has a weight", id="nothing left"),
        pytest.param({"terms": {"dice": 1.0}, "class_weights": [1.0]}, "1 class weights for 3", id="weights"),
        pytest.param({"terms": {"balanced_ce": 1.0}, "binary_beta": 0.5}, "two classes", id="beta for three"),
    ],
)
def test_what_makes_no_loss_is_said(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_loss(class_count=3, **arguments)  # type: ignore[arg-type]


def test_beta_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a number in 0\.\.1"):
        BalancedCrossEntropy(binary_beta=1.5)


def test_median_frequency_weights_by_hand() -> None:
    # Frequencies 900/1000, 50/500, 10/250 are 0.9, 0.1, 0.04; the median is 0.1.
    weights = median_frequency_weights([900, 50, 10], pixels_where_present=[1000, 500, 250], gamma=1.0)
    assert weights == pytest.approx((1 / 9, 1.0, 2.5))
    softened = median_frequency_weights([900, 50, 10], pixels_where_present=[1000, 500, 250], gamma=0.5)
    assert softened == pytest.approx((1 / 3, 1.0, math.sqrt(2.5)))


def test_weights_stop_at_the_clamp_and_an_absent_class_weighs_one() -> None:
    weights = median_frequency_weights([10**6, 10**3, 1, 0], gamma=1.0, clamp=(0.5, 4.0))
    assert weights == (0.5, 1.0, 4.0, 1.0)


def test_effective_number_weights_by_hand() -> None:
    # beta 0.5: n = 1 gives 0.5 / 0.5 = 1, n = 2 gives 0.5 / 0.75 = 2/3; their mean is 5/6.
    assert effective_number_weights([1, 2], beta=0.5) == pytest.approx((1.2, 0.8))
    assert effective_number_weights([3, 300], beta=0.0) == (1.0, 1.0)


@pytest.mark.parametrize(
    "counts", [pytest.param([0, 0], id="no pixel at all"), pytest.param([5, -1], id="negative")]
)
def test_counts_that_say_nothing_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="expected none below 0"):
        median_frequency_weights(counts)
    with pytest.raises(ValueError, match="expected none below 0"):
        effective_number_weights(counts)
