"""A model of fewer classes, judged in those of a golden set, decides what it decided before."""

from pathlib import Path

import numpy as np
import pytest

from data.classes import ClassMap, ClassSpec
from data.images import encode_png
from data.manifest import Manifest, Sample
from data.masks import encode_labels
from model.contract import Contract, Decision
from model.predictor import Prediction, Predictor
from training.evaluate import evaluate
from training.gate.relabel import Relabelled, in_common_classes
from training.labelled import PairError

STORED = Path(__file__).parents[2] / "promises" / "format_1.onnx"
GOLDEN = ClassMap.from_names(["background", "fray", "pit", "scratch"])


class Fixed:
    """A model of background, scratch, pit that says the same of every image of 2 x 3 pixels."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.labels = np.array([[0, 1, 2], [0, 0, 1]], np.uint8)

    def predict(self, image: np.ndarray, *, want_probabilities: bool = False) -> Prediction:
        probabilities = np.where(np.arange(3)[:, None, None] == self.labels, np.float32(0.8), np.float32(0.1))
        return Prediction(
            self.labels,
            np.full(self.labels.shape, 204, np.uint8),
            probabilities.astype(np.float32) if want_probabilities else None,
        )


@pytest.fixture(scope="module")
def stored() -> Predictor:
    return Predictor.open(STORED, device="cpu", threads=1)


@pytest.fixture
def fixed(stored: Predictor) -> Fixed:
    decision = Decision(weights=(0.5, 2.0, 3.0), min_area_px=4)
    return Fixed(stored.contract.model_copy(update={"decision": decision}))


def test_labels_and_probabilities_move_to_the_ids_of_their_names(fixed: Fixed) -> None:
    assert fixed.contract.classes.names == ("background", "scratch", "pit")
    said = Relabelled(fixed, GOLDEN).predict(np.zeros((2, 3, 3), np.uint8), want_probabilities=True)
    assert said.labels.tolist() == [[0, 3, 2], [0, 0, 3]]
    assert said.labels.dtype == np.uint8
    assert said.probabilities is not None
    assert said.probabilities.shape == (4, 2, 3)
    assert said.probabilities[:, 0, 1].tolist() == pytest.approx([0.1, 0.0, 0.1, 0.8])
    assert said.probabilities[1].max() == 0.0
    assert said.confidence.tolist() == [[204] * 3] * 2


def test_weights_follow_their_classes_and_an_absent_one_has_weight_one(fixed: Fixed) -> None:
    contract = Relabelled(fixed, GOLDEN).contract
    assert contract.classes == GOLDEN
    assert contract.decision == Decision(weights=(0.5, 1.0, 3.0, 2.0), min_area_px=4)


def test_probabilities_come_when_asked_for_alone(fixed: Fixed) -> None:
    assert Relabelled(fixed, GOLDEN).predict(np.zeros((2, 3, 3), np.uint8)).probabilities is None


def golden_set(root: Path, class_map: ClassMap) -> Manifest:
    """A fray, and a scratch where the fixed model says so."""
    samples = []
    for name, truth in (("fray", [[0, 1, 1], [0, 0, 0]]), ("scratch", [[0, 3, 0], [0, 0, 3]])):
        image, mask = root / f"{name}.png", root / f"{name}-mask.png"
        image.write_bytes(encode_png(np.zeros((2, 3, 3), np.uint8)))
        mask.write_bytes(encode_labels(np.array(truth, np.uint8), class_map))
        samples.append(Sample(name, image, mask, "test"))
    return Manifest(root=root, class_map=class_map, samples=tuple(samples))


def test_an_evaluation_takes_it_for_any_model_of_the_golden_classes(fixed: Fixed, tmp_path: Path) -> None:
    fixed.contract = fixed.contract.model_copy(update={"decision": Decision.neutral(3)})
    judged = evaluate(Relabelled(fixed, GOLDEN), golden_set(tmp_path, GOLDEN))
    assert [row.found_by_class for row in judged.rows] == [{"fray": (0, 1)}, {"scratch": (1, 1)}]
    assert judged.scores["classes"]["fray"]["iou"] == 0.0
    assert judged.scores["classes"]["fray"]["precision"] is None


def test_a_class_that_only_the_model_knows_widens_the_golden_set(fixed: Fixed, tmp_path: Path) -> None:
    small = ClassMap.from_names(["background", "fray", "dent", "scratch"])
    manifest, (model,) = in_common_classes(golden_set(tmp_path, small), fixed)
    assert manifest.class_map.names == ("background", "fray", "dent", "scratch", "pit")
    assert model.contract.classes == manifest.class_map
    judged = evaluate(model, manifest)
    assert judged.scores["classes"]["pit"]["iou"] is None
    assert len(judged.confusion) == 5


def test_models_that_know_different_classes_are_judged_in_those_of_all(fixed: Fixed, tmp_path: Path) -> None:
    other = Fixed(
        fixed.contract.model_copy(update={"classes": ClassMap.from_names(["background", "oil", "pit"])})
    )
    small = ClassMap.from_names(["background", "fray", "dent", "scratch"])
    manifest, models = in_common_classes(golden_set(tmp_path, small), fixed, other)
    assert manifest.class_map.names == ("background", "fray", "dent", "scratch", "pit", "oil")
    said = [model.predict(np.zeros((2, 3, 3), np.uint8)).labels.tolist() for model in models]
    assert said == [[[0, 3, 4], [0, 0, 3]], [[0, 5, 4], [0, 0, 5]]]


def test_a_model_of_just_these_classes_says_what_it_said_without(stored: Predictor) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 72, 3), dtype=np.uint8)
    plain = stored.predict(image, want_probabilities=True)
    same = Relabelled(stored, stored.contract.classes).predict(image, want_probabilities=True)
    assert np.array_equal(same.labels, plain.labels)
    assert same.probabilities is not None
    assert plain.probabilities is not None
    assert np.array_equal(same.probabilities, plain.probabilities)


def test_a_class_of_the_model_that_has_no_place_is_named(fixed: Fixed) -> None:
    with pytest.raises(PairError, match=r"scratch, pit are not among background, fray"):
        Relabelled(fixed, ClassMap(classes=GOLDEN.classes[:2]))


def test_a_class_that_is_a_defect_here_and_none_there_is_an_error(fixed: Fixed, tmp_path: Path) -> None:
    oil = ClassSpec(name="pit", color=(0, 0, 0), role="background")
    other = ClassMap(classes=(GOLDEN.classes[0], oil, GOLDEN.classes[3]))
    with pytest.raises(PairError, match=r"'pit' is background in one and defect in another"):
        in_common_classes(Manifest(tmp_path, other, ()), fixed)
    with pytest.raises(PairError, match=r"'pit' is background in one and defect in another"):
        Relabelled(fixed, other)
