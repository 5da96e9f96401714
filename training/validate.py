"""Score the network in training on whole images of the validation split: which epoch is best?

The score that is reported in the end comes from the exported file (`training.evaluate`); this one only
compares epochs with each other, and costs a fraction of it.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from data.classes import ClassMap
from data.pixels import PixelStore
from model.padding import pad_to_multiple
from model.segmenter import Segmenter
from training.metrics import Confusion


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """loss: mean over images; mean_iou, mean_defect_iou: of plain argmax, None where nothing was to be found."""

    loss: float
    mean_iou: float | None
    mean_defect_iou: float | None

    def as_row(self) -> dict[str, float | None]:
        """For the log."""
        return asdict(self)


@torch.no_grad()
def validate(
    segmenter: Segmenter, *, store: PixelStore, class_map: ClassMap, loss: nn.Module, accelerator: Accelerator
) -> ValidationScores:
    """Scores of `segmenter` over all images in `store`, shared out among the processes.

    One image at a time, mirrored up to the stride and cropped back, as the predictor does it.
    """
    confusion = Confusion(len(class_map))
    loss_sum, images = 0.0, 0
    was_training = segmenter.training
    segmenter.eval()
    for position in range(accelerator.process_index, len(store), accelerator.num_processes):
        image, labels = store[position]
        padded = pad_to_multiple(image, segmenter.stride)
        pixels = torch.from_numpy(padded)[None].to(accelerator.device)
        with accelerator.autocast():
            logits = segmenter(pixels)[:, :, : labels.shape[0], : labels.shape[1]]
        truth = torch.from_numpy(labels).long()[None].to(accelerator.device)
        loss_sum += float(loss(logits.float(), truth))
        images += 1
        predicted = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
        confusion.add(labels, predicted)
    segmenter.train(was_training)
    totals = torch.tensor([loss_sum, float(images)], dtype=torch.float64, device=accelerator.device)
    counts = torch.from_numpy(confusion.counts).to(accelerator.device)
    totals, counts = accelerator.reduce(totals), accelerator.reduce(counts)
    confusion.counts[:] = np.asarray(counts.cpu())
    return ValidationScores(
        loss=float(totals[0] / totals[1]),
        mean_iou=confusion.mean_iou,
        mean_defect_iou=confusion.mean_defect_iou(class_map),
    )
