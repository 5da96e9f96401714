"""The ONNX graph of a network: traced with what follows the logits, tidied, and stamped with its contract."""

import warnings
from typing import Final

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from model.artifact import graph_digest
from model.contract import METADATA_KEY, Contract
from model.runtime import DECISION_WEIGHTS, IMAGE

#: What the exporter makes by itself; later ones pass through a converter and gain nothing here.
OPSET: Final = 20
_OUTPUTS: Final = ("labels", "confidence", "probabilities")
#: Slow on the CPU, slower in OpenVINO, unknown to GPU providers (docs/decisions/0002).
_FORBIDDEN_OPERATORS: Final = frozenset({"MaxUnpool"})


class ExportError(ValueError):
    """The network cannot become a model file; the message says why."""


def stamp(graph: onnx.ModelProto, *, contract: Contract) -> bytes:
    """The file's bytes: the graph, this contract's decision as the default of its input, and the contract.

    Equal arguments give equal bytes; the digest of the graph is written into the contract.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    del model.metadata_props[:]
    kept = [one for one in model.graph.initializer if one.name != DECISION_WEIGHTS]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    # A graph input with an initializer of its name is an input with a default.
    weights = np.array(contract.decision.weights, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, DECISION_WEIGHTS))
    digest = graph_digest(model.SerializeToString())
    entry = model.metadata_props.add()
    entry.key = METADATA_KEY
    entry.value = contract.model_copy(update={"graph_sha256": digest}).model_dump_json()
    contents: bytes = model.SerializeToString()
    return contents


def trace(network: nn.Module, *, stride: int, class_count: int) -> onnx.ModelProto:
    """Trace a network in its exportable form, on the CPU; batch, height and width stay open.

    Raises:
        ExportError: it holds an operator that is not served.
    """
    image = torch.zeros((2, 2 * stride, 3 * stride, 3), dtype=torch.uint8)
    # Sizes as multiples of the stride: else the network's own check of them would be an open question.
    height, width = (stride * torch.export.Dim(f"{axis}_strides", min=1) for axis in ("height", "width"))
    with warnings.catch_warnings():
        # Its own use of deprecated functions; a wrong graph is caught by the parity proof, not by warnings.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Served(network).eval(),
            (image, torch.ones(class_count)),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=[IMAGE, DECISION_WEIGHTS],
            output_names=list(_OUTPUTS),
            dynamic_shapes={
                "image": {0: torch.export.Dim("batch", min=1), 1: height, 2: width},
                "decision_weights": None,
            },
            verbose=False,
        )
    assert program is not None, "the dynamo exporter returns its program"
    graph = program.model_proto
    _tidy(graph)
    operators = {node.op_type for node in graph.graph.node}
    if forbidden := operators & _FORBIDDEN_OPERATORS:
        raise ExportError(
            f"the graph holds {', '.join(sorted(forbidden))}, which GPU runtimes do not know; "
            "pool and unpool with model.pooling"
        )
    assert all(one.data_location != onnx.TensorProto.EXTERNAL for one in graph.graph.initializer)
    return graph


def _tidy(model: onnx.ModelProto) -> None:
    """Name the open axes, and drop the exporter's notes: they hold this machine's paths and help nobody."""
    graph = model.graph
    axes = {
        IMAGE: ("batch", "height", "width", None),
        "labels": ("batch", "height", "width"),
        "confidence": ("batch", "height", "width"),
        "probabilities": ("batch", None, "height", "width"),
    }
    for value in (*graph.input, *graph.output):
        for dimension, axis in zip(value.type.tensor_type.shape.dim, axes.get(value.name, ()), strict=False):
            if axis is not None:
                dimension.dim_param = axis
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


class _Served(nn.Module):
    """The network with what follows it in the file: probabilities, the decision, labels, confidence.

    Written out instead of `softmax`: ONNX Runtime's Softmax over channels copies into another layout and
    back. This form took 1.2 ms where that took 5.2 (6 classes, 256 x 256, one thread).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, decision_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.network(image)
        odds = (logits - logits.amax(1, keepdim=True)).exp()
        total = odds.sum(1, keepdim=True)
        labels = (odds * decision_weights.view(1, -1, 1, 1)).argmax(1, keepdim=True)
        confidence = (odds.gather(1, labels) / total * 255.0).round().to(torch.uint8)
        return labels[:, 0].to(torch.uint8), confidence[:, 0], odds / total
