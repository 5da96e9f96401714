"""From a trained network to the one file that serves it; nobody else writes such a file.

The graph takes pixels and a decision, and answers with labels (docs/decisions/0001). A file appears under its
name only after it was opened again, agreed with the network on real images, and passed its own self-test.
"""

import copy
import datetime
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import nn

from data.classes import ClassMap
from data.files import write_atomically
from model.artifact import Artifact, open_artifact
from model.contract import Contract, Decision, GoldenSample, Parity, Provenance
from model.pooling import set_export_form
from model.predictor import Predictor
from training.golden import choose_golden, judge_golden
from training.onnx_graph import ExportError, stamp, trace
from training.parity import prove_parity

_NOT_YET: Final = Parity(images=1, pixels=1, label_agreement=0.0, max_probability_error=1.0)
_log: Final = logging.getLogger(__name__)


def export_artifact(
    segmenter: nn.Module,
    *,
    out: Path,
    name: str,
    classes: ClassMap,
    tile_px: int,
    halo_px: int,
    provenance: Provenance,
    validation_images: Sequence[NDArray[np.uint8]],
    decision: Decision | None = None,
    scores: Mapping[str, Mapping[str, JsonValue]] | None = None,
    version: str | None = None,
    notes: str | None = None,
    created_at: datetime.datetime | None = None,
) -> Artifact:
    """Write a trained network as one model file, or nothing; return the file, opened again.

    Args:
        segmenter: `model.segmenter.Segmenter` or alike: uint8 [batch, height, width, 3] to logits
            [batch, classes, height, width], with `stride` and `class_count`; it stays as it is.
        out: where the file goes; what stands there is replaced in one step.
        validation_images: real images, uint8 RGB of any sizes; a dozen do, each costs a few forwards.
        decision: plain argmax, every region counting, when left out.
        scores: by split, each with the count `images`.
        created_at: now, when left out; with time zone.
        name, classes, tile_px, halo_px, provenance, version, notes: as in `model.contract.Contract`.

    Raises:
        ExportError: classes and network do not fit, no image, or an operator that is not served.
        ParityError: file and network disagree.
        ValueError: the parts make no contract.
        OSError: the file cannot be written.
    """
    stride, class_count = _shape_of(segmenter)
    _check_parts(classes, class_count=class_count, images=validation_images)
    contract = Contract(
        name=name,
        version=version,
        created_at=created_at or datetime.datetime.now(datetime.UTC),
        classes=classes,
        stride=stride,
        tile_px=tile_px,
        halo_px=halo_px,
        decision=decision or Decision.neutral(class_count),
        scores={split: dict(measured) for split, measured in (scores or {}).items()},
        provenance=provenance,
        parity=_NOT_YET,
        golden=GoldenSample(image_png=b"", labels_png=b""),
        notes=notes,
    )
    trained_form, exportable = _two_forms(segmenter)
    graph = trace(exportable, stride=stride, class_count=class_count)
    contract = _measured(contract, graph=graph, trained_form=trained_form, images=validation_images)
    artifact = _write_checked(stamp(graph, contract=contract), out=out)
    _log.info(
        "wrote %s: %.1f MB, digest %s, labels agree on %.4f %% of %d pixels",
        out,
        len(artifact.model_bytes) / 1e6,
        artifact.short_digest,
        100 * contract.parity.label_agreement,
        contract.parity.pixels,
    )
    return artifact


def restamp(path: Path, *, contract: Contract) -> Artifact:
    """Give a model file another contract, and its graph the decision in it; return the file, opened again.

    The golden labels are judged anew when the decision changed. The network stays as it is.

    Args:
        path: a model file.
        contract: usually what `open_artifact(path).contract.model_copy(update=...)` gives.

    Raises:
        ArtifactError: there is no model at `path`.
        ExportError: the contract is one for another network, or older than the file.
        OSError: the file cannot be read or written; the old one is then untouched.
    """
    before = open_artifact(path)
    # model_copy(update=...) does not validate.
    contract = Contract.model_validate(contract.model_dump())
    if contract.graph_sha256 not in ("", before.digest):
        raise ExportError(
            f"{path}: the contract was read from another file, or from this one before it changed, and would "
            "bring old numbers back; read the contract again (model.artifact.open_artifact), then change it"
        )
    if contract.stride != before.contract.stride:
        raise ExportError(
            f"{path}: the network's stride is {before.contract.stride} and cannot become {contract.stride}"
        )
    if len(before.contract.classes) != len(contract.classes):
        raise ExportError(
            f"{path}: the network has {len(before.contract.classes)} classes, the new contract "
            f"{len(contract.classes)}; expected as many, other names or colours are fine"
        )
    graph = onnx.load_model_from_string(before.model_bytes)
    if contract.decision.weights != before.contract.decision.weights:
        predictor = Predictor.open(stamp(graph, contract=contract), device="cpu")
        golden = judge_golden(predictor, image_png=contract.golden.image_png)
        contract = contract.model_copy(update={"golden": golden})
    return _write_checked(stamp(graph, contract=contract), out=path)


def _shape_of(segmenter: nn.Module) -> tuple[int, int]:
    """(stride, class_count) of a segmenter."""
    stride, class_count = getattr(segmenter, "stride", None), getattr(segmenter, "class_count", None)
    assert isinstance(stride, int), "a segmenter has a stride"
    assert isinstance(class_count, int), "a segmenter has a class_count"
    return stride, class_count


def _check_parts(classes: ClassMap, *, class_count: int, images: Sequence[NDArray[np.uint8]]) -> None:
    """What makes no model is refused before the exporter takes its seconds."""
    if len(classes) != class_count:
        raise ExportError(
            f"{len(classes)} classes ({', '.join(classes.names)}) for a network of {class_count}; "
            "expected the classes it was trained on"
        )
    if not images:
        raise ExportError(
            "no validation image: without one, file and network cannot be compared; give at least one"
        )


def _two_forms(segmenter: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Copies in float32 on the CPU: as it was trained, and as it is exported."""
    trained_form = copy.deepcopy(segmenter).cpu().float().eval()
    exportable = copy.deepcopy(trained_form)
    set_export_form(trained_form, False)
    set_export_form(exportable, True)
    return trained_form, exportable


def _measured(
    contract: Contract,
    *,
    graph: onnx.ModelProto,
    trained_form: nn.Module,
    images: Sequence[NDArray[np.uint8]],
) -> Contract:
    """The contract with what only the file itself can tell: its parity and its golden sample.

    Parity is proven against the form that was trained, so it covers the change of form as well.
    """
    predictor = Predictor.open(stamp(graph, contract=contract), device="cpu")
    parity = prove_parity(trained_form, predictor, images=images)
    golden = choose_golden(predictor, images=images)
    return contract.model_copy(update={"parity": parity, "golden": golden})


def _write_checked(contents: bytes, *, out: Path) -> Artifact:
    """Open the bytes as a user will, run the self-test, and only then put them under their name."""
    Predictor.open(contents, device="cpu").check_golden()
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, contents)
    return open_artifact(out)
