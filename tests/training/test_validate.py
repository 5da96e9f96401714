"""Validation scores whole images of any size as the predictor would, and counts no ignored pixel."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from data.classes import ClassMap
from data.images import encode_png
from data.manifest import Sample
from data.masks import encode_labels
from data.pixels import PixelStore
from model.segmenter import Segmenter
from training.validate import validate

pytestmark = pytest.mark.usefixtures("fresh_torch")
CLASSES = ClassMap.from_names(["background", "scratch"])


class RedIsScratch(nn.Module):
    """Logit of scratch 2 where red is above the middle, else -2; that of background 0."""

    def forward(self, x: Tensor) -> Tensor:
        scratch = torch.where(x[:, :1] > 0, 2.0, -2.0)
        return torch.cat([torch.zeros_like(scratch), scratch], dim=1)


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def store_of(root: Path, *pairs: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> PixelStore:
    """Pairs of (where red is 255, labels)."""
    samples = []
    for number, (red, labels) in enumerate(pairs):
        image, mask = root / f"{number}.png", root / f"{number}-mask.png"
        image.write_bytes(encode_png(np.dstack([red * 255, red * 0, red * 0]).astype(np.uint8)))
        mask.write_bytes(encode_labels(labels, CLASSES))
        samples.append(Sample(str(number), image, mask, "val"))
    return PixelStore(samples, class_map=CLASSES, cache_mb=1)


def test_scores_of_images_of_odd_sizes_by_hand(tmp_path: Path, accelerator: Accelerator) -> None:
    found, truth = np.zeros((10, 13), np.uint8), np.zeros((10, 13), np.uint8)
    found[0, :6] = 1  # 6 found, of which 4 are right; 2 of the 6 true ones are missed
    truth[0, 2:8] = 1
    truth[9] = 255
    clean = np.zeros((8, 3), np.uint8)
    segmenter = Segmenter(RedIsScratch(), class_count=2, stride=8)
    segmenter.train()
    scores = validate(
        segmenter,
        store=store_of(tmp_path, (found, truth), (clean, clean)),
        class_map=CLASSES,
        loss=nn.CrossEntropyLoss(ignore_index=255),
        accelerator=accelerator,
    )
    assert segmenter.training
    background = (117 - 8 + 24) / (117 - 4 + 24)
    assert scores.mean_defect_iou == pytest.approx(4 / 8)
    assert scores.mean_iou == pytest.approx((4 / 8 + background) / 2)
    right, wrong = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    # The mean over images, each the mean over its pixels.
    assert scores.loss == pytest.approx(((113 * right + 4 * wrong) / 117 + right) / 2, rel=1e-5)


def test_where_there_is_nothing_to_find_the_defect_score_is_unknown(
    tmp_path: Path, accelerator: Accelerator
) -> None:
    clean = np.zeros((8, 8), np.uint8)
    scores = validate(
        Segmenter(RedIsScratch(), class_count=2, stride=8),
        store=store_of(tmp_path, (clean, clean)),
        class_map=CLASSES,
        loss=nn.CrossEntropyLoss(ignore_index=255),
        accelerator=accelerator,
    )
    assert (scores.mean_defect_iou, scores.mean_iou) == (None, 1.0)
    assert scores.as_row() == {"loss": scores.loss, "mean_iou": 1.0, "mean_defect_iou": None}
