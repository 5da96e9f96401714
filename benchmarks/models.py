"""The networks that are measured: our default one and its model file; never trained, as speed depends on no weight."""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from data.synthetic import SYNTHETIC_CLASSES
from model.artifact import Artifact
from model.contract import Decision, Provenance
from model.segmenter import Segmenter, build
from training.export import export_artifact

#: Of the pixels that an untrained network would call defects, at random, so large a share is left.
_DEFECT_SHARE: Final = 1e-4


def make_segmenter(images: NDArray[np.uint8], *, quick: bool) -> Segmenter:
    """The default network, its batch norms set by a look at `images`, uint8 [batch, height, width, 3]."""
    torch.manual_seed(0)
    options = {"widths": (8, 8)} if quick else {}
    segmenter = build("residual_segnet", class_count=len(SYNTHETIC_CLASSES), options=options)
    segmenter.to(memory_format=torch.channels_last).train()
    with torch.no_grad():
        for _ in range(20):
            segmenter(torch.from_numpy(images))
    return segmenter.eval()


def export(
    segmenter: Segmenter,
    images: NDArray[np.uint8],
    *,
    out: Path,
    tile_px: int,
    halo_px: int,
    decision: Decision | None = None,
) -> Artifact:
    """The file that would serve, of a run that never was."""
    provenance = Provenance(
        run="benchmark", git="", config_sha256="", data_sha256="", seed=0, versions={}, machine=""
    )
    return export_artifact(
        segmenter,
        out=out,
        name="benchmark",
        classes=SYNTHETIC_CLASSES,
        tile_px=tile_px,
        halo_px=halo_px,
        provenance=provenance,
        validation_images=list(images),
        decision=decision,
    )


def choose_calm_decision(segmenter: Segmenter, images: NDArray[np.uint8]) -> Decision:
    """Weights with which one pixel in ten thousand of `images` is a defect, as on parts; untrained it would be most."""
    with torch.inference_mode():
        probabilities = segmenter(torch.from_numpy(images)).softmax(1)
    ratios = (probabilities[:, 1:].amax(1) / probabilities[:, 0]).numpy()
    weight = 1.0 / float(np.quantile(ratios, 1.0 - _DEFECT_SHARE))
    return Decision(weights=(1.0, *[weight] * (len(SYNTHETIC_CLASSES) - 1)))
