"""By how much two models differ on the same images, and how sure that is: a paired bootstrap over whole parts.

Images of one part resemble each other, so parts are drawn, not images (the cluster bootstrap: Field & Welsh,
Journal of the Royal Statistical Society B 69, 2007); both models are judged on the same draw, so that what makes a
part hard for both cancels. The interval is the percentile interval (Efron & Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13). It knows no other parts than those it was given, and is too sure where few differ:

* Where every draw gives the same difference (both models right on all of n parts) it has no width. It is then
  opened by the rule of three, -log(0.025) / n to both sides: what so many parts could not have shown (Hanley &
  Lippman-Hand, JAMA 249, 1983; 3.7 / n, since each of two sides may err in 2.5 % of all cases).
* Four parts that got worse and none that got better put 0 outside of it, though a coin falls so one time in eight.
  So an exact test of the parts stands beside it: `Comparison.p_value`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Share of all cases in which the interval should hold the true difference.
LEVEL: Final = 0.95
RESAMPLES: Final = 10_000
#: Draws held in memory at once, times parts: 8 bytes each.
_CELLS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """A rate of two models over the same images, as float64 [images] each: `part` of `whole` images or defects.

    `whole` is a matter of the truth, and so the same for both: NG images, or true scratches.
    """

    champion: NDArray[np.float64]
    candidate: NDArray[np.float64]
    whole: NDArray[np.float64]

    def by_part(self, part_of: NDArray[np.intp], *, parts: int) -> "PairedCounts":
        """The same counts summed by part, float64 [parts]; `part_of`: each image's part, [images]."""
        champion, candidate, whole = (
            np.bincount(part_of, counts, parts).astype(np.float64)
            for counts in (self.champion, self.candidate, self.whole)
        )
        return PairedCounts(champion, candidate, whole)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the images say of one rate.

    Attributes:
        champion, candidate: the two rates, 0 to 1.
        low, high: 95 % interval of candidate - champion, -1 to 1.
        parts: how many parts the rate was measured on.
        raised, lowered: on how many of them the candidate's count is higher, and lower.
    """

    champion: float
    candidate: float
    low: float
    high: float
    parts: int
    raised: int
    lowered: int

    @property
    def p_value(self) -> float:
        """How often parts that favour no model would be at least as one-sided; see `mid_p`."""
        return mid_p(self.raised, self.lowered)


def compare(
    rates: Mapping[str, PairedCounts], *, parts: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Comparison | None]:
    """Each rate of both models, and the interval of its difference; None where its `whole` is 0.

    Args:
        rates: by name.
        parts: which part each image shows, [images]; an image of its own is a part of its own.
        resamples: how many times as many parts as there are, are drawn with replacement.
        seed: the same draws give the same interval.
    """
    if not parts:
        return dict.fromkeys(rates)
    names, part_of = np.unique(np.asarray(parts), return_inverse=True)
    summed = {name: one.by_part(part_of, parts=len(names)) for name, one in rates.items()}
    drawn = resampled_differences(list(summed.values()), resamples=resamples, seed=seed)
    return {name: _comparison(one, drawn[at]) for at, (name, one) in enumerate(summed.items())}


def resampled_differences(rates: Sequence[PairedCounts], *, resamples: int, seed: int) -> NDArray[np.float64]:
    """The difference of each rate in each draw of the parts, float64 [rates, resamples]; counts are by part.

    NaN where a draw holds nothing to measure the rate on.
    """
    rng = np.random.default_rng(seed)
    parts = len(rates[0].whole)
    differences = np.stack([one.candidate - one.champion for one in rates], axis=1)
    wholes = np.stack([one.whole for one in rates], axis=1)
    most_draws = max(1, _CELLS // parts)
    drawn = []
    for start in range(0, resamples, most_draws):
        draws = min(most_draws, resamples - start)
        # How often each part is in each draw: counted once, it weighs every rate of both models alike.
        chosen = rng.integers(parts, size=(draws, parts)) + np.arange(draws)[:, None] * parts
        times = np.bincount(chosen.ravel(), minlength=draws * parts).reshape(draws, parts).astype(np.float64)
        with np.errstate(invalid="ignore"):
            drawn.append((times @ differences) / (times @ wholes))
    return np.concatenate(drawn).T


def mid_p(one: int, other: int) -> float:
    """Two-sided mid-p value of McNemar's exact test: parts that changed one way against the other, 0 to 1.

    It keeps its level in practice and finds more than the plain exact test (Fagerland, Lydersen & Laake, BMC Medical
    Research Methodology 13:91, 2013). Five parts against none give 0.031, four 0.0625.
    """
    changed = one + other
    at_least = sum(math.comb(changed, count) for count in range(min(one, other) + 1))
    # In whole numbers to the end: a thousand parts differ in more ways than a float can count.
    share: float = (2 * at_least - math.comb(changed, one)) / 2**changed
    return share


def _comparison(rate: PairedCounts, drawn: NDArray[np.float64]) -> Comparison | None:
    """One rate by part, and its difference in each draw."""
    whole = rate.whole.sum()
    if not whole:
        return None
    tail = (1 - LEVEL) / 2
    low, high = (float(bound) for bound in np.nanquantile(drawn, (tail, 1 - tail)))
    parts = int(np.count_nonzero(rate.whole))
    if low == high:
        unseen = -math.log(tail) / parts
        low, high = max(-1.0, low - unseen), min(1.0, high + unseen)
    return Comparison(
        champion=float(rate.champion.sum() / whole),
        candidate=float(rate.candidate.sum() / whole),
        low=low,
        high=high,
        parts=parts,
        raised=int(np.count_nonzero(rate.candidate > rate.champion)),
        lowered=int(np.count_nonzero(rate.candidate < rate.champion)),
    )
