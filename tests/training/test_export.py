"""One file comes out of a network and says what the network says, or it is not written at all."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data.classes import ClassMap
from data.images import read_image
from data.masks import read_labels
from model.artifact import Artifact, ArtifactError, open_artifact
from model.contract import Decision, Provenance
from model.pooling import MaxPool2x2, MaxUnpool2x2
from model.predictor import Predictor
from training import export, onnx_graph
from training.export import export_artifact, restamp
from training.onnx_graph import ExportError
from training.parity import ParityError, prove_parity

CLASSES = ClassMap.from_names(["background", "scratch", "pit"])
PROVENANCE = Provenance(run="test", git="", config_sha256="", data_sha256="", seed=0, versions={}, machine="")


class TinySegmenter(nn.Module):
    """Pixels to logits with what real networks have: normalisation, convolution, pooling that remembers."""

    stride = 4
    class_count = 3

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.pool, self.unpool = MaxPool2x2(), MaxUnpool2x2()
        self.last = nn.Conv2d(4, self.class_count, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[1] % self.stride or image.shape[2] % self.stride:
            raise ValueError("height and width must be multiples of the stride")
        values, positions = self.pool(self.first(image.permute(0, 3, 1, 2).float() / 64 - 2))
        logits: Tensor = self.last(self.unpool(values, positions)) * 3
        return logits


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Random patches of 4 x 4 px."""
    patches = np.random.default_rng(height).integers(0, 256, (-(-height // 4), -(-width // 4), 3), np.uint8)
    return np.ascontiguousarray(np.repeat(np.repeat(patches, 4, axis=0), 4, axis=1)[:height, :width])


IMAGES = (picture(64, 64), picture(50, 90), picture(13, 21))


@dataclass(frozen=True)
class Exported:
    """A file, the network it was made of, and its graph."""

    segmenter: TinySegmenter
    before: dict[str, Tensor]
    path: Path
    artifact: Artifact
    graph: onnx.ModelProto

    def copy_to(self, folder: Path) -> Path:
        """The file in another folder, for a test that changes it."""
        path = folder / "model.onnx"
        path.write_bytes(self.artifact.model_bytes)
        return path


def export_to(out: Path, segmenter: nn.Module, **changes: Any) -> Artifact:
    """`export_artifact` with all it needs."""
    arguments: dict[str, Any] = {
        "name": "tiny",
        "classes": CLASSES,
        "tile_px": 64,
        "halo_px": 8,
        "provenance": PROVENANCE,
        "validation_images": IMAGES,
    }
    return export_artifact(segmenter, out=out, **(arguments | changes))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Exported once: the exporter takes seconds."""
    torch.manual_seed(0)
    segmenter = TinySegmenter()
    for image in IMAGES[:1]:
        segmenter(torch.from_numpy(image)[None])
    before = copy.deepcopy(segmenter.state_dict())
    path = tmp_path_factory.mktemp("export") / "new folder" / "tiny.onnx"
    scores = {"val": {"images": 3, "mean_iou": None}}
    artifact = export_to(path, segmenter, scores=scores, version="1", notes="for a test")
    return Exported(segmenter, before, path, artifact, onnx.load_model_from_string(artifact.model_bytes))


@pytest.fixture
def without_exporter(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter gives the graph of the fixture whatever network it is given."""
    monkeypatch.setattr(export, "trace", lambda network, *, stride, class_count: exported.graph)


def torch_labels(segmenter: nn.Module, image: NDArray[np.uint8]) -> NDArray[np.int64]:
    """What PyTorch says of an image whose sides are multiples of the stride."""
    with torch.inference_mode():
        return np.asarray(copy.deepcopy(segmenter).eval()(torch.from_numpy(image)[None]).argmax(1)[0].numpy())


def test_the_file_stands_under_its_name_and_nothing_beside_it(exported: Exported) -> None:
    assert list(exported.path.parent.iterdir()) == [exported.path]
    assert open_artifact(exported.path).contract == exported.artifact.contract


def test_the_contract_says_what_was_given_and_what_was_measured(exported: Exported) -> None:
    contract = exported.artifact.contract
    assert (contract.name, contract.version, contract.notes) == ("tiny", "1", "for a test")
    assert (contract.stride, contract.tile_px, contract.halo_px) == (4, 64, 8)
    assert contract.decision == Decision(weights=(1.0, 1.0, 1.0), min_area_px=1)
    assert contract.scores == {"val": {"images": 3, "mean_iou": None}}
    # Each image as far as a tile of 64 px reaches, and its cut of odd sides.
    assert contract.parity.pixels == 64 * 64 + 49 * 33 + 50 * 64 + 37 * 33 + 13 * 21 + 9 * 11
    assert (contract.parity.images, contract.parity.label_agreement) == (3, 1.0)
    assert 0 < contract.parity.max_probability_error < 1e-4


@pytest.mark.parametrize("size_hw", [pytest.param((4, 8), id="small"), pytest.param((64, 36), id="oblong")])
def test_the_file_says_what_the_network_says(exported: Exported, size_hw: tuple[int, int]) -> None:
    image = picture(*size_hw)
    labels = Predictor.open(exported.path, device="cpu", threads=1).predict(image).labels
    np.testing.assert_array_equal(labels, torch_labels(exported.segmenter, image))
    assert len(np.unique(labels)) > 1


def test_export_leaves_the_network_as_it_was(exported: Exported) -> None:
    assert exported.segmenter.training
    assert not exported.segmenter.pool.export_form
    after = exported.segmenter.state_dict()
    assert all(torch.equal(after[name], value) for name, value in exported.before.items())


def test_the_graph_takes_pixels_of_any_batch_height_and_width(exported: Exported) -> None:
    def axes(values: Any) -> dict[str, list[str | int]]:
        return {
            value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
            for value in values
        }

    assert axes(exported.graph.graph.input) == {
        "image": ["batch", "height", "width", 3],
        "decision_weights": [3],
    }
    assert axes(exported.graph.graph.output) == {
        "labels": ["batch", "height", "width"],
        "confidence": ["batch", "height", "width"],
        "probabilities": ["batch", 3, "height", "width"],
    }


def test_the_graph_holds_no_operator_that_is_slow_or_should_have_been_folded(exported: Exported) -> None:
    operators = {node.op_type for node in exported.graph.graph.node}
    assert "Conv" in operators
    assert not operators & {"MaxUnpool", "BatchNormalization", "Softmax"}


def test_the_file_holds_no_path_of_this_machine(exported: Exported, repository: Path) -> None:
    for path in (str(repository), "site-packages", str(exported.path.parent)):
        assert path.encode() not in exported.artifact.model_bytes


def test_a_bare_session_finds_the_decision_as_an_input_with_a_default(exported: Exported) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        exported.artifact.model_bytes, options, providers=["CPUExecutionProvider"]
    )
    assert [one.name for one in session.get_inputs()] == ["image"]
    assert [one.name for one in session.get_overridable_initializers()] == ["decision_weights"]


def test_the_golden_image_is_cut_where_most_is_found(exported: Exported) -> None:
    golden = exported.artifact.contract.golden
    image, labels = read_image(golden.image_png), read_labels(golden.labels_png)
    assert labels.shape == image.shape[:2]
    assert len(np.unique(labels)) > 1
    # The largest image finds most; it is smaller than a golden image may be, so it is taken whole.
    np.testing.assert_array_equal(image, IMAGES[0])
    assert Predictor.open(exported.path, device="cpu").check_golden() == 1.0


@pytest.mark.usefixtures("without_exporter")
def test_a_file_that_disagrees_with_the_network_is_not_written(exported: Exported, tmp_path: Path) -> None:
    other = copy.deepcopy(exported.segmenter)
    nn.init.constant_(other.last.weight, 0.1)
    out = tmp_path / "model.onnx"
    out.write_bytes(b"the old one")
    with pytest.raises(ParityError, match="nothing was written"):
        export_to(out, other)
    assert out.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [out]


def test_parity_fails_on_probabilities_even_where_labels_agree(exported: Exported) -> None:
    class Surer(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = copy.deepcopy(exported.segmenter).eval()(image) * 1.2
            return logits

    with pytest.raises(ParityError, match=r"labels 100\.0000%"):
        prove_parity(Surer(), Predictor.open(exported.path, device="cpu"), images=IMAGES)


@pytest.mark.parametrize(
    ("far", "is_refused"),
    [
        pytest.param(1, False, id="one pooling that rounding turned"),
        pytest.param(8, True, id="more than rounding explains"),
    ],
)
def test_parity_bears_a_few_far_pixels(exported: Exported, far: int, is_refused: bool) -> None:
    """Of about 10 000 pixels. Each is made less sure of what it is called, so that its label stays."""

    class Turned(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = copy.deepcopy(exported.segmenter).eval()(image)
            if image.shape[1] == IMAGES[0].shape[0]:
                surest = logits.softmax(1).amax(1).flatten().topk(far).indices
                logits.flatten(2)[:, :, surest] *= 0.3
            return logits

    predictor = Predictor.open(exported.path, device="cpu")
    if is_refused:
        with pytest.raises(ParityError, match="differ by more than"):
            prove_parity(Turned(), predictor, images=IMAGES)
    else:
        assert prove_parity(Turned(), predictor, images=IMAGES).max_probability_error > 0.05


@pytest.mark.usefixtures("without_exporter")
def test_a_network_that_says_nothing_is_not_written(exported: Exported, tmp_path: Path) -> None:
    broken = copy.deepcopy(exported.segmenter)
    nn.init.constant_(broken.last.weight, float("nan"))
    with pytest.raises(ParityError, match="gives NaN on a real image"):
        export_to(tmp_path / "model.onnx", broken)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"classes": ClassMap.from_names(["a", "b"])}, "2 classes .* of 3", id="classes"),
        pytest.param({"validation_images": []}, "no validation image", id="no image"),
        pytest.param({"tile_px": 66}, "no multiple of the stride", id="tile"),
        pytest.param({"scores": {"val": {"mean_iou": 1.0}}}, "images=None", id="scores without a count"),
    ],
)
def test_what_makes_no_model_is_refused_before_the_exporter_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the exporter takes seconds; the check should have come first")

    monkeypatch.setattr(export, "trace", never)
    with pytest.raises(ValueError, match=said):
        export_to(tmp_path / "model.onnx", TinySegmenter(), **changes)


