"""A run: one folder that goes from labelled images to one model file and an honest report.

    RUN/config.toml       everything that decided how the model was made
    RUN/last.pt, best.pt  checkpoints; log.jsonl, run.log, TensorBoard's events
    RUN/model.onnx        the model: the best epoch's averaged weights, calibrated, scored
    RUN/calibration.json  how its decision was chosen
    RUN/metrics.json      its scores on val and test; images.csv: a row per test image
    RUN/report.html       the same for people

Each stage can be repeated alone: `segnet export | calibrate | evaluate`.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.classes import ClassMap
from data.files import write_atomically
from data.images import read_image
from data.manifest import Manifest, Sample
from data.progress import meter
from data.sources import open_dataset
from model.artifact import Artifact
from model.predictor import Predictor
from model.segmenter import Segmenter, build
from training.adapt import Start
from training.checkpoint import BEST, LAST, CheckpointError, load_checkpoint
from training.config import ConfigError, RunConfig, read_config
from training.evaluate import evaluate
from training.export import export_artifact, restamp
from training.loop import fit
from training.network_file import averaged_weights
from training.operating_point import Rates
from training.provenance import describe_provenance
from training.report import write_results
from training.report_cases import draw_galleries
from training.run_log import LOG_FILE, read_log
from training.stages import CalibratedFile, calibrate_file
from training.state import build_state

_log: Final = logging.getLogger(__name__)
CONFIG_FILE, MODEL_FILE, TEXT_LOG_FILE = "config.toml", "model.onnx", "run.log"
_BEFORE_TRAINING: Final = (CONFIG_FILE, TEXT_LOG_FILE)
#: Real images that file and network are compared on: enough sizes, and some seconds at most.
_PARITY_IMAGES, _PARITY_PIXELS = 12, 6_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder and its configuration."""

    folder: Path
    config: RunConfig

    @classmethod
    def start(cls, folder: Path, *, config: RunConfig) -> "Run":
        """A new run. Of several processes the first makes the folder.

        Raises:
            ConfigError: no data set is named, or the folder holds something: earlier results are never overwritten.
                A run that stopped before its first step, as over a mistake in the data, may be started again.
        """
        if config.data.root is None:
            raise ConfigError("no data set: give --data DIR, or data.root in the configuration")
        if is_first_process():
            if folder.exists() and any(path.name not in _BEFORE_TRAINING for path in folder.iterdir()):
                raise ConfigError(
                    f"{folder} holds a run already; go on with it by --resume, or name another folder with --out"
                )
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / CONFIG_FILE, config.to_toml().encode())
        return cls(folder, config)

    @classmethod
    def resume(cls, folder: Path, *, config: RunConfig) -> "Run":
        """The run in `folder`, which must have been started with this very configuration.

        Raises:
            ConfigError: there is no run, or it differs; names the first keys that do.
        """
        before = cls.open(folder).config
        if before.digest() != config.digest():
            changed = ", ".join(_differences(before, config))
            raise ConfigError(
                f"{folder / CONFIG_FILE} and the configuration given differ in {changed}; "
                "a resumed run goes on unchanged: give the same, or start a new run"
            )
        return cls(
            folder, config.model_copy(update={"data": config.data if config.data.root else before.data})
        )

    @classmethod
    def start_or_resume(cls, folder: Path, *, config: RunConfig) -> "Run":
        """The run in `folder`, begun where there is none: a study that was cut off goes on. Raises ConfigError."""
        begun = (folder / CONFIG_FILE).is_file()
        return cls.resume(folder, config=config) if begun else cls.start(folder, config=config)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """The run in `folder`. Raises ConfigError when there is none."""
        if not (folder / CONFIG_FILE).is_file():
            raise ConfigError(
                f"{folder} holds no run (no {CONFIG_FILE}); give the folder of `segnet train --out`"
            )
        return cls(folder, read_config(folder / CONFIG_FILE))

    @property
    def model(self) -> Path:
        """Where the model file is, or will be."""
        return self.folder / MODEL_FILE

    def manifest(self) -> Manifest:
        """The data set, opened. Raises DatasetError."""
        assert self.config.data.root is not None, "a run names its data set"
        return open_dataset(self.config.data.root)


def train_run(run: Run) -> None:
    """All the way: train (from last.pt if there is one), export, calibrate on val, evaluate on val and test.

    Raises:
        ValueError family: the data, the configuration or the loss stand in the way; what was finished stays.
    """
    manifest = run.manifest()
    for split in ("train", "val"):
        manifest.split(split)
    train_stage(run, manifest)
    if is_first_process():
        export_run(run, manifest=manifest)
        finish_run(run, manifest=manifest)


