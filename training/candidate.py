"""A candidate, from a champion and labelled images to a calibrated model file with all that the next round needs."""

import logging
from pathlib import Path
from typing import Final

import torch

from data.dataset import CropDataset
from data.files import write_atomically
from data.manifest import DatasetError, Manifest
from data.snapshots import Snapshot
from model.predictor import Predictor
from model.store import ModelStore, Parents, Version
from training.adapt import Start, matched_fisher
from training.checkpoint import BEST, CheckpointError
from training.evaluate import evaluate
from training.ewc import FISHER_FILE, add_online, compute_fisher, save_fisher
from training.export import restamp
from training.gate.relabel import in_common_classes
from training.network_file import NETWORK_FILE, write_network
from training.operating_point import Rates
from training.report import METRICS_FILE, REPORT_FILE
from training.retrain_config import BASE_FILE
from training.run import CONFIG_FILE, Run, export_run, finish_run, train_stage, trained_network

_log: Final = logging.getLogger(__name__)
#: Crops that a Fisher information is measured on: 20 s on two cores, and its large entries repeat within some percent.
_FISHER_CROPS: Final = 256
#: What a version in the store carries besides its model file, where a run has it.
_KEPT: Final = (CONFIG_FILE, BASE_FILE, METRICS_FILE, REPORT_FILE, NETWORK_FILE, FISHER_FILE)


def make_candidate(
    run: Run, manifest: Manifest, *, start: Start | None, champion: Path | None = None
) -> None:
    """Train, export, calibrate on val and report, in the run's folder; a job that was cut off goes on after its last
    epoch, one that is done does nothing. `champion` is the model file whose rates on val it must not fall behind.

    Raises:
        ValueError family: as `training.run` does; what was finished stays.
    """
    if (run.folder / FISHER_FILE).is_file():
        return
    write_atomically(run.folder / CONFIG_FILE, run.config.to_toml().encode())
    if not (run.folder / METRICS_FILE).is_file():
        train_stage(run, manifest, start=start)
        artifact = export_run(run, manifest=manifest)
        restamp(run.model, contract=artifact.contract.model_copy(update={"version": run.folder.name}))
        threads = run.config.compute.threads
        replaced = None if champion is None else rates_of(champion, manifest, threads=threads)
        finish_run(run, manifest=manifest, replaced=replaced)
    keep_for_retraining(run, manifest, start=start)


def rates_of(champion: Path, manifest: Manifest, *, threads: int | None = None) -> Rates | None:
    """Escape and overkill of a model file on val; None where val holds no NG or no OK image.

    `threads`: see `model.runtime.open_runtime`.
    """
    wide, (model,) = in_common_classes(manifest, Predictor.open(champion, threads=threads))
    scores = evaluate(model, wide, split="val").scores
    escape, overkill = scores["escape_rate"], scores["overkill_rate"]
    return None if escape is None or overkill is None else Rates(escape, overkill)


def add_run(
    folder: Path,
    *,
    store: ModelStore,
    by: str,
    reason: str = "",
    data: Path | None = None,
    snapshot: Snapshot | None = None,
) -> Version:
    """Put a trained run into the store with all that a candidate goes on from; a warning names what it lacks.

    Args:
        data: where its data set lies now; None: where it was trained.
        snapshot: what it was trained on, where there is one.

    Raises:
        ConfigError: the folder holds no run. ArtifactError: its model file is none.
        OSError: it has no model file, or the disk is full.
    """
    run = Run.open(folder)
    if data is not None:
        run = Run(folder, run.config.with_data(data))
    # One that is there may stand for more rounds than this one.
    if not (run.folder / FISHER_FILE).is_file():
        try:
            keep_for_retraining(run)
        except (CheckpointError, DatasetError, OSError) as error:
            lacks = [name for name in (NETWORK_FILE, FISHER_FILE) if not (run.folder / name).is_file()]
            _log.warning(
                "%s goes into the store without %s (%s): no candidate can go on from it%s",
                folder,
                " and ".join(lacks),
                error,
                "" if NETWORK_FILE in lacks else " by --strategy ewc",
            )
    return store.add(
        run.model,
        by=by,
        reason=reason,
        parents=Parents(snapshot=None if snapshot is None else snapshot.digest, run=folder.resolve().name),
        attachments=kept_files(folder),
    )


def keep_for_retraining(run: Run, manifest: Manifest | None = None, *, start: Start | None = None) -> None:
    """Write network.pt and fisher.pt beside a trained model: what the next candidate goes on from.

    `manifest` is what it was trained on; None: the data set that its configuration names.
    Of a candidate the Fisher information is that of all rounds together (`training.ewc.add_online`).

    Raises:
        CheckpointError: the run has no checkpoint. DatasetError: its data set is not there, or an image cannot be read.
    """
    write_network(run.folder / BEST)
    segmenter, class_map = trained_network(run, checkpoint=run.folder / BEST)
    crops = CropDataset(
        (manifest or run.manifest()).split("train"),
        class_map=class_map,
        settings=run.config.crops,
        seed=run.config.seed,
        cache_mb=run.config.data.cache_mb,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fisher = compute_fisher(segmenter, crops, crops=_FISHER_CROPS, device=device, seed=run.config.seed)
    if start is not None and start.fisher is not None:
        before = matched_fisher(start, segmenter=segmenter, class_names=class_map.names)
        fisher = add_online(before, fisher)
    save_fisher(run.folder / FISHER_FILE, fisher)


def kept_files(folder: Path) -> dict[str, Path]:
    """The files of a run that its version in the store carries along, by name: those that are there."""
    return {name: folder / name for name in _KEPT if (folder / name).is_file()}
