"""Any image goes in, labels of its size come out, and tiles do not show."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from numpy.typing import NDArray

from data.images import encode_png
from data.masks import encode_labels
from model.contract import Contract, Decision, GoldenSample
from model.predictor import GoldenError, Predictor
from model.runtime import Output

MakeModel = Callable[..., bytes]
MakeContract = Callable[..., Contract]


@pytest.fixture(scope="module")
def predictor(color_model: MakeModel) -> Predictor:
    """Tiles of 64 px with a halo of 8."""
    return Predictor.open(color_model(), device="cpu", threads=1)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    """Random patches of 4 x 4 px in red, blue and grey, so that neighbours matter everywhere."""
    rng = np.random.default_rng(height * 1000 + width)
    colors = np.array([(255, 0, 0), (0, 0, 255), (128, 128, 128)], np.uint8)
    patches = colors[rng.integers(0, 3, (-(-height // 4), -(-width // 4)))]
    return np.ascontiguousarray(np.repeat(np.repeat(patches, 4, axis=0), 4, axis=1)[:height, :width])


@pytest.mark.parametrize(
    "size_hw",
    [
        pytest.param((1, 1), id="one pixel"),
        pytest.param((3, 64), id="a strip thinner than the stride"),
        pytest.param((40, 56), id="multiples of the stride"),
        pytest.param((41, 57), id="odd sides"),
        pytest.param((64, 64), id="one tile exactly"),
        pytest.param((65, 64), id="a pixel more than a tile"),
        pytest.param((20, 300), id="a long strip of tiles"),
        pytest.param((130, 190), id="many tiles"),
    ],
)
def test_an_image_of_any_size_is_judged_as_if_it_were_judged_whole(
    predictor: Predictor, color_model: MakeModel, size_hw: tuple[int, int]
) -> None:
    image = noise(*size_hw)
    whole = Predictor.open(color_model(tile_px=512), device="cpu", threads=1)
    said = predictor.predict(image, want_probabilities=True)
    expected = whole.predict(image, want_probabilities=True)
    assert said.labels.shape == said.confidence.shape == size_hw
    assert said.labels.dtype == said.confidence.dtype == np.dtype("uint8")
    assert said.probabilities is not None
    assert expected.probabilities is not None
    assert said.probabilities.shape == (3, *size_hw)
    np.testing.assert_allclose(said.probabilities, expected.probabilities, atol=1e-6)
    np.testing.assert_array_equal(said.labels, expected.labels)
    np.testing.assert_array_equal(said.confidence, expected.confidence)


def test_labels_and_confidence_are_those_of_the_probabilities(predictor: Predictor) -> None:
    said = predictor.predict(noise(100, 90), want_probabilities=True)
    assert said.probabilities is not None
    np.testing.assert_allclose(said.probabilities.sum(axis=0), 1.0, atol=1e-5)
    np.testing.assert_array_equal(said.labels, said.probabilities.argmax(axis=0))
    np.testing.assert_allclose(said.confidence, 255 * said.probabilities.max(axis=0), atol=0.51)
    assert len(np.unique(said.labels)) == 3


def test_probabilities_are_not_computed_unless_asked_for(predictor: Predictor) -> None:
    assert predictor.predict(noise(16, 16)).probabilities is None


def test_another_decision_acts_on_one_call(predictor: Predictor) -> None:
    image = noise(100, 90)
    muted = predictor.predict(image, decision=Decision(weights=(1.0, 0.0, 1.0)))
    assert 1 not in muted.labels
    assert 1 in predictor.predict(image).labels


def test_a_decision_for_another_number_of_classes_is_refused(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match="2 weights for a model of 3 classes"):
        predictor.predict(noise(16, 16), decision=Decision.neutral(2))


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.zeros((16, 16), np.uint8), id="grey"),
        pytest.param(np.zeros((16, 16, 4), np.uint8), id="with alpha"),
        pytest.param(np.zeros((3, 16, 16), np.uint8), id="channels first"),
        pytest.param(np.zeros((0, 16, 3), np.uint8), id="empty"),
    ],
)
def test_what_is_no_rgb_image_is_refused(predictor: Predictor, image: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="expected an RGB image"):
        predictor.predict(image)


def test_floats_are_refused(predictor: Predictor) -> None:
    # Under test the shape checker is the first to object.
    with pytest.raises((ValueError, TypeCheckError)):
        predictor.predict(np.zeros((16, 16, 3), np.float32))


def test_defects_below_the_smallest_area_do_not_count(color_model: MakeModel) -> None:
    image = np.full((60, 60, 3), 128, np.uint8)
    image[5:25, 5:25] = (255, 0, 0)
    image[40:45, 40:45] = (0, 0, 255)
    careful = Predictor.open(color_model(), device="cpu", threads=1)
    calm = Predictor.open(
        color_model(decision=Decision(weights=(1.0,) * 3, min_area_px=100)), device="cpu", threads=1
    )
    prediction = calm.predict(image)
    assert [region.class_id for region in careful.find_defects(careful.predict(image))] == [1, 2]
    assert [region.class_id for region in calm.find_defects(prediction)] == [1]
    neutral = Decision.neutral(3)
    assert [region.class_id for region in calm.find_defects(prediction, decision=neutral)] == [1, 2]


def test_the_golden_sample_passes_where_it_was_made(predictor: Predictor) -> None:
    assert predictor.check_golden() == 1.0


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        pytest.param(np.zeros((40, 48), np.uint8), "of 'background'", id="all background"),
        pytest.param(np.full((40, 48), 2, np.uint8), "of 'background'", id="all pit"),
        pytest.param(np.zeros((40, 40), np.uint8), "differ in size", id="another size"),
    ],
)
def test_a_model_that_labels_its_golden_sample_otherwise_fails_its_self_test(
    color_model: MakeModel, color_contract: MakeContract, labels: NDArray[np.uint8], said: str
) -> None:
    contract = color_contract()
    golden = GoldenSample(
        image_png=contract.golden.image_png, labels_png=encode_labels(labels, contract.classes)
    )
    with pytest.raises(GoldenError, match=said):
        Predictor.open(color_model(golden=golden), device="cpu", threads=1).check_golden()


def test_a_rare_class_cannot_hide_among_the_background_in_the_self_test(
    color_model: MakeModel, color_contract: MakeContract
) -> None:
    """24 px of 25600 say otherwise: 99.9 % agree, and the class is lost all the same."""
    image = np.full((160, 160, 3), 128, np.uint8)
    labels = np.zeros((160, 160), np.uint8)
    labels[10:14, 10:16] = 1
    golden = GoldenSample(
        image_png=encode_png(image), labels_png=encode_labels(labels, color_contract().classes)
    )
    with pytest.raises(GoldenError, match="24 px of 'scratch'"):
        Predictor.open(color_model(golden=golden), device="cpu", threads=1).check_golden()


class RecordingGpu:
    """A runtime that says it is a GPU, labels each pixel by its image's red, and notes the shapes it saw."""

    provider = "CUDAExecutionProvider"
    is_gpu = True

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(
        self,
        image_batch: NDArray[np.uint8],
        *,
        decision_weights: Sequence[float] | None = None,
        want: Sequence[Output] = (),
    ) -> dict[str, NDArray[Any]]:
        self.shapes.append(image_batch.shape)
        return {"labels": image_batch[..., 0], "confidence": image_batch[..., 1]}


def test_a_gpu_sees_few_shapes_and_each_image_gets_its_own_labels(color_contract: MakeContract) -> None:
    gpu = RecordingGpu()
    predictor = Predictor(gpu, contract=color_contract(), digest="0")
    images = [np.full((16, 16, 3), number, np.uint8) for number in range(11)]
    images.append(np.full((9, 64, 3), 77, np.uint8))
    predictions = predictor.predict_batch(images)
    assert gpu.shapes == [(8, 16, 16, 3), (2, 16, 16, 3), (1, 16, 16, 3), (1, 16, 64, 3)]
    assert [int(one.labels[3, 3]) for one in predictions] == [*range(11), 77]
    assert predictions[-1].labels.shape == (9, 64)


def test_every_tile_has_one_shape(color_contract: MakeContract) -> None:
    gpu = RecordingGpu()
    Predictor(gpu, contract=color_contract(), digest="0").predict(noise(150, 70))
    assert {shape[1:] for shape in gpu.shapes} == {(64, 64, 3)}


def test_no_image_gives_no_prediction(predictor: Predictor) -> None:
    assert predictor.predict_batch([]) == []