def is_first_process() -> bool:
    """Whether this is the only process or the first of several; torchrun and accelerate say so in RANK."""
    return os.environ.get("RANK", "0") == "0"


def train_stage(run: Run, manifest: Manifest, *, start: Start | None = None) -> None:
    """Train until the end, going on from last.pt where there is one; `start` is the champion that a candidate has."""
    quiet = not is_first_process()
    with meter("reading", total=len(manifest.split("train")), quiet=quiet) as bar:
        state = build_state(run.config, manifest, start=start, on_read=lambda done: bar.advance())
    last = run.folder / LAST
    if last.is_file():
        state.restore(load_checkpoint(last), path=last)
        _log.info("going on after epoch %d of %d", state.epoch, run.config.schedule.epochs)
    fit(state, out=run.folder)
    state.accelerator.end_training()


def export_run(
    run: Run, *, manifest: Manifest, checkpoint: Path | None = None, out: Path | None = None
) -> Artifact:
    """Write the model file of a run from its best checkpoint (or another of its checkpoints).

    Raises:
        CheckpointError: there is none, or it is damaged. ExportError, ParityError: see `training.export`.
    """
    segmenter, class_map = trained_network(run, checkpoint=checkpoint or run.folder / BEST)
    return export_artifact(
        segmenter,
        out=out or run.model,
        name=run.config.name,
        classes=class_map,
        tile_px=run.config.artefact.tile_px,
        halo_px=run.config.artefact.halo_px,
        provenance=describe_provenance(run.config, manifest, run=run.folder.resolve().name),
        validation_images=_parity_images(manifest.split("val")),
    )


def trained_network(run: Run, *, checkpoint: Path) -> tuple[Segmenter, ClassMap]:
    """The averaged network of one of a run's checkpoints, and its classes. Raises CheckpointError."""
    saved = load_checkpoint(checkpoint)
    class_map = ClassMap.from_text(saved.classes, origin=str(checkpoint))
    network = run.config.network
    segmenter = build(network.name, class_count=len(class_map), options=network.structural_options)
    try:
        segmenter.load_state_dict(averaged_weights(saved))
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint}: holds another network than {run.folder / CONFIG_FILE} names"
        ) from error
    return segmenter, class_map


def calibrate_run(run: Run, *, manifest: Manifest, replaced: Rates | None = None) -> CalibratedFile:
    """Choose the model file's decision on val, as the configuration says; see `training.stages.calibrate_file`."""
    return calibrate_file(
        run.model,
        manifest,
        split="val",
        max_escape_rate=run.config.artefact.max_escape_rate,
        replaced=replaced,
        threads=run.config.compute.threads,
    )


def finish_run(run: Run, *, manifest: Manifest, replaced: Rates | None = None) -> Path:
    """Calibrate the model file on val, score it on val and test, write metrics and report; returns the report.

    `replaced` are the rates on val of the model that this one is to replace (`training.operating_point`, rule 5).
    """
    calibrated = calibrate_run(run, manifest=manifest, replaced=replaced)
    predictor = Predictor.open(run.model, threads=run.config.compute.threads)
    judged = "test" if "test" in manifest.splits else "val"
    evaluation = calibrated.after if judged == "val" else evaluate(predictor, manifest, split=judged)
    scores = {"val": calibrated.after.scores, judged: evaluation.scores}
    artifact = restamp(run.model, contract=predictor.contract.model_copy(update={"scores": scores}))
    return write_results(
        run.folder,
        contract=artifact.contract,
        digest=artifact.digest,
        evaluation=evaluation,
        others=() if judged == "val" else (calibrated.after,),
        calibration=calibrated.calibration,
        log=read_log(run.folder / LOG_FILE),
        galleries=draw_galleries(predictor, manifest, evaluation=evaluation),
        config_text=run.config.to_toml(),
    )


def _parity_images(samples: Sequence[Sample]) -> list[NDArray[np.uint8]]:
    """Images spread over the split, up to a count and a number of pixels."""
    chosen: list[NDArray[np.uint8]] = []
    step = max(1, len(samples) // _PARITY_IMAGES)
    for sample in samples[::step][:_PARITY_IMAGES]:
        image = read_image(sample.image)
        if chosen and sum(one.size for one in chosen) + image.size > 3 * _PARITY_PIXELS:
            break
        chosen.append(image)
    return chosen


def _differences(before: RunConfig, after: RunConfig) -> list[str]:
    """Dotted keys whose values differ."""

    def flat(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in tree.items():
            if isinstance(value, dict):
                found |= flat(value, f"{prefix}{key}.")
            else:
                found[prefix + key] = value
        return found

    one, two = flat(before.deciding()), flat(after.deciding())
    return [key for key in sorted(one.keys() | two.keys()) if one.get(key) != two.get(key)]
