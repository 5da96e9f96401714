"""One run of a study, from its budget to the scores of its model file on the test split; what is done stays done."""

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from accuracy_data import Image, deal
from accuracy_study import Row, Study
from torch.utils.flop_counter import FlopCounterMode

from data.files import write_atomically
from data.locks import LockedError, exclusive_lock
from data.manifest import Manifest
from data.progress import meter
from model.contract import Decision
from model.predictor import Prediction, Predictor
from model.segmenter import build
from training.evaluate import evaluate
from training.evaluation import Evaluation
from training.loop import train_epoch
from training.run import Run, calibrate_run, export_run, train_stage
from training.run_log import LOG_FILE, read_log
from training.state import build_state

_log: Final = logging.getLogger(__name__)
_DECIDED, _ARGMAX, _BUDGET, _LOCK = "test.json", "argmax.json", "budget.json", ".lock"
#: Steps of an epoch of the measurement, and how many epochs are timed after one that is not.
_TIMED_STEPS, _TIMED_EPOCHS = 6, 3


@dataclass(frozen=True, slots=True)
class Result:
    """One finished run.

    Attributes:
        fold: of the data, where a study has folds.
        crops: trained on. log: a row per epoch, as `training.run_log` keeps it. model: its file.
        argmax: on test, each pixel its likeliest class: what the network has learnt. decided: as the model file
            decides after calibration, which gives up area for fewer escapes, one network more of it than another;
            None where the study does without.
    """

    row: Row
    seed: int
    fold: int | None
    crops: int
    log: list[dict[str, Any]]
    argmax: Evaluation
    decided: Evaluation | None
    model: Path


def work(study: Study, *, manifest: Manifest, out: Path, threads: int) -> bool:
    """Make every run that is missing; whether all are there. What another process works at is left to it.

    Seed by seed and fold by fold, so that a study that was cut off has every row.
    """
    whole = True
    manifests = deal(study, manifest)
    for seed, fold in study.runs:
        for row in study.rows:
            folder = _folder(out, row, seed=seed, fold=fold)
            if _is_done(study, folder):
                continue
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                with exclusive_lock(folder.parent / f"{_LOCK}-{folder.name}"):
                    _make(
                        study, row, seed=seed, folder=folder, manifest=manifests[fold or 0], threads=threads
                    )
            except LockedError as error:
                _log.info("%s", error)
                whole = False
    return whole


def _folder(out: Path, row: Row, *, seed: int, fold: int | None) -> Path:
    name = f"seed-{seed}" if fold is None else f"seed-{seed}-fold-{fold}"
    return out / row.folder / name


def _is_done(study: Study, folder: Path) -> bool:
    needed = (_ARGMAX, _DECIDED) if study.decides else (_ARGMAX,)
    return all((folder / name).is_file() for name in needed)


def _make(study: Study, row: Row, *, seed: int, folder: Path, manifest: Manifest, threads: int) -> None:
    crops = _crops(study, row, folder=folder.parent, manifest=manifest, threads=threads)
    config = study.config(row, seed=seed, crops=crops, threads=threads).with_data(manifest.root)
    run = Run.start_or_resume(folder, config=config)
    _log.info(
        "%s, %s: %d crops", row.name, folder.name, config.schedule.epochs * config.schedule.crops_per_epoch
    )
    # A study that was begun before argmax.json was kept has the file; it lacks only that.
    if not (folder / _DECIDED).is_file():
        train_stage(run, manifest)
        export_run(run, manifest=manifest)
        if study.decides:
            calibrate_run(run, manifest=manifest)
    judge(run, manifest=manifest, decides=study.decides)


def judge(run: Run, *, manifest: Manifest, decides: bool) -> None:
    """Keep what the finished model file does on test, by argmax and, if it was calibrated, as it decides."""
    predictor = Predictor.open(run.model, threads=run.config.compute.threads)
    models = {_ARGMAX: _ByArgmax(predictor)} | ({_DECIDED: predictor} if decides else {})
    for name, model in models.items():
        found = evaluate(model, manifest, split="test")
        write_atomically(run.folder / name, found.model_dump_json(indent=1).encode())


