"""One run of a study, from its budget to the scores of its model file on the test split; what is done stays done."""

import contextlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from accuracy_data import Image
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
        crops: trained on. log: a row per epoch, as `training.run_log` keeps it. model: its file.
        argmax: on test, each pixel its likeliest class: what the network has learnt. decided: as the model file
            decides after calibration, which gives up area for fewer escapes, one network more of it than another.
    """

    row: Row
    seed: int
    crops: int
    log: list[dict[str, Any]]
    argmax: Evaluation
    decided: Evaluation
    model: Path


def work(study: Study, *, manifest: Manifest, out: Path, threads: int) -> bool:
    """Make every run that is missing; whether all are there. What another process works at is left to it.

    Seed by seed, so that a study that was cut off has every row.
    """
    whole = True
    for seed in study.seeds:
        for row in study.rows:
            folder = out / row.folder / f"seed-{seed}"
            if all((folder / name).is_file() for name in (_ARGMAX, _DECIDED)):
                continue
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                with exclusive_lock(folder.parent / f"{_LOCK}-{seed}"):
                    _make(study, row, seed=seed, folder=folder, manifest=manifest, threads=threads)
            except LockedError as error:
                _log.info("%s", error)
                whole = False
    return whole


def _make(study: Study, row: Row, *, seed: int, folder: Path, manifest: Manifest, threads: int) -> None:
    crops = _crops(study, row, folder=folder.parent, manifest=manifest, threads=threads)
    config = study.config(row, seed=seed, crops=crops, threads=threads).with_data(manifest.root)
    run = Run.start_or_resume(folder, config=config)
    _log.info(
        "%s, seed %d: %d crops", row.name, seed, config.schedule.epochs * config.schedule.crops_per_epoch
    )
    # A study that was begun before argmax.json was kept has the file; it lacks only that.
    if not (folder / _DECIDED).is_file():
        train_stage(run, manifest)
        export_run(run, manifest=manifest)
        calibrate_run(run, manifest=manifest)
    judge(run, manifest=manifest)


def judge(run: Run, *, manifest: Manifest) -> None:
    """Keep what the finished model file does on test, by argmax and as it decides."""
    predictor = Predictor.open(run.model, threads=run.config.compute.threads)
    for name, model in ((_ARGMAX, _ByArgmax(predictor)), (_DECIDED, predictor)):
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
    """All runs that are finished, in the table's order."""
    found = []
    for row in study.rows:
        for seed in study.seeds:
            folder = out / row.folder / f"seed-{seed}"
            with contextlib.suppress(FileNotFoundError):
                argmax, decided = (
                    Evaluation.model_validate_json((folder / name).read_bytes())
                    for name in (_ARGMAX, _DECIDED)
                )
                run = Run.open(folder)
                schedule = run.config.schedule
                found.append(
                    Result(
                        row=row,
                        seed=seed,
                        crops=schedule.epochs * schedule.crops_per_epoch,
                        log=read_log(folder / LOG_FILE),
                        argmax=argmax,
                        decided=decided,
                        model=run.model,
                    )
                )
    return found


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
