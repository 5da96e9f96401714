"""The networks that are measured: our default one and its model file; never trained, as speed depends on no weight."""

import datetime
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from data.images import encode_png
from data.synthetic import SYNTHETIC_CLASSES
from model.artifact import Artifact
from model.contract import Contract, Decision, GoldenSample, Parity, Provenance
from model.predictor import Predictor
from model.runtime import DECISION_WEIGHTS, IMAGE
from model.segmenter import Segmenter, build
from training.export import export_artifact
from training.golden import judge_golden
from training.onnx_graph import OPSET, stamp

#: Of the pixels that an untrained network would call defects, at random, so large a share is left.
_DEFECT_SHARE: Final = 1e-4
# Of files that opset 20 came with; a newer one than the runtime knows is refused.
_IR_VERSION: Final = 9
_PROVENANCE: Final = Provenance(
    run="benchmark", git="", config_sha256="", data_sha256="", seed=0, versions={}, machine=""
)


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
    return export_artifact(
        segmenter,
        out=out,
        name="benchmark",
        classes=SYNTHETIC_CLASSES,
        tile_px=tile_px,
        halo_px=halo_px,
        provenance=_PROVENANCE,
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


def export_empty(image: NDArray[np.uint8], *, out: Path) -> None:
    """A file that finds nothing, at no cost: all that is left of a request's time is everything but the network.

    `image`, uint8 [height, width, 3] with sides a multiple of 32, is its golden sample and the size of its tiles.
    """
    contract = Contract(
        name="empty",
        created_at=datetime.datetime.now(datetime.UTC),
        classes=SYNTHETIC_CLASSES,
        stride=32,
        tile_px=max(image.shape),
        halo_px=0,
        decision=Decision.neutral(len(SYNTHETIC_CLASSES)),
        scores={},
        provenance=_PROVENANCE,
        parity=Parity(images=1, pixels=1, label_agreement=1.0, max_probability_error=0.0),
        golden=GoldenSample(image_png=b"", labels_png=b""),
    )
    graph = _empty_graph()
    predictor = Predictor.open(stamp(graph, contract=contract), device="cpu")
    golden = judge_golden(predictor, image_png=encode_png(image))
    out.write_bytes(stamp(graph, contract=contract.model_copy(update={"golden": golden})))


def _empty_graph() -> onnx.ModelProto:
    """Every pixel is background, for sure. The probabilities, which nobody asks for, have one class."""
    tensor, node = onnx.helper.make_tensor, onnx.helper.make_node
    value_info, types = onnx.helper.make_tensor_value_info, onnx.TensorProto
    planes = ["batch", "height", "width"]

    def fill(size: str, output: str, *, kind: int, value: float) -> onnx.NodeProto:
        return node("ConstantOfShape", [size], [output], value=tensor("value", kind, [1], [value]))

    graph = onnx.helper.make_graph(
        [
            node("Shape", [IMAGE], ["size"], end=3),
            fill("size", "labels", kind=types.UINT8, value=0),
            fill("size", "confidence", kind=types.UINT8, value=255),
            fill("size", "certain", kind=types.FLOAT, value=1.0),
            node("Unsqueeze", ["certain", "axis"], ["probabilities"]),
        ],
        "empty",
        [
            value_info(IMAGE, types.UINT8, [*planes, 3]),
            value_info(DECISION_WEIGHTS, types.FLOAT, [len(SYNTHETIC_CLASSES)]),
        ],
        [
            value_info("labels", types.UINT8, planes),
            value_info("confidence", types.UINT8, planes),
            value_info("probabilities", types.FLOAT, ["batch", 1, "height", "width"]),
        ],
        [tensor("axis", types.INT64, [1], [1])],
    )
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION
    )
