"""What calibration promises must be what the model, run with the chosen decision, then does."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from data.classes import ClassMap
from data.images import encode_png
from data.manifest import Manifest, Sample
from data.masks import encode_labels
from model.contract import Contract, Decision, GoldenSample, Parity, Provenance
from training.calibrate import CalibrationError, calibrate, decision_for
from training.calibration import read_calibration
from training.evaluate import evaluate
from training.labelled import PairError

CLASSES = ClassMap.from_names(["background", "scratch", "pit"])
SIZE_HW = (24, 32)


def contract(classes: ClassMap, decision: Decision | None = None) -> Contract:
    """A contract of which only the classes and the decision matter here."""
    return Contract(
        name="made by hand",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        classes=classes,
        stride=8,
        tile_px=64,
        halo_px=8,
        decision=decision or Decision.neutral(len(classes)),
        provenance=Provenance(
            run="r", git="g", config_sha256="c", data_sha256="d", seed=0, versions={}, machine="m"
        ),
        parity=Parity(images=1, pixels=1, label_agreement=1.0, max_probability_error=0.0),
        golden=GoldenSample(image_png=b"", labels_png=b""),
    )


@dataclass(frozen=True)
class Predicted:
    labels: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray | None


class FakePredictor:
    """Knows images by their first pixel, answers by hand-made probabilities, decides as the graph does."""

    def __init__(self, probabilities: Sequence[np.ndarray], *, promised: Contract) -> None:
        self._probabilities = probabilities
        self.contract = promised

    def predict(self, image: np.ndarray, *, want_probabilities: bool = False) -> Predicted:
        probabilities = self._probabilities[int(image[0, 0, 0])]
        weights = np.array(self.contract.decision.weights, np.float32)
        labels = (probabilities * weights[:, None, None]).argmax(axis=0).astype(np.uint8)
        stated = np.take_along_axis(probabilities, labels[None].astype(np.int64), axis=0)[0]
        return Predicted(
            labels=labels,
            confidence=np.rint(stated * 255).astype(np.uint8),
            probabilities=probabilities if want_probabilities else None,
        )

    def with_decision(self, decision: Decision) -> "FakePredictor":
        return FakePredictor(self._probabilities, promised=contract(self.contract.classes, decision))


def write_manifest(root: Path, truths: Sequence[np.ndarray], *, classes: ClassMap = CLASSES) -> Manifest:
    """Images whose grey value is their number, with these masks, all in the split val."""
    samples = []
    for number, truth in enumerate(truths):
        image, mask = root / f"{number:03}.png", root / f"{number:03}-mask.png"
        image.write_bytes(encode_png(np.full((*truth.shape, 3), number, np.uint8)))
        mask.write_bytes(encode_labels(truth, classes))
        samples.append(Sample(f"{number:03}", image, mask, "val"))
    return Manifest(root=root, class_map=classes, samples=tuple(samples))


def probabilities_of(log_odds: np.ndarray, *, defect: np.ndarray | int = 1) -> np.ndarray:
    """Background against one defect class a pixel, float32 [3, height, width]; the other one is nothing."""
    share = 1.0 / (1.0 + np.exp(-log_odds))
    probabilities = np.full((3, *log_odds.shape), 1e-9)
    probabilities[0] = 1.0 - share
    for class_id in (1, 2):
        probabilities[class_id] = np.where(np.asarray(defect) == class_id, share, 1e-9)
    return (probabilities / probabilities.sum(axis=0)).astype(np.float32)


def random_split(seed: int, *, ng: int, ok: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Truths and probabilities of a mediocre model: faint defects, and false patches on OK images."""
    random = np.random.default_rng(seed)
    truths, probabilities = [], []
    for number in range(ng + ok):
        truth, log_odds = np.zeros(SIZE_HW, np.uint8), random.normal(-5.0, 1.0, SIZE_HW)
        said = np.full(SIZE_HW, 1)
        side = int(random.integers(2, 8))
        box = slice(4, 4 + side), slice(6, 6 + side)
        class_id = int(random.integers(1, 3))
        said[box] = class_id
        log_odds[box] += random.normal(6.0 if number < ng else 2.5, 2.0)
        if number < ng:
            truth[box] = class_id
        truths.append(truth)
        probabilities.append(probabilities_of(log_odds, defect=said))
    return truths, probabilities


