"""A checkpoint is read back as it was written, replaced whole or not at all, and never runs code."""

import dataclasses
import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from training.checkpoint import LAST, Checkpoint, CheckpointError, load_checkpoint, save_checkpoint


def make(**changes: Any) -> Checkpoint:
    values: dict[str, Any] = {
        "config": 'name = "x"\n',
        "classes": "0 background background #000000\n",
        "epoch": 3,
        "network": {"weight": torch.arange(600.0).view(1, 3, 10, 20).to(memory_format=torch.channels_last)},
        "averaged": {"module.weight": torch.ones(2), "n_averaged": torch.tensor(7)},
        "optimizer": {
            "state": {0: {"step": torch.tensor(3.0)}},
            "param_groups": [{"lr": 1e-3, "params": [0]}],
        },
        "schedule": {"last_epoch": 3, "lr_lambdas": [None, None]},
        "scaler": {},
        "random_state": torch.get_rng_state(),
        "best_score": 0.75,
        "best_epoch": 2,
        "stale_epochs": 1,
    }
    return Checkpoint(**(values | changes))


def assert_equal(one: object, two: object) -> None:
    if isinstance(one, torch.Tensor):
        assert isinstance(two, torch.Tensor)
        assert torch.equal(one, two)
        assert one.stride() == two.stride()
    elif isinstance(one, dict):
        assert isinstance(two, dict)
        assert one.keys() == two.keys()
        for key in one:
            assert_equal(one[key], two[key])
    else:
        assert one == two


@pytest.mark.parametrize("best_score", [0.75, None])
def test_a_checkpoint_is_read_back_as_it_was_written(tmp_path: Path, best_score: float | None) -> None:
    written = make(best_score=best_score)
    path = save_checkpoint(tmp_path / LAST, written)
    found = load_checkpoint(path)
    for field in dataclasses.fields(Checkpoint):
        assert_equal(getattr(written, field.name), getattr(found, field.name))
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_older_checkpoint_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_checkpoint(tmp_path / LAST, make())
    before = path.read_bytes()

    def full(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        CheckpointError, match=r"epoch 4 could not be written \(No space left.*--resume"
    ) as caught:
        save_checkpoint(path, make(epoch=4))
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class Bomb:
    """Unpickling it would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.target,)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    path, target = tmp_path / LAST, tmp_path / "harm"
    torch.save({"format": 1, "network": Bomb(target)}, path)
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Bomb(target), protocol=2))
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
        load_checkpoint(path)
    assert not target.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_off_checkpoint_is_named(tmp_path: Path, share: float) -> None:
    path = save_checkpoint(tmp_path / LAST, make())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"last\.pt: damaged, or no checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("at", range(16))
def test_a_checkpoint_with_bytes_overwritten_is_refused_or_reads_as_before(tmp_path: Path, at: int) -> None:
    written = make()
    path = save_checkpoint(tmp_path / LAST, written)
    content = bytearray(path.read_bytes())
    start = len(content) * at // 16
    content[start : start + 16] = bytes(range(16))
    path.write_bytes(content)
    try:
        found = load_checkpoint(path)
    except CheckpointError:
        return
    for field in dataclasses.fields(Checkpoint):
        assert_equal(getattr(written, field.name), getattr(found, field.name))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"PNG or whatever", "damaged, or no checkpoint", id="another file"),
        pytest.param({"state_dict": {}}, "no checkpoint of format 1", id="of another program"),
        pytest.param([1, 2], "no checkpoint of format 1", id="a list"),
        pytest.param({"format": 2}, "no checkpoint of format 1", id="of a later version"),
        pytest.param({"format": 1, "epoch": 3}, "lacks averaged, best_epoch", id="parts missing"),
    ],
)
def test_what_is_no_checkpoint_of_ours_is_named(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / LAST
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=said) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)


def test_a_missing_checkpoint_asks_whether_an_epoch_was_finished(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint; has this run finished an epoch"):
        load_checkpoint(tmp_path / LAST)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path)
