"""A run that was interrupted and resumed is the run that was not, bit for bit."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data.sources import open_dataset
from training import loop
from training.checkpoint import LAST, Checkpoint, load_checkpoint
from training.config import RunConfig, read_config
from training.loop import fit
from training.run_log import LOG_FILE, read_log
from training.state import TrainingState, build_state

pytestmark = pytest.mark.usefixtures("fresh_torch")
_LONG_S = 300


def assert_same(one: object, two: object, *, where: str = "") -> None:
    """Equal to the last bit, through nested values; names the first place that differs."""
    if isinstance(one, torch.Tensor):
        assert isinstance(two, torch.Tensor), where
        assert torch.equal(one, two), f"{where} differs"
    elif isinstance(one, dict):
        assert isinstance(two, dict), where
        assert one.keys() == two.keys(), where
        for key in one:
            assert_same(one[key], two[key], where=f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert isinstance(two, (list, tuple)), where
        assert len(one) == len(two), where
        for position, (first, second) in enumerate(zip(one, two, strict=True)):
            assert_same(first, second, where=f"{where}.{position}")
    else:
        assert one == two, f"{where}: {one} and {two}"


def assert_same_run(one: Path, two: Path) -> None:
    """Checkpoints and log lines agree; speeds may differ."""
    saved: list[Checkpoint] = [load_checkpoint(folder / LAST) for folder in (one, two)]
    for field in dataclasses.fields(Checkpoint):
        if field.name != "config":
            values = [getattr(checkpoint, field.name) for checkpoint in saved]
            assert_same(*values, where=field.name)
    logs = [read_log(folder / LOG_FILE) for folder in (one, two)]
    for rows in logs:
        for row in rows:
            del row["train"]["images_per_s"], row["train"]["waiting_share"]
    assert logs[0] == logs[1]


def start(config: RunConfig) -> TrainingState:
    assert config.data.root is not None
    return build_state(config, open_dataset(config.data.root))


@pytest.fixture
def config(tiny_config: Path, tiny_parts: Path) -> RunConfig:
    """Everything that could spoil it: augmentation, averaging, clipping, two batches a step, a loader process."""
    overrides = ("optimizer.accumulate=2", "data.workers=1", "schedule.crops_per_epoch=24")
    return read_config(tiny_config, overrides=overrides).with_data(tiny_parts)


@pytest.mark.parametrize("stopped_in", [1, 2, 3])
def test_a_run_stopped_in_any_epoch_and_resumed_ends_as_if_it_had_not_been(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_in: int
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    fit(start(config), out=whole)
    validate = loop.validate

    def stop(*arguments: Any, **named: Any) -> Any:
        if len(read_log(parts / LOG_FILE)) == stopped_in - 1:
            raise KeyboardInterrupt
        return validate(*arguments, **named)

    monkeypatch.setattr(loop, "validate", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(start(config), out=parts)
    monkeypatch.setattr(loop, "validate", validate)
    assert (parts / LAST).exists() == (stopped_in > 1)
    # As a new process would find it: another state of the random numbers.
    torch.manual_seed(12345)
    resumed = start(config)
    if stopped_in > 1:
        resumed.restore(load_checkpoint(parts / LAST), path=parts / LAST)
        assert resumed.epoch == stopped_in - 1
    fit(resumed, out=parts)
    assert_same_run(whole, parts)


def test_random_numbers_inside_the_network_go_on_as_well(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network with dropout draws from torch's generator in every step."""

    def start_with_dropout(out: Path) -> TrainingState:
        state = start(config)
        state.segmenter.network.register_forward_hook(
            lambda module, _, logits: torch.dropout(logits, 0.3, module.training)
        )
        return state

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    fit(start_with_dropout(whole), out=whole)
    over = TrainingState.is_over
    with monkeypatch.context() as patched:
        patched.setattr(TrainingState, "is_over", property(lambda state: state.epoch >= 2))
        fit(start_with_dropout(parts), out=parts)
    assert TrainingState.is_over is over
    resumed = start_with_dropout(parts)
    resumed.restore(load_checkpoint(parts / LAST), path=parts / LAST)
    fit(resumed, out=parts)
    assert_same_run(whole, parts)


def wait_until(happened: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline_s = time.monotonic() + _LONG_S
    while not happened():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline_s, "it takes too long"
        time.sleep(0.005)


def test_a_killed_training_goes_on_by_resume(
    config: RunConfig, tiny_parts: Path, tmp_path: Path, repository: Path
) -> None:
    # Epochs long enough that the blow falls into the second one.
    config = read_config(
        _write(tmp_path / "config.toml", config.to_toml()), overrides=["schedule.crops_per_epoch=96"]
    )
    _write(tmp_path / "config.toml", config.to_toml())
    out = tmp_path / "run"
    words = [sys.executable, "-m", "cli.main", "train", str(tmp_path / "config.toml")]
    words += ["--data", str(tiny_parts), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    # Its own session, so that its loader processes are struck by the same blow.
    process = subprocess.Popen(
        words, cwd=repository, env=environment, text=True, stderr=subprocess.PIPE, start_new_session=True
    )
    wait_until((out / LAST).exists, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert load_checkpoint(out / LAST).epoch < config.schedule.epochs
    assert not (out / "model.onnx").exists()

    done = subprocess.run(
        [*words, "--resume"], cwd=repository, env=environment, text=True, capture_output=True, timeout=_LONG_S
    )
    assert done.returncode == 0, done.stderr
    assert (out / "model.onnx").exists()
    assert not list(out.glob(".*.part"))

    whole = tmp_path / "whole"
    whole.mkdir()
    fit(start(config.with_data(tiny_parts)), out=whole)
    assert_same_run(whole, out)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
