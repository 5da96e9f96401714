"""A size that keeps coming gets a graph of its own, a few sizes at a time, and the numbers stay the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")

from model import openvino_graph
from model.openvino_graph import OpenVinoGraph

MakeModel = Callable[..., bytes]
WANT = ("labels", "confidence", "probabilities")
ANY_SIZE = "[?,?,?,3]"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The image shapes that graphs are compiled for, in order."""
    shapes: list[str] = []
    compile_as_ever = OpenVinoGraph._compile

    def watch(graph: OpenVinoGraph, model: Any) -> Any:
        shapes.append(model.input("image").get_partial_shape().to_string())
        return compile_as_ever(graph, model)

    monkeypatch.setattr(OpenVinoGraph, "_compile", watch)
    monkeypatch.setattr(openvino_graph, "_CALLS_BEFORE_COMPILING", 3)
    monkeypatch.setattr(openvino_graph, "_MOST_SIZES", 2)
    return shapes


@pytest.fixture
def graph(compiled: list[str], color_model: MakeModel) -> OpenVinoGraph:
    """Compiles for a size when it comes the third time, and keeps two."""
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return OpenVinoGraph(color_model(), settings=settings)


def noise(height: int, width: int, *, batch: int = 1) -> np.ndarray:
    """uint8 [batch, height, width, 3]."""
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8)


def test_a_size_is_compiled_for_once_and_only_when_it_keeps_coming(
    graph: OpenVinoGraph, compiled: list[str]
) -> None:
    for side_px in (8, 16, 24, 32, 40):
        graph.run(noise(side_px, 8), want=WANT)
    graph.run(noise(8, 8), want=WANT)
    assert compiled == [ANY_SIZE]
    for _ in range(5):
        graph.run(noise(8, 8), want=WANT)
    assert compiled == [ANY_SIZE, "[1,8,8,3]"]


def test_a_graph_of_one_size_says_what_the_graph_of_any_size_says(
    graph: OpenVinoGraph, compiled: list[str]
) -> None:
    pixels = noise(16, 24, batch=2) // 8
    pixels[0, :, 12:, 0] += 200  # red: scratches
    pixels[1, :, 12:, 2] += 200  # blue: pits
    before, _, after = (graph.run(pixels, want=WANT) for _ in range(3))
    assert compiled == [ANY_SIZE, "[2,16,24,3]"]
    assert before["labels"].shape == (2, 16, 24)
    assert np.unique(before["labels"]).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(after["labels"], before["labels"])
    np.testing.assert_allclose(after["probabilities"], before["probabilities"], atol=1e-6)
    np.testing.assert_allclose(after["confidence"].astype(int), before["confidence"].astype(int), atol=1)


def test_the_oldest_of_too_many_sizes_makes_room_and_has_to_earn_its_place_again(
    graph: OpenVinoGraph, compiled: list[str]
) -> None:
    for width in (8, 16, 24):
        for _ in range(3):
            graph.run(noise(8, width), want=WANT)
    assert compiled == [ANY_SIZE, "[1,8,8,3]", "[1,8,16,3]", "[1,8,24,3]"]
    for width in (16, 24, 8, 8):
        graph.run(noise(8, width), want=WANT)
    assert len(compiled) == 4
    graph.run(noise(8, 8), want=WANT)
    assert compiled[4:] == ["[1,8,8,3]"]


def test_what_one_call_gave_is_not_touched_by_the_next(graph: OpenVinoGraph) -> None:
    for _ in range(4):
        first = graph.run(np.full((1, 8, 8, 3), (255, 0, 0), np.uint8), want=WANT)["labels"]
        graph.run(np.zeros((1, 8, 8, 3), np.uint8), want=WANT)
        assert first[0, 4, 4] == 1