def test_a_new_decision_becomes_the_files_own(exported: Exported, tmp_path: Path) -> None:
    path = exported.copy_to(tmp_path)
    decision = Decision(weights=(0.0, 1.0, 0.5), min_area_px=7)
    after = restamp(path, contract=exported.artifact.contract.model_copy(update={"decision": decision}))
    predictor = Predictor.open(path, device="cpu", threads=1)
    image = IMAGES[0]
    said = predictor.predict(image, want_probabilities=True)
    assert said.probabilities is not None
    weighted = said.probabilities * np.array(decision.weights, np.float32)[:, None, None]
    np.testing.assert_array_equal(said.labels, weighted.argmax(axis=0))
    assert predictor.contract.decision == decision
    assert after.digest == predictor.digest != exported.artifact.digest
    assert predictor.check_golden() == 1.0
    assert 0 in read_labels(exported.artifact.contract.golden.labels_png)
    assert 0 not in read_labels(predictor.contract.golden.labels_png)


def test_new_scores_do_not_change_the_digest(exported: Exported, tmp_path: Path) -> None:
    path = exported.copy_to(tmp_path)
    scores = {"test": {"images": 5, "mean_iou": 0.5}}
    after = restamp(path, contract=exported.artifact.contract.model_copy(update={"scores": scores}))
    assert after.contract.scores == scores
    assert after.digest == exported.artifact.digest
    assert after.contract.golden == exported.artifact.contract.golden


