"""A model file small enough to know by heart: red pixels are scratches, blue ones pits, the rest background.

Written with the onnx package alone, so that the rooms that read model files are tested without the room that
writes them.
"""

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from data.classes import ClassMap
from data.images import encode_png
from data.masks import encode_labels
from model.artifact import graph_digest
from model.contract import METADATA_KEY, Contract, Decision, GoldenSample, Parity, Provenance

CLASSES = ClassMap.from_names(["background", "scratch", "pit"])
STRIDE = 8


def make_contract(**changes: Any) -> Contract:
    """A contract that fits `make_model`; its golden image is grey with a red and a blue square."""
    image = np.full((40, 48, 3), 128, np.uint8)
    image[4:20, 4:20] = (255, 0, 0)
    image[24:36, 24:44] = (0, 0, 255)
    labels = np.zeros((40, 48), np.uint8)
    labels[4:20, 4:20] = 1
    labels[24:36, 24:44] = 2
    # A pixel counts when more than half of the nine around it do: corners, with four, do not.
    labels[[4, 4, 19, 19, 24, 24, 35, 35], [4, 19, 4, 19, 24, 43, 24, 43]] = 0
    facts: dict[str, Any] = {
        "name": "colours",
        "created_at": datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC),
        "classes": CLASSES,
        "stride": STRIDE,
        "tile_px": 64,
        "halo_px": 8,
        "decision": Decision.neutral(len(CLASSES)),
        "scores": {"test": {"images": 12, "mean_iou": 0.875, "classes": {"pit": {"iou": None}}}},
        "provenance": Provenance(
            run="by hand",
            git="0" * 40,
            config_sha256="1" * 64,
            data_sha256="2" * 64,
            seed=0,
            versions={"onnx": "1"},
            machine="a desk",
        ),
        "parity": Parity(images=1, pixels=1920, label_agreement=1.0, max_probability_error=0.0),
        "golden": GoldenSample(image_png=encode_png(image), labels_png=encode_labels(labels, CLASSES)),
    }
    return Contract.model_validate(facts | changes)


def make_graph() -> onnx.ModelProto:
    """The graph without its decision. A logit is a 3 x 3 mean of colour, so tiles need their halo."""
    per_class = np.array([[0, 0, 0], [1, -0.5, -0.5], [-0.5, -0.5, 1]], np.float32)
    kernel = np.repeat(np.repeat(per_class[:, :, None, None], 3, axis=2), 3, axis=3) / 9 / 16
    constants: dict[str, np.ndarray[Any, Any]] = {
        "kernel": kernel.astype(np.float32),
        "bias": np.array([0, -8, -8], np.float32),
        "per_class": np.array([1, -1, 1, 1], np.int64),
        "scale": np.array(255, np.float32),
        "one": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel", "bias"], ["logits"], pads=[1, 1, 1, 1]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("Reshape", ["decision_weights", "per_class"], ["weights"]),
        helper.make_node("Mul", ["probabilities", "weights"], ["weighted"]),
        helper.make_node("ArgMax", ["weighted"], ["at"], axis=1, keepdims=1),
        helper.make_node("Squeeze", ["at", "one"], ["winner"]),
        helper.make_node("Cast", ["winner"], ["labels"], to=TensorProto.UINT8),
        helper.make_node("GatherElements", ["probabilities", "at"], ["sure"], axis=1),
        helper.make_node("Squeeze", ["sure", "one"], ["surer"]),
        helper.make_node("Mul", ["surer", "scale"], ["surest"]),
        helper.make_node("Round", ["surest"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["confidence"], to=TensorProto.UINT8),
    ]
    planar = ["batch", "height", "width"]
    graph = helper.make_graph(
        nodes,
        "colours",
        inputs=[
            helper.make_tensor_value_info("image", TensorProto.UINT8, [*planar, 3]),
            helper.make_tensor_value_info("decision_weights", TensorProto.FLOAT, [3]),
        ],
        outputs=[
            helper.make_tensor_value_info("labels", TensorProto.UINT8, planar),
            helper.make_tensor_value_info("confidence", TensorProto.UINT8, planar),
            helper.make_tensor_value_info(
                "probabilities", TensorProto.FLOAT, ["batch", 3, "height", "width"]
            ),
        ],
        initializer=[numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def make_model(**changes: Any) -> bytes:
    """The model file; `changes` are made to its contract."""
    contract = make_contract(**changes)
    model = make_graph()
    weights = np.array(contract.decision.weights, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "decision_weights"))
    stamped = contract.model_copy(update={"graph_sha256": graph_digest(model.SerializeToString())})
    helper.set_model_props(model, {METADATA_KEY: stamped.model_dump_json()})
    contents: bytes = model.SerializeToString()
    return contents


@pytest.fixture(scope="session")
def color_contract() -> Callable[..., Contract]:
    """`make_contract`."""
    return make_contract


@pytest.fixture(scope="session")
def color_model() -> Callable[..., bytes]:
    """`make_model`."""
    return make_model


@pytest.fixture(scope="session")
def color_graph() -> Callable[[], onnx.ModelProto]:
    """`make_graph`."""
    return make_graph
