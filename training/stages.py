"""Calibrate a model file where it lies: the decision, and the scores that it makes true."""

from dataclasses import dataclass
from pathlib import Path

from data.files import write_atomically
from data.manifest import Manifest
from model.artifact import open_artifact
from model.contract import Decision
from model.predictor import Predictor
from training.calibrate import calibrate
from training.calibration import CALIBRATION_FILE, Calibration
from training.evaluate import evaluate
from training.evaluation import Evaluation
from training.export import restamp
from training.operating_point import Rates


@dataclass(frozen=True, slots=True)
class CalibratedFile:
    """What calibration changed: the decision before, and how the file judges the split since."""

    decision_before: Decision
    calibration: Calibration
    after: Evaluation


def calibrate_file(
    path: Path,
    manifest: Manifest,
    *,
    split: str,
    max_escape_rate: float,
    replaced: Rates | None = None,
    threads: int | None = None,
) -> CalibratedFile:
    """Choose the decision of the model file at `path` on `split` and write it in; calibration.json lies beside it.

    Scores of the former decision hold no more: those of `split` are measured anew on the file, others go.
    `threads`: see `model.runtime.open_runtime`.

    Raises:
        ArtifactError: no model file. CalibrationError, DatasetError, PairError: see `training.calibrate`.
    """
    artifact = open_artifact(path)
    calibration = calibrate(
        Predictor.open(artifact, threads=threads),
        manifest,
        split=split,
        max_escape_rate=max_escape_rate,
        replaced=replaced,
    )
    decided = artifact.contract.model_copy(update={"decision": calibration.decision, "scores": {}})
    decided_file = restamp(path, contract=decided)
    # What the file itself now does, not what was promised.
    after = evaluate(Predictor.open(decided_file, threads=threads), manifest, split=split)
    restamp(path, contract=decided_file.contract.model_copy(update={"scores": {split: after.scores}}))
    write_atomically(path.with_name(CALIBRATION_FILE), calibration.model_dump_json(indent=2).encode())
    return CalibratedFile(artifact.contract.decision, calibration, after)