def test_there_and_back_gives_the_very_same_bytes(exported: Exported, tmp_path: Path) -> None:
    path = exported.copy_to(tmp_path)
    first = exported.artifact.contract
    changed = restamp(path, contract=first.model_copy(update={"decision": Decision(weights=(0.5, 1.0, 1.0))}))
    restamp(path, contract=changed.contract.model_copy(update={"decision": first.decision}))
    assert path.read_bytes() == exported.artifact.model_bytes


@pytest.mark.parametrize(
    ("update", "said"),
    [
        pytest.param({"stride": 8}, "stride is 4 and cannot become 8", id="stride"),
        pytest.param(
            {"classes": ClassMap.from_names(["a", "b"]), "decision": Decision.neutral(2)},
            "has 3 classes",
            id="classes",
        ),
        pytest.param({"decision": Decision.neutral(2)}, "2 decision weights for 3", id="decision"),
        pytest.param({"graph_sha256": "0" * 64}, "read the contract again", id="a contract of another file"),
    ],
)
def test_a_contract_for_another_network_is_refused_and_the_file_stays(
    exported: Exported, tmp_path: Path, update: dict[str, Any], said: str
) -> None:
    path = exported.copy_to(tmp_path)
    with pytest.raises(ValueError, match=said):
        restamp(path, contract=exported.artifact.contract.model_copy(update=update))
    assert path.read_bytes() == exported.artifact.model_bytes


def test_a_contract_older_than_the_file_is_refused(exported: Exported, tmp_path: Path) -> None:
    path = exported.copy_to(tmp_path)
    old = exported.artifact.contract
    restamp(path, contract=old.model_copy(update={"decision": Decision(weights=(0.5, 1.0, 1.0))}))
    with pytest.raises(ExportError, match="old numbers"):
        restamp(path, contract=old.model_copy(update={"notes": "seen"}))


def test_a_file_that_is_no_model_cannot_be_restamped(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"text")
    with pytest.raises(ArtifactError, match="no ONNX file"):
        restamp(path, contract=exported.artifact.contract)


def test_a_graph_with_an_operator_that_is_not_served_is_refused(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Program:
        model_proto = copy.deepcopy(exported.graph)

    Program.model_proto.graph.node.add(op_type="MaxUnpool")
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: Program)
    with pytest.raises(ExportError, match="MaxUnpool"):
        onnx_graph.trace(TinySegmenter(), stride=4, class_count=3)
