"""Two processes share a run: disjoint crops, one network, one log, one model file."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from training.checkpoint import LAST, load_checkpoint
from training.run_log import LOG_FILE, read_log

_LONG_S = 300

#: `segnet`, telling at the end what each process saw and what it ended with.
_WATCHED = """
import os, sys, torch
from pathlib import Path
import training.run
from cli.main import main

fit = training.run.fit

def watched(state, *, out):
    keys = list(state.keys())
    fit(state, out=out)
    told = {
        "keys": [key for batch in keys for key in batch],
        "network": state.segmenter.state_dict(),
        "averaged": state.averaged.state_dict(),
        "best": (state.best_score, state.best_epoch, state.epoch),
        "processes": state.accelerator.num_processes,
    }
    torch.save(told, Path(sys.argv[0]).with_name(f"rank{os.environ['RANK']}.pt"))

training.run.fit = watched
main()
"""


@pytest.fixture(scope="module")
def shared_run(
    tiny_config: Path, tiny_parts: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run on two CPU processes; beside it what each process told."""
    folder = tmp_path_factory.mktemp("shared")
    script = folder / "watched.py"
    script.write_text(_WATCHED)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    words += ["train", str(tiny_config), "--data", str(tiny_parts), "--out", str(folder / "run")]
    words += ["--set", "schedule.epochs=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=_LONG_S)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def told(shared_run: Path) -> list[dict[str, Any]]:
    """What each process saw and ended with."""
    return [torch.load(shared_run.with_name(f"rank{rank}.pt"), weights_only=True) for rank in (0, 1)]


def test_the_processes_see_disjoint_crops_and_all_of_them(told: list[dict[str, Any]]) -> None:
    assert [one["processes"] for one in told] == [2, 2]
    first, second = (set(map(tuple, one["keys"])) for one in told)
    assert not first & second
    assert first | second == {(epoch, index) for epoch in range(2) for index in range(16)}


def test_the_processes_end_with_the_same_network(told: list[dict[str, Any]]) -> None:
    statistics = {name for name in told[0]["network"] if name.rpartition(".")[2].startswith("running_")}
    for name, value in told[0]["network"].items():
        # Running statistics are each process's own until the first one's are shared at the next step.
        if name not in statistics:
            assert torch.equal(value, told[1]["network"][name]), name
    # What is validated and saved is the same to the last number.
    for name, value in told[0]["averaged"].items():
        assert torch.equal(value, told[1]["averaged"][name]), name
    assert told[0]["best"] == told[1]["best"]


def test_what_is_saved_is_what_they_ended_with(shared_run: Path, told: list[dict[str, Any]]) -> None:
    saved = load_checkpoint(shared_run / LAST)
    for name, value in told[0]["averaged"].items():
        assert torch.equal(value, saved.averaged[name]), name
    assert saved.schedule["last_epoch"] == 2 * 16 // (4 * 2)


def test_one_process_writes_the_log_and_the_model(shared_run: Path) -> None:
    assert [row["epoch"] for row in read_log(shared_run / LOG_FILE)] == [1, 2]
    assert len(list((shared_run / "tensorboard").glob("events*"))) == 1
    text = (shared_run / "run.log").read_text()
    assert text.count("class weights:") == text.count("epoch 2/2: loss") == text.count("wrote ") == 1
    assert (shared_run / "model.onnx").is_file()
    assert (shared_run / "report.html").is_file()
