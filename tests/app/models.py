"""Model files that are good, blind, lying or clumsy, and stores full of them."""

from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from data.classes import ClassMap
from data.images import encode_png
from data.masks import encode_labels, read_labels
from model.artifact import graph_digest
from model.contract import METADATA_KEY, Decision
from model.store import ModelStore

from ..model.conftest import CLASSES, make_contract, make_model

FOUND: Final = {"sighted": {"scratch": 96, "pit": 196}, "blind": {"pit": 196}}
"""Defects of `part` by class, in px, and by model: 100 and 200 px that lose their 4 corners each."""
TRAP: Final = 7
"""A clumsy model fails at an image in which this is a pixel's red, green or blue."""


def sighted_model() -> bytes:
    """Finds red and blue."""
    return make_model(name="sighted")


def blind_model() -> bytes:
    """Gives scratches no weight, so that red passes for background, in its golden sample too."""
    golden = make_contract().golden
    labels = read_labels(golden.labels_png, class_count=len(CLASSES))
    labels[labels == 1] = 0
    golden = golden.model_copy(update={"labels_png": encode_labels(labels, CLASSES)})
    return make_model(name="blind", decision=Decision(weights=(1.0, 0.0, 1.0)), golden=golden)


def lying_model(name: str = "lying") -> bytes:
    """Says nothing of its golden sample that its contract says: its self-test fails."""
    contract = make_contract()
    labels = read_labels(contract.golden.labels_png, class_count=len(CLASSES))
    swapped = np.array([0, 2, 1], np.uint8)[labels]
    golden = contract.golden.model_copy(update={"labels_png": encode_labels(swapped, CLASSES)})
    return make_model(name=name, golden=golden)


def renamed_model() -> bytes:
    """Calls scratches dents."""
    classes = ClassMap.from_names(["background", "dent", "pit"])
    golden = make_contract().golden
    labels = read_labels(golden.labels_png, class_count=len(classes))
    golden = golden.model_copy(update={"labels_png": encode_labels(labels, classes)})
    return make_model(name="renamed", classes=classes, golden=golden)


def clumsy_model() -> bytes:
    """Passes its self-test, but its graph fails at images with a TRAP: it reads behind the end of a list."""
    contract = make_contract(name="clumsy")
    model = onnx.load_from_string(make_model(name="clumsy"))
    graph = model.graph
    (labels,) = (node for node in graph.node if list(node.output) == ["labels"])
    labels.output[0] = "plain_labels"
    constants = {"trap": np.array(TRAP, np.float32), "nothing": np.zeros(1, np.uint8)}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("Equal", ["pixels", "trap"], ["is_trap"]),
            helper.make_node("Cast", ["is_trap"], ["trap_flags"], to=TensorProto.INT32),
            helper.make_node("ReduceMax", ["trap_flags"], ["at_trap"], keepdims=0),
            helper.make_node("Gather", ["nothing", "at_trap"], ["added"]),
            helper.make_node("Add", ["plain_labels", "added"], ["labels"]),
        ]
    )
    del model.metadata_props[:]
    stamped = contract.model_copy(update={"graph_sha256": graph_digest(model.SerializeToString())})
    helper.set_model_props(model, {METADATA_KEY: stamped.model_dump_json()})
    contents: bytes = model.SerializeToString()
    return contents


def trap() -> bytes:
    """PNG, grey, 80 x 60 px, with one pixel that a clumsy model fails at."""
    image = np.full((60, 80, 3), 128, np.uint8)
    image[30, 40] = TRAP
    return encode_png(image)


def fill_store(root: Path, *contents: bytes) -> ModelStore:
    """A store in which each of these was promoted in turn: v1, v2, …"""
    root.mkdir(exist_ok=True)
    store = ModelStore(root)
    for content in contents:
        promote(store, content)
    return store


def promote(store: ModelStore, content: bytes) -> None:
    """Put a model in, and make it champion."""
    with NamedTemporaryFile(suffix=".onnx") as file:
        file.write(content)
        file.flush()
        version = store.add(Path(file.name), by="a test")
    store.promote(version, by="a test", reason="it is due", expected_champion=store.champion)


def block_writing(root: Path) -> None:
    """Make a store one that can be read only, for root as well: there is no taking its lock."""
    lock = root / "history.jsonl.lock"
    lock.unlink()
    lock.mkdir()
