"""The life of a run: steps, best epoch, early end, and what is left when it cannot go on."""

import errno
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor, nn

from training import loop
from training.checkpoint import BEST, LAST, CheckpointError, load_checkpoint
from training.loop import DivergedError, fit
from training.run_log import LOG_FILE, append_log, keep_log, read_log
from training.state import TrainingState
from training.validate import ValidationScores

pytestmark = pytest.mark.usefixtures("fresh_torch")
BuildState = Callable[..., TrainingState]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], None]:
    """Puts given defect scores in the place of validation."""

    def plant(values: Sequence[float]) -> None:
        left = iter(values)

        def validate(*_: object, **__: object) -> ValidationScores:
            value = next(left)
            return ValidationScores(loss=1 - value, mean_iou=value, mean_defect_iou=value)

        monkeypatch.setattr(loop, "validate", validate)

    return plant


def files_of(folder: Path) -> dict[str, bytes]:
    """Checkpoints, and whatever a stopped writer might have left."""
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != LOG_FILE
    }


def test_a_run_leaves_a_line_an_epoch_and_its_checkpoints(build: BuildState, tmp_path: Path) -> None:
    state = build()
    fit(state, out=tmp_path)
    rows = read_log(tmp_path / LOG_FILE)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert set(row["train"]) == {"loss", "images_per_s", "waiting_share", "lr"}
        assert set(row["val"]) == {"loss", "mean_iou", "mean_defect_iou"}
        assert row["train"]["images_per_s"] > 0
        assert 0 <= row["train"]["waiting_share"] <= 1
    # Two warm-up steps, and at the end of the schedule its last share of the peak.
    assert rows[-1]["train"]["lr"] == pytest.approx(2e-3 * 0.01)
    last = load_checkpoint(tmp_path / LAST)
    assert last.epoch == 3
    assert last.schedule["last_epoch"] == 12
    assert int(last.averaged["n_averaged"]) == 12
    assert set(files_of(tmp_path)) == {BEST, LAST}
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_training_lowers_the_loss(build: BuildState, tmp_path: Path) -> None:
    # Without class weights: with them the loss hangs on which rare pixels an epoch happens to show.
    state = build("loss.class_weights=none", "schedule.epochs=5", "schedule.crops_per_epoch=64")
    fit(state, out=tmp_path)
    losses = [row["train"]["loss"] for row in read_log(tmp_path / LOG_FILE)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 4), (2, 2), (4, 1)])
def test_the_optimiser_steps_once_for_so_many_batches_and_the_schedule_with_it(
    build: BuildState, tmp_path: Path, accumulate: int, steps: int
) -> None:
    state = build(f"optimizer.accumulate={accumulate}", "schedule.epochs=2")
    taken: list[float] = []
    optimizer: Any = state.optimizer
    optimizer.optimizer.register_step_post_hook(
        lambda stepped, *_: taken.append(stepped.param_groups[0]["lr"])
    )
    fit(state, out=tmp_path)
    assert len(taken) == 2 * steps
    assert len(set(taken)) > 1
    last = load_checkpoint(tmp_path / LAST)
    assert last.schedule["last_epoch"] == 2 * steps
    assert last.schedule["_last_lr"][0] == pytest.approx(2e-3 * 0.01)
    assert int(last.averaged["n_averaged"]) == 2 * steps


def test_gradients_of_accumulated_batches_are_averaged_and_clipped(build: BuildState, tmp_path: Path) -> None:
    state = build("optimizer.accumulate=2", "optimizer.clip_norm=0.01", "schedule.epochs=1")
    norms: list[float] = []
    optimizer: Any = state.optimizer

    def watch(stepped: torch.optim.Optimizer, *_: object) -> None:
        gradients = [weight.grad for group in stepped.param_groups for weight in group["params"]]
        norms.append(float(torch.stack([one.norm() for one in gradients if one is not None]).norm()))

    optimizer.optimizer.register_step_pre_hook(watch)
    fit(state, out=tmp_path)
    assert norms == pytest.approx([0.01, 0.01], rel=1e-3)


def test_the_best_checkpoint_is_that_of_the_best_epoch(
    build: BuildState, scored: Callable[[Sequence[float]], None], tmp_path: Path
) -> None:
    scored([0.2, 0.5, 0.4])
    fit(build(), out=tmp_path)
    best, last = load_checkpoint(tmp_path / BEST), load_checkpoint(tmp_path / LAST)
    assert (best.epoch, best.best_epoch, best.best_score) == (2, 2, 0.5)
    assert (last.epoch, last.best_epoch, last.best_score, last.stale_epochs) == (3, 2, 0.5, 1)


def test_patience_ends_a_run_that_gets_no_better_and_a_resumed_one_stays_ended(
    build: BuildState, scored: Callable[[Sequence[float]], None], tmp_path: Path
) -> None:
    scored([0.5, 0.4, 0.4])
    overrides = ("schedule.patience=2", "schedule.epochs=9")
    fit(build(*overrides), out=tmp_path)
    rows = read_log(tmp_path / LOG_FILE)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    again = build(*overrides)
    again.restore(load_checkpoint(tmp_path / LAST), path=tmp_path / LAST)
    fit(again, out=tmp_path)
    assert read_log(tmp_path / LOG_FILE) == rows