@pytest.mark.parametrize("seed", range(4))
def test_the_chosen_decision_gives_the_very_rates_it_promises(seed: int, tmp_path: Path) -> None:
    truths, probabilities = random_split(seed, ng=30, ok=30)
    manifest = write_manifest(tmp_path, truths)
    model = FakePredictor(probabilities, promised=contract(CLASSES))
    found = calibrate(model, manifest, max_escape_rate=0.1)
    judged = evaluate(model.with_decision(found.decision), manifest, split="val")
    assert judged.scores["escape_rate"] == pytest.approx(found.chosen.escape_rate)
    assert judged.scores["overkill_rate"] == pytest.approx(found.chosen.overkill_rate)
    assert judged.scores["mean_defect_iou"] == pytest.approx(found.chosen.mean_defect_iou)
    assert found.target_met
    assert judged.scores["escape_rate"] <= 0.1
    for row, image in zip(judged.rows, found.images, strict=True):
        assert row.called_ng == (image.score is not None and image.score >= found.chosen.threshold)


def test_before_is_plain_argmax_whatever_the_model_decides_now(tmp_path: Path) -> None:
    truths, probabilities = random_split(9, ng=10, ok=10)
    manifest = write_manifest(tmp_path, truths)
    neutral = FakePredictor(probabilities, promised=contract(CLASSES))
    odd = neutral.with_decision(Decision(weights=(1.0, 0.0, 0.1), min_area_px=50))
    found = calibrate(odd, manifest)
    judged = evaluate(neutral, manifest, split="val")
    assert judged.scores["escape_rate"] == pytest.approx(found.before.escape_rate)
    assert judged.scores["overkill_rate"] == pytest.approx(found.before.overkill_rate)
    assert calibrate(neutral, manifest) == found


def test_a_faint_defect_is_caught_and_a_surer_speck_is_not_called_one(tmp_path: Path) -> None:
    defect, speck = np.full(SIZE_HW, -9.0), np.full(SIZE_HW, -9.0)
    truth = np.zeros(SIZE_HW, np.uint8)
    truth[4:12, 4:12] = 1
    defect[truth == 1] = -1.0  # argmax misses it
    speck[3, 3] = 2.0  # argmax is taken in
    images = [defect] * 6 + [speck] * 6
    manifest = write_manifest(tmp_path, [truth] * 6 + [np.zeros_like(truth)] * 6)
    model = FakePredictor([probabilities_of(image) for image in images], promised=contract(CLASSES))
    found = calibrate(model, manifest)
    assert (found.before.escape_rate, found.before.overkill_rate) == (1.0, 1.0)
    assert (found.chosen.escape_rate, found.chosen.overkill_rate) == (0.0, 0.0)
    assert found.decision.min_area_px > 1
    assert -9.0 < found.chosen.threshold < -1.0
    assert found.best_mean_defect_iou == pytest.approx(found.chosen.mean_defect_iou, abs=0.02)


