"""Scores of a split of three images, every number worked by hand."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from data.classes import ClassMap
from data.images import encode_png
from data.manifest import DatasetError, Manifest, Sample
from data.masks import encode_labels
from model.contract import Contract, Decision, GoldenSample, Parity, Provenance
from training.evaluate import evaluate
from training.evaluation import Evaluation

CLASSES = ClassMap.from_names(["background", "scratch", "pit"])


def grid(*rows: str) -> np.ndarray:
    """A label map from rows of digits; x is ignored."""
    return np.array([[255 if cell == "x" else int(cell) for cell in row] for row in rows], np.uint8)


@dataclass(frozen=True)
class Predicted:
    labels: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray


class FakePredictor:
    """Answers with the labels given for each image, at probability 0.8; knows images by their grey value."""

    def __init__(self, labels: Sequence[np.ndarray], *, min_area_px: int = 1) -> None:
        self._labels = labels
        self.contract = Contract(
            name="made by hand",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            classes=CLASSES,
            stride=1,
            tile_px=64,
            halo_px=8,
            decision=Decision(weights=(1.0, 1.0, 1.0), min_area_px=min_area_px),
            provenance=Provenance(
                run="r", git="g", config_sha256="c", data_sha256="d", seed=0, versions={}, machine="m"
            ),
            parity=Parity(images=1, pixels=1, label_agreement=1.0, max_probability_error=0.0),
            golden=GoldenSample(image_png=b"", labels_png=b""),
        )

    def predict(self, image: np.ndarray, *, want_probabilities: bool = False) -> Predicted:
        assert want_probabilities
        labels = self._labels[int(image[0, 0, 0])]
        probabilities = np.where(np.arange(3)[:, None, None] == labels, np.float32(0.8), np.float32(0.1))
        return Predicted(labels, np.full(labels.shape, 204, np.uint8), probabilities)


def write_manifest(root: Path, truths: Sequence[np.ndarray]) -> Manifest:
    """Images whose grey value is their number, with these masks, in the split test."""
    samples = []
    for number, truth in enumerate(truths):
        image, mask = root / f"part{number}.png", root / f"part{number}-mask.png"
        image.write_bytes(encode_png(np.full((*truth.shape, 3), number, np.uint8)))
        mask.write_bytes(encode_labels(truth, CLASSES))
        samples.append(Sample(f"part{number}", image, mask, "test", group=f"tile{number // 2}"))
    return Manifest(root=root, class_map=CLASSES, samples=tuple(samples))


TRUTHS = (
    grid("00000", "01110", "00000", "000x2"),  # a scratch and a pit
    grid("00000", "00000", "00000", "00000"),  # good
    grid("00000", "00000", "00000", "02200"),  # a pit
)
SAID = (
    grid(
        "00000", "01100", "00000", "00010"
    ),  # two thirds of the scratch, no pit; a speck on the ignored pixel
    grid("20000", "00000", "00000", "00000"),  # a false pit
    grid("00000", "00000", "00000", "00000"),  # nothing
)


@pytest.fixture
def judged(tmp_path: Path) -> Evaluation:
    return evaluate(FakePredictor(SAID), write_manifest(tmp_path, TRUTHS), split="test")


def test_image_verdicts_are_counted(judged: Evaluation) -> None:
    scores = judged.scores
    assert (scores["images"], scores["ng_images"], scores["ok_images"]) == (3, 2, 1)
    assert (scores["escape_rate"], scores["overkill_rate"]) == (0.5, 1.0)
    assert [row.verdict for row in judged.rows] == ["caught", "overkill", "escape"]


def test_pixel_scores_leave_out_the_ignored_pixel(judged: Evaluation) -> None:
    # background: 52 of 53 right, and 4 defect pixels called so; scratch: 2 of 3; pit: 0 of 3, one false.
    assert judged.confusion == ((52, 0, 1), (1, 2, 0), (3, 0, 0))
    scratch, pit = judged.scores["classes"]["scratch"], judged.scores["classes"]["pit"]
    assert (scratch["iou"], scratch["dice"]) == pytest.approx((2 / 3, 4 / 5))
    assert (scratch["precision"], scratch["recall"]) == pytest.approx((1.0, 2 / 3))
    assert (pit["iou"], pit["precision"], pit["recall"]) == (0.0, 0.0, 0.0)
    assert judged.scores["mean_defect_iou"] == pytest.approx(1 / 3)
    assert judged.scores["mean_iou"] == pytest.approx((52 / 57 + 2 / 3) / 3)


def test_defects_are_counted_by_region(judged: Evaluation) -> None:
    assert judged.scores["defect_recall"] == pytest.approx(1 / 3)
    assert judged.scores["false_alarms_per_image"] == pytest.approx(1 / 3)
    assert judged.scores["classes"]["scratch"]["defect_recall"] == 1.0
    assert judged.scores["classes"]["pit"]["defect_recall"] == 0.0
    assert judged.scores["classes"]["pit"]["false_alarms_per_image"] == pytest.approx(1 / 3)
    first = judged.rows[0]
    assert (first.true_regions, first.missed_regions, first.false_regions) == (2, 1, 0)


def test_each_image_tells_what_was_found_of_the_classes_in_its_truth(judged: Evaluation) -> None:
    assert [row.found_by_class for row in judged.rows] == [
        {"scratch": (1, 1), "pit": (0, 1)},
        {},
        {"pit": (0, 1)},
    ]


def test_each_image_counts_its_pixels_by_class(judged: Evaluation) -> None:
    # Right, true and predicted, as the confusion matrix above has them in sum; what is in neither is left out.
    assert [row.pixels_by_class for row in judged.rows] == [
        {"background": (15, 15, 17), "scratch": (2, 3, 2), "pit": (0, 1, 0)},
        {"background": (19, 20, 19), "pit": (0, 0, 1)},
        {"background": (18, 18, 20), "pit": (0, 2, 0)},
    ]


def test_background_has_masks_but_no_defects_to_find(judged: Evaluation) -> None:
    background = judged.scores["classes"]["background"]
    assert background["iou"] == pytest.approx(52 / 57)
    assert (background["defect_recall"], background["false_alarms_per_image"]) == (None, None)


def test_stated_confidence_is_held_against_the_pixels(judged: Evaluation) -> None:
    assert judged.scores["ece"] == pytest.approx(abs(0.8 - 54 / 59))
    (only,) = judged.reliability
    assert (only.confidence, only.accuracy, only.share) == pytest.approx((0.8, 54 / 59, 1.0))


def test_margins_tell_how_sure_a_verdict_was(judged: Evaluation) -> None:
    # log(0.8 / 0.1) = 2.08 on a grid of eighths, from below; the image with nothing has log(0.1 / 0.8).
    assert [row.margin for row in judged.rows] == [2.0, 2.0, -2.125]


def test_rows_keep_what_belongs_together(judged: Evaluation) -> None:
    assert [(row.name, row.group) for row in judged.rows] == [
        ("part0", "tile0"),
        ("part1", "tile0"),
        ("part2", "tile1"),
    ]
    assert [row.mean_defect_iou for row in judged.rows] == [pytest.approx(1 / 3), None, 0.0]


def test_regions_below_the_smallest_area_call_nothing_ng(tmp_path: Path) -> None:
    judged = evaluate(FakePredictor(SAID, min_area_px=2), write_manifest(tmp_path, TRUTHS))
    assert [row.verdict for row in judged.rows] == ["caught", "passed", "escape"]
    assert judged.scores["false_alarms_per_image"] == 0.0


def test_a_perfect_model_has_perfect_scores(tmp_path: Path) -> None:
    truths = [np.where(truth == 255, 0, truth).astype(np.uint8) for truth in TRUTHS]
    scores = evaluate(FakePredictor(truths), write_manifest(tmp_path, TRUTHS)).scores
    assert (scores["mean_iou"], scores["mean_defect_iou"], scores["defect_recall"]) == (1.0, 1.0, 1.0)
    assert (scores["escape_rate"], scores["overkill_rate"], scores["false_alarms_per_image"]) == (
        0.0,
        0.0,
        0.0,
    )
    assert [scores["classes"][name]["boundary_f"] for name in CLASSES.names] == [1.0, 1.0, 1.0]


def test_what_a_split_cannot_tell_is_null_and_never_nan(tmp_path: Path) -> None:
    good = np.zeros((4, 5), np.uint8)
    scores = evaluate(FakePredictor([good]), write_manifest(tmp_path, [good])).scores
    assert (scores["escape_rate"], scores["defect_recall"], scores["mean_defect_iou"]) == (None, None, None)
    assert (scores["overkill_rate"], scores["mean_iou"]) == (0.0, 1.0)
    json.dumps(scores, allow_nan=False)


def test_scores_fit_into_a_contract_and_an_evaluation_into_a_file(judged: Evaluation) -> None:
    contract = FakePredictor(SAID).contract
    stamped = Contract.model_validate({**contract.model_dump(), "scores": {"test": judged.scores}})
    assert stamped.scores["test"]["images"] == 3
    assert Evaluation.model_validate_json(judged.model_dump_json()) == judged


def test_rows_as_a_table_name_the_verdict(judged: Evaluation) -> None:
    lines = judged.rows_csv().splitlines()
    assert lines[0].startswith("name,verdict,group,is_ng,called_ng,margin")
    assert lines[1].endswith(",scratch 1 of 1; pit 0 of 1")
    assert lines[2].endswith(",")
    assert lines[3].startswith("part2,escape,tile1,True,False,")


def test_a_mask_of_another_size_names_the_file(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, TRUTHS)
    manifest.samples[0].mask.write_bytes(encode_labels(grid("00"), CLASSES))
    with pytest.raises(DatasetError, match=r"part0-mask\.png: the mask is 2 x 1 px, its image 5 x 4 px"):
        evaluate(FakePredictor(SAID), manifest)


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="'val'"):
        evaluate(FakePredictor(SAID), write_manifest(tmp_path, TRUTHS), split="val")
