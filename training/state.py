"""Everything a run is made of, built once, and the part of it that a checkpoint carries."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from data.classes import ClassMap
from data.dataset import CropDataset, CropKeys, crop_loader
from data.manifest import Manifest
from data.pixels import PixelStore
from data.sampling import DefectIndex
from model.losses import build_loss, effective_number_weights, median_frequency_weights
from model.segmenter import Segmenter
from training.adapt import Regularizer, Start, build_regularizer, build_segmenter
from training.checkpoint import Checkpoint, CheckpointError
from training.config import ConfigError, LossSettings, RunConfig
from training.device import build_accelerator
from training.optimizer import build_average, build_optimizer, build_schedule
from training.validate import ValidationScores

_log: Final = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class TrainingState:
    """A run between two steps. `network` is what is trained (wrapped when several processes share the work),
    `averaged` is what is validated and exported, `regularizer` is added to the loss to hold a candidate near the
    champion."""

    config: RunConfig
    class_map: ClassMap
    accelerator: Accelerator
    network: nn.Module
    averaged: AveragedModel
    optimizer: torch.optim.Optimizer
    loss: nn.Module
    crops: CropDataset
    validation: PixelStore
    regularizer: Regularizer | None = None
    schedule: LambdaLR = field(init=False)
    epoch: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    stale_epochs: int = 0

    @property
    def segmenter(self) -> Segmenter:
        """The trained network itself."""
        unwrapped = self.accelerator.unwrap_model(self.network)
        assert isinstance(unwrapped, Segmenter)
        return unwrapped

    @property
    def averaged_segmenter(self) -> Segmenter:
        """The averaged network."""
        assert isinstance(self.averaged.module, Segmenter)
        return self.averaged.module

    @property
    def is_over(self) -> bool:
        """Whether the last epoch is done, or patience has ended."""
        schedule = self.config.schedule
        stalled = bool(schedule.patience) and self.stale_epochs >= schedule.patience
        return self.epoch >= schedule.epochs or stalled

    def keys(self) -> CropKeys:
        """The crops of all epochs that are left, for this process; an epoch is whole optimiser steps."""
        schedule = self.config.schedule
        return CropKeys(
            epochs=range(self.epoch, schedule.epochs),
            crops_per_epoch=schedule.crops_per_epoch,
            batch_size=schedule.batch_size,
            steps_multiple=self.config.optimizer.accumulate,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
        )

    def loader(self) -> Any:
        """Batches of all epochs that are left, made ahead."""
        on_gpu = self.accelerator.device.type == "cuda"
        workers = self.config.data.workers
        if workers is None:
            workers = min(8, max(1, (os.cpu_count() or 2) - 1)) if on_gpu else 1
        return crop_loader(self.crops, keys=self.keys(), workers=workers, pin_memory=on_gpu)

    def share_statistics(self) -> None:
        """Give all processes the first one's running statistics, which each has counted on its own crops.

        So all validate one network, the one that is saved, and a resumed run goes on with it.
        """
        if self.accelerator.num_processes > 1:
            for statistic in self.averaged_segmenter.buffers():
                broadcast(statistic)

    def finish_epoch(self, scores: ValidationScores) -> bool:
        """Count the epoch; whether it is the best so far. A score that is None is worse than any."""
        self.epoch += 1
        score = getattr(scores, self.config.schedule.monitor)
        if score is not None and self.config.schedule.monitor == "loss":
            score = -score
        better = self.best_epoch == 0 or (
            score is not None and (self.best_score is None or score > self.best_score)
        )
        if better:
            self.best_score, self.best_epoch, self.stale_epochs = score, self.epoch, 0
        else:
            self.stale_epochs += 1
        return better

    def to_checkpoint(self) -> Checkpoint:
        """What the next epoch depends on."""
        scaler = self.accelerator.scaler
        return Checkpoint(
            config=self.config.to_toml(),
            classes=self.class_map.to_text(),
            epoch=self.epoch,
            network=self.segmenter.state_dict(),
            averaged=self.averaged.state_dict(),
            optimizer=self.optimizer.state_dict(),
            schedule=self.schedule.state_dict(),
            scaler=scaler.state_dict() if scaler is not None else {},
            random_state=torch.get_rng_state(),
            best_score=self.best_score,
            best_epoch=self.best_epoch,
            stale_epochs=self.stale_epochs,
        )

    def restore(self, checkpoint: Checkpoint, *, path: Path) -> None:
        """Go on where `checkpoint` ended, exactly.

        Raises:
            CheckpointError: it is of another network, other classes or another configuration.
        """
        if checkpoint.classes != self.class_map.to_text():
            raise CheckpointError(f"{path}: trained on other classes; resume with the same data set")
        try:
            self.segmenter.load_state_dict(checkpoint.network)
            self.averaged.load_state_dict(checkpoint.averaged)
            self.optimizer.load_state_dict(checkpoint.optimizer)
        except (RuntimeError, ValueError) as error:
            # torch lists every weight, a line each: the first one tells enough.
            told = [line.strip() for line in str(error).splitlines()][:2][-1]
            raise CheckpointError(
                f"{path}: of another network ({told}); resume with the same config"
            ) from error
        self.schedule.load_state_dict(checkpoint.schedule)
        if self.accelerator.scaler is not None and checkpoint.scaler:
            self.accelerator.scaler.load_state_dict(checkpoint.scaler)
        torch.set_rng_state(checkpoint.random_state)
        self.epoch, self.best_epoch = checkpoint.epoch, checkpoint.best_epoch
        self.best_score, self.stale_epochs = checkpoint.best_score, checkpoint.stale_epochs


def build_state(
    config: RunConfig,
    manifest: Manifest,
    *,
    start: Start | None = None,
    on_read: Callable[[int], None] = lambda done: None,
) -> TrainingState:
    """Read the data, then make network, loss and optimiser as `config` says; nothing is trained yet.

    Args:
        start: the champion that a candidate goes on from; a resumed run needs the same one.

    Raises:
        ConfigError: this machine cannot do what is asked. DatasetError: a file is in the way, or a split is empty.
        AdaptError: the champion does not fit. ValueError: no such network, option or loss.
    """
    accelerator = build_accelerator(config.compute, accumulate=config.optimizer.accumulate)
    torch.manual_seed(config.seed)
    class_map = manifest.class_map
    segmenter = build_segmenter(config, class_names=class_map.names, start=start)
    _check_sizes(config, stride=segmenter.stride)
    segmenter.to(accelerator.device).to(memory_format=torch.channels_last)
    crops = CropDataset(
        manifest.split("train"),
        class_map=class_map,
        settings=config.crops,
        seed=config.seed,
        cache_mb=config.data.cache_mb,
        new_samples=start.new_samples if start else frozenset(),
        new_share=config.adapt.new_share,
        on_done=on_read,
    )
    validation = PixelStore(manifest.split("val"), class_map=class_map, cache_mb=config.data.cache_mb)
    validation.fill(lambda position, labels: None)
    optimizer = build_optimizer(segmenter, settings=config.optimizer, encoder=segmenter.encoder)
    averaged = build_average(segmenter, decay=config.optimizer.ema_decay)
    network, prepared = accelerator.prepare(segmenter, optimizer)
    state = TrainingState(
        config=config,
        class_map=class_map,
        accelerator=accelerator,
        network=network,
        averaged=averaged,
        optimizer=prepared,
        loss=_build_loss(config.loss, crops.index).to(accelerator.device),
        crops=crops,
        validation=validation,
        regularizer=build_regularizer(segmenter, config=config, class_names=class_map.names, start=start),
    )
    total_steps = len(state.keys()) // config.optimizer.accumulate
    state.schedule = build_schedule(optimizer, settings=config.optimizer, total_steps=total_steps)
    return state


def _check_sizes(config: RunConfig, *, stride: int) -> None:
    """What the first step, or the export after the last one, would stumble over."""
    for key, size_px in (
        ("crops.crop_px", config.crops.crop_px),
        ("artefact.tile_px", config.artefact.tile_px),
    ):
        if size_px % stride:
            raise ConfigError(f"{key} is {size_px}, expected a multiple of the network's stride, {stride}")


def _build_loss(settings: LossSettings, index: DefectIndex) -> nn.Module:
    """The loss with its class weights counted on the training split."""
    weights = None
    if settings.class_weights == "median_frequency":
        weights = median_frequency_weights(
            index.class_pixels.tolist(),
            pixels_where_present=index.image_pixels.tolist(),
            gamma=settings.gamma,
            clamp=settings.clamp,
        )
    elif settings.class_weights == "effective_number":
        # Counted in images: pixels of one defect are no independent samples.
        counts = index.class_images.tolist()
        weights = effective_number_weights(counts, gamma=settings.gamma, clamp=settings.clamp)
    if weights is not None:
        named = zip(index.class_map.names, weights, strict=True)
        _log.info("class weights: %s", ", ".join(f"{name} {weight:.3g}" for name, weight in named))
    return build_loss(
        settings.terms,
        class_weights=weights,
        binary_beta=settings.binary_beta,
        class_count=len(index.class_map),
    )
