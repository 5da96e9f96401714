"""A folder inspection from the command line: killed at any moment it loses and repeats nothing."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from data.images import encode_png

_LONG_S = 120
_RAY_S = 240
_KILLS = 10


def write_part(path: Path, *, seed: int, size_hw: tuple[int, int] = (90, 120)) -> None:
    """Grey with a few red squares (scratches) and blue ones (pits), drawn by seed; every third without any."""
    rng = np.random.default_rng(seed)
    image = np.full((*size_hw, 3), 128, np.uint8)
    for _ in range(0 if seed % 3 == 0 else 3):
        y, x = (int(rng.integers(0, side - 12)) for side in size_hw)
        image[y : y + 9, x : x + 11] = (255, 0, 0) if rng.random() < 0.5 else (0, 0, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(image))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 parts in two folders with equal names, one damaged, one twice with another extension."""
    root = tmp_path_factory.mktemp("parts")
    for seed in range(60):
        for shift in ("früh", "spät"):
            write_part(root / shift / f"part{seed:03}.png", seed=seed)
    write_part(root / "früh" / "part000.tiff", seed=1)  # a PNG by content
    whole = (root / "früh" / "part001.png").read_bytes()
    (root / "früh" / "cut.png").write_bytes(whole[: len(whole) // 2])
    return root


def command(repository: Path, *arguments: object) -> list[str]:
    model = repository / "tests" / "promises" / "format_1.onnx"
    return [
        sys.executable, "-m", "cli.main", "inspect", *map(str, arguments),
        "--model", str(model), "--device", "cpu",
    ]  # fmt: skip


def run(repository: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(repository, *arguments), cwd=repository, capture_output=True, text=True, timeout=_LONG_S
    )


def contents(out: Path) -> dict[str, bytes]:
    """Every file that must not depend on how often the run was killed: all but times and speeds."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("summary.json", "report.html") and ".segnet" not in path.parts
    }


@pytest.mark.slow
def test_killed_at_random_moments_and_started_again_it_ends_as_if_it_had_not_been(
    repository: Path, parts: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    started_s = time.monotonic()
    assert run(repository, parts, "--out", whole).returncode == 3
    needs_s = time.monotonic() - started_s
    moments = random.Random(0)
    for _ in range(_KILLS):
        process = subprocess.Popen(
            command(repository, parts, "--out", killed),
            cwd=repository,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(moments.uniform(0.3, 1.1) * needs_s)
        process.send_signal(signal.SIGKILL)
        process.wait(_LONG_S)
    assert run(repository, parts, "--out", killed).returncode == 3
    assert contents(killed) == contents(whole)
    rows = list(csv.DictReader((killed / "inspections.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert len(rows) == len({row["image"] for row in rows}) == 122


def test_started_again_on_a_finished_folder_it_does_nothing(
    repository: Path, parts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(repository, parts, "--out", out).returncode == 3
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = run(repository, parts, "--out", out)
    assert "nothing new" in again.stdout
    assert again.returncode == 3, "one image is still damaged"
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_a_watched_folder_is_inspected_as_files_arrive_each_once_when_whole(
    repository: Path, tmp_path: Path
) -> None:
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    write_part(inbox / "first.png", seed=1)
    process = subprocess.Popen(
        command(repository, inbox, "--out", out, "--watch", "--settle-s", "1"),
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        until(lambda: (out / "masks" / "first.png").exists())
        write_part(tmp_path / "second.png", seed=2)
        whole = (tmp_path / "second.png").read_bytes()
        with (inbox / "second.png").open("wb") as camera:
            for start in range(0, len(whole), max(1, len(whole) // 6)):
                camera.write(whole[start : start + len(whole) // 6])
                camera.flush()
                time.sleep(0.4)
        until(lambda: (out / "masks" / "second.png").exists())
    finally:
        process.send_signal(signal.SIGTERM)
        said, complaints = process.communicate(timeout=_LONG_S)
    assert process.returncode == 0, complaints
    lines = [line for line in said.splitlines() if ".png" in line]
    assert [line.split()[1] for line in lines] == ["first.png", "second.png"], said
    assert (out / "report.html").exists()


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
        patience_s=_RAY_S,
    )
    if process.poll() is not None:
        pytest.fail(f"it ended before an actor could be killed: {process.communicate()}")
    actors = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if any("ray::_Actor" in word for word in child.cmdline())
    ]
    done = len(list(masks.glob("*.png")))
    for child in actors[:1]:
        child.send_signal(signal.SIGKILL)
    _, complaints = process.communicate(timeout=_RAY_S)
    assert process.returncode == 3, complaints
    assert len(actors) == 2, "two actors were at work"
    assert done < 300, "the actor was killed before the work was done"
    assert contents(together) == contents(alone)


def until(is_so, *, patience_s: float = 60.0) -> None:
    """Wait for something that another process does."""
    deadline_s = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.1)
