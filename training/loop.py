"""fit(): epoch, step, validate, keep the best: the life of a run, in its order."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from data.dataset import Batch
from data.progress import Meter, meter
from training.checkpoint import BEST, LAST, save_checkpoint
from training.run_log import LOG_FILE, append_log, keep_log
from training.state import TrainingState
from training.validate import ValidationScores, validate

_log: Final = logging.getLogger(__name__)


class DivergedError(ValueError):
    """The loss is no number any more; names the images of the batch."""


@dataclass(frozen=True, slots=True)
class EpochSums:
    """An epoch of training: mean loss, crops per second of all processes together, the share of that time spent
    waiting for data, and the learning rate at its end."""

    loss: float
    images_per_s: float
    waiting_share: float
    lr: float


def fit(state: TrainingState, *, out: Path) -> None:
    """Train until the last epoch is done or `patience` epochs in a row brought nothing better.

    After each epoch `out` holds last.pt, best.pt (by the monitored score) and one more line in log.jsonl.

    Raises:
        DivergedError: the loss became NaN or infinite. CheckpointError: no room for a checkpoint. Either way the
            checkpoints of earlier epochs are intact.
    """
    accelerator, schedule = state.accelerator, state.config.schedule
    writers = _trackers(state, out=out)
    if accelerator.is_main_process:
        keep_log(out / LOG_FILE, epochs=state.epoch)
    batches = None
    while not state.is_over:
        # One loader for all epochs: the next epoch's first crops are made while this one is validated.
        batches = batches or iter(state.loader())
        what = f"epoch {state.epoch + 1}/{schedule.epochs}"
        with meter(what, total=state.keys().steps_per_epoch, quiet=not accelerator.is_main_process) as bar:
            sums = train_epoch(state, batches, bar=bar)
        state.share_statistics()
        scores = validate(
            state.averaged_segmenter,
            store=state.validation,
            class_map=state.class_map,
            loss=state.loss,
            accelerator=accelerator,
        )
        if not math.isfinite(scores.loss):
            raise DivergedError(_describe_validation(state, value=scores.loss))
        is_best = state.finish_epoch(scores)
        if accelerator.is_main_process:
            checkpoint = state.to_checkpoint()
            # last.pt at the end: a run cut off in between repeats the epoch, comes to the same best and log line.
            if is_best:
                save_checkpoint(out / BEST, checkpoint)
            append_log(out / LOG_FILE, {"epoch": state.epoch, "train": asdict(sums), "val": scores.as_row()})
            save_checkpoint(out / LAST, checkpoint)
            _tell(state, what=what, sums=sums, scores=scores, is_best=is_best)
            for writer in writers:
                writer.log(_flat(sums, scores), step=state.epoch)
        accelerator.wait_for_everyone()
    for writer in writers:
        writer.finish()


def train_epoch(state: TrainingState, batches: Iterator[Batch], *, bar: Meter) -> EpochSums:
    """One epoch of optimiser steps."""
    accelerator, settings = state.accelerator, state.config.optimizer
    state.network.train()
    steps = state.keys().steps_per_epoch
    loss_sum, waited_s, started_s = 0.0, 0.0, time.perf_counter()
    for step in range(1, steps + 1):
        asked_s = time.perf_counter()
        batch = next(batches).to(accelerator.device)
        waited_s += time.perf_counter() - asked_s
        with accelerator.accumulate(state.network):
            with accelerator.autocast():
                logits = state.network(batch.images)
            loss = state.loss(logits, batch.labels)
            value = loss.item()
            if not math.isfinite(value):
                raise DivergedError(_describe(state, batch, value=value, step=step))
            if state.regularizer is not None:
                with accelerator.autocast():
                    loss = loss + state.regularizer(state.segmenter, batch, logits)
            accelerator.backward(loss)
            if accelerator.sync_gradients and settings.clip_norm:
                accelerator.clip_grad_norm_(state.network.parameters(), settings.clip_norm)
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)
        if accelerator.sync_gradients:
            state.schedule.step()
            state.averaged.update_parameters(state.segmenter)
        loss_sum += value
        crops = step * len(batch.images) * accelerator.num_processes
        per_s = crops / (time.perf_counter() - started_s)
        bar.advance(note=_note(loss_sum / step, images_per_s=per_s, best=state.best_score))
    spent_s = time.perf_counter() - started_s
    return EpochSums(loss_sum / steps, per_s, waited_s / spent_s, float(state.schedule.get_last_lr()[0]))


def _trackers(state: TrainingState, *, out: Path) -> list[Any]:
    """TensorBoard always, MLflow when asked; accelerate's trackers, of the main process only."""
    from accelerate.tracking import MLflowTracker, TensorBoardTracker
    from accelerate.utils import is_mlflow_available

    if not state.accelerator.is_main_process:
        return []
    trackers: list[Any] = [TensorBoardTracker("tensorboard", logging_dir=str(out))]
    if state.config.tracking.mlflow:
        if is_mlflow_available():
            trackers.append(MLflowTracker(state.config.name, logging_dir=str(out / "mlflow")))
        else:
            _log.warning("tracking.mlflow is asked for, but MLflow is not installed: pip install mlflow")
    for tracker in trackers:
        tracker.start()
    return trackers


def _describe(state: TrainingState, batch: Batch, *, value: float, step: int) -> str:
    names = [str(state.crops.samples[position].image) for position in batch.positions.tolist()]
    return (
        f"the loss is {value} at step {step} of epoch {state.epoch + 1}; the batch holds {', '.join(names)}. "
        "Look at these masks; else lower optimizer.lr, or say compute.precision = fp32. "
        "Earlier checkpoints are intact"
    )


def _describe_validation(state: TrainingState, *, value: float) -> str:
    return (
        f"the validation loss is {value} after epoch {state.epoch + 1}: the weights are no numbers any more, or close "
        "to it. Lower optimizer.lr, or say compute.precision = fp32. Earlier checkpoints are intact"
    )


def _note(loss: float, *, images_per_s: float, best: float | None) -> str:
    known = "" if best is None else f" · best val {best:.3f}"
    return f"loss {loss:.3f} · {images_per_s:.1f} images/s{known}"


def _tell(
    state: TrainingState, *, what: str, sums: EpochSums, scores: ValidationScores, is_best: bool
) -> None:
    """One line per epoch."""
    iou, defects = (
        "—" if value is None else f"{value:.3f}" for value in (scores.mean_iou, scores.mean_defect_iou)
    )
    _log.info(
        "%s: loss %.4f, val loss %.4f, mean IoU %s, defects %s%s; %.1f images/s, %.1f %% waiting",
        what,
        sums.loss,
        scores.loss,
        iou,
        defects,
        " (best)" if is_best else "",
        sums.images_per_s,
        100 * sums.waiting_share,
    )


def _flat(sums: EpochSums, scores: ValidationScores) -> dict[str, float]:
    rows = {"train": asdict(sums), "val": scores.as_row()}
    return {
        f"{part}/{name}": value
        for part, row in rows.items()
        for name, value in row.items()
        if value is not None
    }