def test_a_class_the_model_is_too_fond_of_is_held_back(tmp_path: Path) -> None:
    # Pits come out as scratches by a hair; true scratches are sure. A weight mends it, no threshold could.
    truths, probabilities = [], []
    for class_id in (1, 2) * 4:
        truth = np.zeros(SIZE_HW, np.uint8)
        truth[4:12, 4:12] = class_id
        p = np.full((3, *SIZE_HW), 0.01)
        p[0] = 0.98
        p[:, truth == 1] = np.array([[0.05], [0.90], [0.05]])
        p[:, truth == 2] = np.array([[0.05], [0.50], [0.45]])
        truths.append(truth)
        probabilities.append(p.astype(np.float32))
    truths.append(np.zeros(SIZE_HW, np.uint8))
    probabilities.append(probabilities_of(np.full(SIZE_HW, -5.0)))
    manifest = write_manifest(tmp_path, truths)
    model = FakePredictor(probabilities, promised=contract(CLASSES))
    found = calibrate(model, manifest)
    assert found.before.mean_defect_iou == pytest.approx((0.5 + 0.0) / 2)
    assert found.chosen.mean_defect_iou == pytest.approx(1.0)
    assert found.decision.weights[2] > found.decision.weights[1]


def test_a_threshold_becomes_weights_the_largest_of_which_is_one() -> None:
    raised = decision_for(CLASSES, threshold=np.log(4.0), defect_weights=(1.0, 2.0), min_area_px=9)
    assert raised.weights == pytest.approx((1.0, 0.25, 0.5))
    assert raised.min_area_px == 9
    lowered = decision_for(CLASSES, threshold=-np.log(4.0), defect_weights=(1.0, 2.0), min_area_px=1)
    assert lowered.weights == pytest.approx((0.125, 0.5, 1.0))


def test_few_ng_images_come_with_a_warning(tmp_path: Path) -> None:
    truths, probabilities = random_split(1, ng=3, ok=5)
    found = calibrate(
        FakePredictor(probabilities, promised=contract(CLASSES)), write_manifest(tmp_path, truths)
    )
    assert any("3 NG images are too few to vouch for an escape rate of 5%" in note for note in found.notes)


def test_without_any_defect_argmax_stays(tmp_path: Path) -> None:
    truths, probabilities = random_split(1, ng=0, ok=4)
    found = calibrate(
        FakePredictor(probabilities, promised=contract(CLASSES)), write_manifest(tmp_path, truths)
    )
    assert found.decision.weights == (1.0, 1.0, 1.0)
    assert not found.target_met
    assert found.chosen.escape_rate is None


def test_classes_without_a_defect_leave_nothing_to_decide(tmp_path: Path) -> None:
    classes = ClassMap.model_validate(
        {"classes": [{"name": name, "color": (0, 0, 0), "role": "background"} for name in "abc"]}
    )
    manifest = write_manifest(tmp_path, [np.zeros(SIZE_HW, np.uint8)], classes=classes)
    found = calibrate(FakePredictor([], promised=contract(classes)), manifest)
    assert found.decision == Decision.neutral(3)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_target_that_is_no_rate_is_refused(rate: float, tmp_path: Path) -> None:
    model = FakePredictor([], promised=contract(CLASSES))
    with pytest.raises(CalibrationError, match="rate in"):
        calibrate(model, write_manifest(tmp_path, []), max_escape_rate=rate)


def test_the_test_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="worthless"):
        calibrate(FakePredictor([], promised=contract(CLASSES)), write_manifest(tmp_path, []), split="test")


def test_how_a_decision_was_chosen_is_told_of_that_decision_alone(tmp_path: Path) -> None:
    truths, probabilities = random_split(1, ng=3, ok=3)
    model = FakePredictor(probabilities, promised=contract(CLASSES))
    found = calibrate(model, write_manifest(tmp_path, truths))
    path = tmp_path / "calibration.json"
    assert read_calibration(path, decision=found.decision) is None
    path.write_text(found.model_dump_json(), encoding="utf-8")
    assert read_calibration(path, decision=found.decision) == found
    assert read_calibration(path, decision=Decision(weights=(1.0, 0.3, 0.2), min_area_px=3)) is None


def test_a_data_set_of_other_classes_is_refused(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, [np.zeros(SIZE_HW, np.uint8)])
    other = FakePredictor([], promised=contract(ClassMap.from_names(["background", "pit", "scratch"])))
    with pytest.raises(PairError, match="names and order must agree"):
        calibrate(other, manifest)