class _ByArgmax:
    """A model file as it was before calibration."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        decision = Decision.neutral(len(predictor.contract.classes))
        self.contract = predictor.contract.model_copy(update={"decision": decision})

    def predict(self, image: Image, *, want_probabilities: bool = False) -> Prediction:
        decision = self.contract.decision
        return self._predictor.predict(image, want_probabilities=want_probabilities, decision=decision)


def _crops(study: Study, row: Row, *, folder: Path, manifest: Manifest, threads: int) -> int:
    """How many crops a row's budget is: given, or what its processor time allows, measured once for all seeds."""
    if study.crops is not None:
        return study.crops
    assert study.cpu_minutes is not None, "a study has one budget or the other"
    path = folder / _BUDGET
    with exclusive_lock(folder / f"{_LOCK}-budget", wait_s=600):
        if not path.is_file():
            seconds = _seconds_per_crop(study, row, manifest=manifest, threads=threads)
            crops = int(60 * study.cpu_minutes / seconds)
            _log.info("%s: %.1f ms of processor time a crop", row.name, 1000 * seconds)
            write_atomically(path, json.dumps({"crops": crops, "seconds_per_crop": seconds}).encode())
        return int(json.loads(path.read_bytes())["crops"])


def _seconds_per_crop(study: Study, row: Row, *, manifest: Manifest, threads: int) -> float:
    """Processor time of a training crop: making it, forward, backward and optimiser; the fastest of some epochs."""
    config = study.config(row, seed=study.seeds[0], crops=1, threads=threads)
    crops = _TIMED_STEPS * config.schedule.batch_size
    schedule = {"epochs": 1 + _TIMED_EPOCHS, "crops_per_epoch": crops}
    config = config.model_copy(update={"schedule": config.schedule.model_copy(update=schedule)})
    state = build_state(config, manifest)
    batches, taken = iter(state.loader()), []
    for epoch in range(1 + _TIMED_EPOCHS):
        began_s = time.process_time()
        with meter(f"{row.name}: measuring, {epoch}", total=_TIMED_STEPS) as bar:
            train_epoch(state, batches, bar=bar)
        taken.append(time.process_time() - began_s)
    return min(taken[1:]) / crops


def results(study: Study, *, out: Path) -> list[Result]:
    """The runs that are finished, in the table's order; of a study in folds, the folds that every begun row has."""
    done = {
        row.name: [one for one in study.runs if _is_done(study, _folder(out, row, seed=one[0], fold=one[1]))]
        for row in study.rows
    }
    shared = set(study.runs)
    if study.folds is not None:
        shared.intersection_update(*(runs for runs in done.values() if runs))
    return [
        _read(study, row, seed=seed, fold=fold, folder=_folder(out, row, seed=seed, fold=fold))
        for row in study.rows
        for seed, fold in done[row.name]
        if (seed, fold) in shared
    ]


def _read(study: Study, row: Row, *, seed: int, fold: int | None, folder: Path) -> Result:
    def judged(name: str) -> Evaluation:
        return Evaluation.model_validate_json((folder / name).read_bytes())

    run = Run.open(folder)
    schedule = run.config.schedule
    return Result(
        row=row,
        seed=seed,
        fold=fold,
        crops=schedule.epochs * schedule.crops_per_epoch,
        log=read_log(folder / LOG_FILE),
        argmax=judged(_ARGMAX),
        decided=judged(_DECIDED) if study.decides else None,
        model=run.model,
    )


@dataclass(frozen=True, slots=True)
class Size:
    """parameters: learnt numbers; gmac: 10^9 multiply-adds for one image of the size that was asked."""

    parameters: int
    gmac: float


def measure_size(study: Study, row: Row, *, class_count: int, size_hw: tuple[int, int]) -> Size:
    """The network of a row, counted by torch on an image of `size_hw`, enlarged to whole strides."""
    network = study.config(row, seed=0, crops=1, threads=1).network
    segmenter = build(network.name, class_count=class_count, options=network.structural_options).eval()
    height, width = (-(-side // segmenter.stride) * segmenter.stride for side in size_hw)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        segmenter(torch.zeros(1, height, width, 3, dtype=torch.uint8))
    return Size(
        parameters=sum(parameter.numel() for parameter in segmenter.parameters()),
        gmac=counter.get_total_flops() / 2e9,
    )
