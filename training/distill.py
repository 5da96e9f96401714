"""Learning without forgetting: the candidate's answers stay near the champion's (arXiv 1606.09282).

It needs no old images, only the champion, which is asked about the very crops that the candidate learns from.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from data.classes import IGNORE_LABEL
from model.segmenter import Segmenter


class Distillation:
    """weight · divergence of a candidate from a champion over the classes that both know.

    New classes have no part in it: where the champion sees background and the truth is a new class, the candidate is
    asked how it tells the old classes apart there, and not kept from the new one.
    """

    def __init__(
        self,
        champion: Segmenter,
        *,
        champion_ids: Sequence[int],
        own_ids: Sequence[int],
        weight: float,
        temperature: float,
    ) -> None:
        """Freeze the champion. `champion_ids` and `own_ids`: the classes that both know, as each numbers them."""
        self._champion = champion.eval().requires_grad_(False)
        self._champion_ids, self._own_ids = list(champion_ids), list(own_ids)
        self._weight = weight
        self._temperature = temperature

    def __call__(self, images: Tensor, *, labels: Tensor, logits: Tensor) -> Tensor:
        """Float32 [], for images uint8 [batch, height, width, 3], labels int64 [batch, height, width] and the
        candidate's logits [batch, classes, height, width]. The champion answers in the caller's precision."""
        with torch.no_grad():
            said = self._champion(images)
        return self._weight * divergence(
            logits[:, self._own_ids],
            champion_logits=said[:, self._champion_ids],
            known=labels != IGNORE_LABEL,
            temperature=self._temperature,
        )


def divergence(logits: Tensor, *, champion_logits: Tensor, known: Tensor, temperature: float) -> Tensor:
    """T² · KL(champion ‖ candidate) of the answers softened by T, mean over known pixels, float32 [].

    T² keeps the gradient as large as at T = 1 (arXiv 1503.02531, section 2). Without a known pixel it is 0.

    Args:
        logits, champion_logits: [batch, classes, height, width], the same classes in the same order.
        known: bool [batch, height, width].
        temperature: T, above 0; the larger, the more the unlikely classes count.
    """
    with torch.autocast(logits.device.type, enabled=False):
        own = functional.log_softmax(logits.float() / temperature, dim=1)
        theirs = functional.log_softmax(champion_logits.float() / temperature, dim=1)
        per_pixel = functional.kl_div(own, theirs, log_target=True, reduction="none").sum(dim=1)
        return temperature**2 * (per_pixel * known).sum() / known.sum().clamp(min=1)
