"""One champion or candidate of the study: trained, exported, calibrated and judged as any other; its numbers stay."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from forgetting_task import ALL_CLASSES, NEW, NEW_TEST, OLD, OLD_TEST, Task
from pydantic import BaseModel, ConfigDict

from data.files import write_atomically
from data.manifest import Manifest
from model.predictor import Predictor
from training.adapt import Start
from training.config import parse_config
from training.evaluate import evaluate
from training.evaluation import Evaluation, ImageRow
from training.gate.relabel import in_common_classes
from training.metrics import Confusion, escape_rate, mean_of_known, overkill_rate, ratio
from training.run import Run, calibrate_run, export_run, train_stage
from training.run_log import LOG_FILE, read_log

_SCORES_FILE: Final = "scores.json"


class Scores(BaseModel):
    """Of one model file on the test images; None: nothing to measure it on.

    old_iou: mean over the old classes, on the images of the old task, where no stain can be taken for a pit: what is
    lost there is forgotten. new_iou: over all test images, so that calling everything a stain does not pay.
    Recall: share of the regions found as what they are. Escape: share of the NG images called OK. val_iou: mean over
    the defect classes that val shows, at its best epoch: all that may be known when strategies are chosen. cpu_minutes:
    of training, export and calibration, as the machine may be shared; of a run that was cut off, what was left.
    """

    model_config = ConfigDict(frozen=True)

    old_iou: float | None
    old_recall: float | None
    old_escape: float | None
    new_iou: float | None
    new_recall: float | None
    new_escape: float | None
    overkill: float | None
    val_iou: float
    cpu_minutes: float


def make(
    folder: Path, *, tree: Mapping[str, Any], manifest: Manifest, task: Task, start: Start | None = None
) -> Scores:
    """The scores of the run in `folder`, made where they are missing; one that was cut off goes on.

    Raises:
        ConfigError: the folder holds a run of another configuration.
    """
    config = parse_config(tree, origin=folder.name).with_data(manifest.root)
    run = Run.start_or_resume(folder, config=config)
    results = folder / _SCORES_FILE
    if not results.is_file():
        started_s = time.process_time()
        train_stage(run, manifest, start=start)
        export_run(run, manifest=manifest)
        calibrate_run(run, manifest=manifest)
        cpu_minutes = (time.process_time() - started_s) / 60
        scores = _judge(run, task=task, cpu_minutes=cpu_minutes)
        write_atomically(results, scores.model_dump_json(indent=2).encode())
    return Scores.model_validate_json(results.read_bytes())


def _judge(run: Run, *, task: Task, cpu_minutes: float) -> Scores:
    """Both halves of the test images through the model file; a champion knows no stain and calls it something else."""
    predictor = Predictor.open(run.model, threads=run.config.compute.threads)
    test, (model,) = in_common_classes(task.test, predictor)
    old, new = (evaluate(model, test, split=split) for split in (OLD_TEST, NEW_TEST))
    old_ids = [ALL_CLASSES.index_of(name) for name in OLD]
    rows = old.rows + new.rows
    epochs = [row["val"]["mean_defect_iou"] for row in read_log(run.folder / LOG_FILE)]
    return Scores(
        old_iou=mean_of_known(_iou(old)[class_id] for class_id in old_ids),
        old_recall=_recall(old.rows, OLD),
        old_escape=_escape(old.rows),
        new_iou=_iou(old, new)[ALL_CLASSES.index_of(NEW)],
        new_recall=_recall(new.rows, (NEW,)),
        new_escape=_escape(new.rows),
        overkill=overkill_rate([row.is_ng for row in rows], called_ng=[row.called_ng for row in rows]),
        val_iou=max(value for value in epochs if value is not None),
        cpu_minutes=cpu_minutes,
    )


def _iou(*evaluations: Evaluation) -> list[float | None]:
    """By class, over the pixels of all."""
    total = Confusion(len(ALL_CLASSES))
    for evaluation in evaluations:
        total.counts += np.array(evaluation.confusion)
    return total.iou()


def _recall(rows: tuple[ImageRow, ...], names: tuple[str, ...]) -> float | None:
    pairs = [pair for row in rows for name, pair in row.found_by_class.items() if name in names]
    return ratio(sum(found for found, _ in pairs), sum(true for _, true in pairs))


def _escape(rows: tuple[ImageRow, ...]) -> float | None:
    return escape_rate([row.is_ng for row in rows], called_ng=[row.called_ng for row in rows])
