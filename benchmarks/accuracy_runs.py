"""One run of a study, from its budget to the scores of its model file on the test split; what is done stays done."""

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from accuracy_study import Row, Study
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from data.classes import ClassMap, ClassSpec
from data.files import write_atomically
from data.images import encode_png, read_image
from data.layout import LabelledImage, write_layout
from data.locks import LockedError, exclusive_lock
from data.manifest import Manifest
from data.pixels import read_pair
from data.progress import meter
from data.sources import open_dataset
from model.predictor import Predictor
from model.segmenter import build
from training.evaluate import evaluate
from training.evaluation import Evaluation
from training.loop import train_epoch
from training.run import Run, calibrate_run, export_run, train_stage
from training.run_log import LOG_FILE, read_log
from training.state import build_state

Image = NDArray[np.uint8]

_log: Final = logging.getLogger(__name__)
_RESULT, _BUDGET, _LOCK = "test.json", "budget.json", ".lock"
#: Steps of an epoch of the measurement, and how many epochs are timed after one that is not.
_TIMED_STEPS, _TIMED_EPOCHS = 6, 3


@dataclass(frozen=True, slots=True)
class Result:
    """One finished run. crops: trained on; log: a row per epoch, as `training.run_log` keeps it; model: its file."""

    row: Row
    seed: int
    crops: int
    log: list[dict[str, Any]]
    test: Evaluation
    model: Path


def prepare(study: Study, *, datasets: Path, out: Path) -> Manifest:
    """The study's data set, opened; images of a given size are made once, in `out`/data.

    Raises:
        DatasetError: there is none, or it is damaged.
    """
    source = open_dataset(datasets / study.data)
    if study.size_hw is None and not study.scenes:
        return source
    destination = out / "data"
    if not destination.exists():
        count = sum(len(source.split(split)) for split in source.splits)
        with meter(f"{study.data} for this study", total=count) as bar:
            write_layout(
                _resized(source, study=study),
                class_map=_class_map(source, study=study),
                destination=destination,
                on_done=lambda done: bar.advance(),
            )
    return open_dataset(destination)


def _class_map(source: Manifest, *, study: Study) -> ClassMap:
    if not study.scenes:
        return source.class_map
    return ClassMap(
        classes=tuple(
            ClassSpec(name=spec.name, color=spec.color, role="background")
            for spec in source.class_map.classes
        )
    )


def _resized(source: Manifest, *, study: Study) -> Iterator[LabelledImage]:
    """Images by the mean of the pixels that become one, labels by the nearest."""
    for split in source.splits:
        for sample in source.split(split):
            image, labels = read_pair(sample, class_map=source.class_map)
            if study.size_hw is not None:
                size_wh = study.size_hw[::-1]
                image = np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
                labels = np.asarray(
                    cv2.resize(labels, size_wh, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8
                )
            yield LabelledImage(
                name=sample.name,
                split=split,
                content=encode_png(image),
                labels=labels,
                origin=str(sample.image),
                group=sample.group,
            )


def work(study: Study, *, manifest: Manifest, out: Path, threads: int) -> bool:
    """Make every run that is missing; whether all are there. What another process works at is left to it.

    Seed by seed, so that a study that was cut off has every row.
    """
    whole = True
    for seed in study.seeds:
        for row in study.rows:
            folder = out / row.folder / f"seed-{seed}"
            if (folder / _RESULT).is_file():
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
    train_stage(run, manifest)
    export_run(run, manifest=manifest)
    calibrate_run(run, manifest=manifest)
    test = evaluate(Predictor.open(run.model, threads=threads), manifest, split="test")
    write_atomically(folder / _RESULT, test.model_dump_json(indent=1).encode())


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
                test = Evaluation.model_validate_json((folder / _RESULT).read_bytes())
                run = Run.open(folder)
                schedule = run.config.schedule
                found.append(
                    Result(
                        row=row,
                        seed=seed,
                        crops=schedule.epochs * schedule.crops_per_epoch,
                        log=read_log(folder / LOG_FILE),
                        test=test,
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


def typical_image(manifest: Manifest) -> Image:
    """The test image of median area, uint8 RGB [height, width, 3]."""
    images = [read_image(sample.image) for sample in manifest.split("test")]
    return sorted(images, key=lambda image: image.size)[len(images) // 2]
