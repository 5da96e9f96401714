"""Over a cluster: two actors here, one killed half-way, and the outputs are those of one process."""

import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from test_inspect import command, contents, run, until, write_part

_LONG_S = 240


@pytest.mark.slow
def test_an_actor_killed_half_way_costs_nothing(repository: Path, tmp_path: Path) -> None:
    parts, alone, together = tmp_path / "parts", tmp_path / "alone", tmp_path / "together"
    for seed in range(300):
        write_part(parts / f"{seed:04}.png", seed=seed)
    (parts / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run(repository, parts, "--out", alone).returncode == 3
    process = subprocess.Popen(
        command(repository, parts, "--out", together, "--engine", "ray", "--workers", "2"),
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    masks = together / "masks"
    until(
        lambda: process.poll() is not None or (masks.is_dir() and len(list(masks.iterdir())) > 30),
        patience_s=_LONG_S,
    )
    actors = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if any("ray::_Actor" in word for word in child.cmdline())
    ]
    done = len(list(masks.glob("*.png")))
    for child in actors[:1]:
        child.send_signal(signal.SIGKILL)
    said, complaints = process.communicate(timeout=_LONG_S)
    assert process.returncode == 3, complaints
    assert len(actors) == 2, "two actors were at work"
    assert done < 300, "the actor was killed before the work was done"
    assert contents(together) == contents(alone)
    assert "301" in said