# What stops a run


class BreaksLater(nn.Module):
    """A loss that is no number from its `first` call on."""

    def __init__(self, loss: nn.Module, *, first: int, value: float) -> None:
        super().__init__()
        self.loss, self.left, self.value = loss, first, value

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.left -= bool(torch.is_grad_enabled())
        good: Tensor = self.loss(logits, target)
        return good if self.left > 0 else good * self.value


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_images_of_the_batch(
    build: BuildState, tmp_path: Path, value: float
) -> None:
    complete = build("schedule.epochs=1", "name=other")
    fit(complete, out=tmp_path)
    state = build()
    state.loss = BreaksLater(state.loss, first=4 + 2, value=value)
    with pytest.raises(DivergedError, match=f"the loss is {value} at step 2 of epoch 2") as caught:
        fit(state, out=tmp_path)
    names = {str(state.crops[1, index][2]) for index in range(4, 8)}
    for position in names:
        assert str(state.crops.samples[int(position)].image) in str(caught.value)
    assert "optimizer.lr" in str(caught.value)
    assert load_checkpoint(tmp_path / LAST).epoch == 1
    assert [row["epoch"] for row in read_log(tmp_path / LOG_FILE)] == [1]


def test_a_rate_that_is_far_too_high_stops_the_run_before_anything_broken_is_kept(
    build: BuildState, tmp_path: Path
) -> None:
    with pytest.raises(DivergedError, match=r"loss is (nan|inf).* optimizer\.lr"):
        fit(build("optimizer.lr=1e30", "optimizer.clip_norm=0"), out=tmp_path)
    assert files_of(tmp_path) == {}
    assert read_log(tmp_path / LOG_FILE) == []


def test_a_validation_loss_that_is_no_number_stops_the_run_before_it_is_kept(
    build: BuildState, scored: Callable[[Sequence[float]], None], tmp_path: Path
) -> None:
    scored([0.5, math.nan])
    with pytest.raises(DivergedError, match="the validation loss is nan after epoch 2"):
        fit(build(), out=tmp_path)
    assert load_checkpoint(tmp_path / LAST).epoch == load_checkpoint(tmp_path / BEST).epoch == 1


def test_a_full_disk_stops_the_run_and_what_was_saved_stays_to_go_on_from(
    build: BuildState,
    scored: Callable[[Sequence[float]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved: list[dict[str, bytes]] = []
    scores = iter([0.3, 0.4, 0.4, 0.5])

    def validate(*_: object, **__: object) -> ValidationScores:
        if not saved and (tmp_path / LAST).exists():
            saved.append(files_of(tmp_path))
            monkeypatch.setattr(os, "fsync", full)
        score = next(scores)
        return ValidationScores(loss=1.0, mean_iou=score, mean_defect_iou=score)

    def full(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(loop, "validate", validate)
    sync = os.fsync
    with pytest.raises(CheckpointError, match=r"epoch 2 could not be written \(No space left"):
        fit(build(), out=tmp_path)
    assert files_of(tmp_path) == saved[0]
    monkeypatch.setattr(os, "fsync", sync)
    state = build()
    state.restore(load_checkpoint(tmp_path / LAST), path=tmp_path / LAST)
    fit(state, out=tmp_path)
    assert [row["epoch"] for row in read_log(tmp_path / LOG_FILE)] == [1, 2, 3]
    assert load_checkpoint(tmp_path / BEST).epoch == 3


def test_a_crash_between_best_and_last_loses_and_doubles_no_line(
    build: BuildState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = loop.save_checkpoint

    def crash(path: Path, checkpoint: Any) -> Path:
        if path.name == LAST and checkpoint.epoch == 2:
            raise KeyboardInterrupt
        return save(path, checkpoint)

    monkeypatch.setattr(loop, "save_checkpoint", crash)
    with pytest.raises(KeyboardInterrupt):
        fit(build(), out=tmp_path)
    monkeypatch.setattr(loop, "save_checkpoint", save)
    state = build()
    state.restore(load_checkpoint(tmp_path / LAST), path=tmp_path / LAST)
    assert state.epoch == 1
    fit(state, out=tmp_path)
    assert [row["epoch"] for row in read_log(tmp_path / LOG_FILE)] == [1, 2, 3]


# log.jsonl


def test_a_log_keeps_its_rows_and_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / LOG_FILE
    assert read_log(path) == []
    for epoch in (1, 2, 3):
        append_log(path, {"epoch": epoch, "val": {"mean_iou": None}})
    with path.open("a") as file:
        file.write('{"epoch": 4, "va')
    assert [row["epoch"] for row in read_log(path)] == [1, 2, 3]
    keep_log(path, epochs=2)
    append_log(path, {"epoch": 3})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [*({"epoch": n, "val": {"mean_iou": None}} for n in (1, 2)), {"epoch": 3}]


def test_a_number_that_is_none_is_refused_by_the_log(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_log(tmp_path / LOG_FILE, {"loss": math.nan})


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).mkdir()
    with pytest.raises(OSError, match=LOG_FILE) as caught:
        append_log(tmp_path / LOG_FILE, {"epoch": 1})
    assert caught.value.filename == str(tmp_path / LOG_FILE)
