"""Threads of an inference on a Ray cluster: each actor computes with so many, and asks for as many processors."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.folder.inspector import Inspector, Stems
from app.folder.sources import open_source
from data.images import encode_png
from model.predictor import Predictor
from model.recipe import default_recipe

pytest.importorskip("ray", reason="SKIPPED LOUDLY: the extra `ray` is not installed")

from app.folder import ray_engine
from app.folder.ray_engine import Job


@pytest.fixture
def job(repository: Path, tmp_path: Path) -> Job:
    """One part, to be inspected with three threads."""
    model = repository / "tests" / "promises" / "format_1.onnx"
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.png").write_bytes(encode_png(np.zeros((20, 30, 3), np.uint8)))
    predictor = Predictor.open(model, device="cpu", threads=1)
    source = open_source(str(tmp_path / "parts"), skip_below=tmp_path / "out")
    inspector = Inspector(
        source, predictor, default_recipe(predictor.contract), tmp_path / "out", write_overlays=False
    )
    return Job.of(inspector, model=model.read_bytes(), device="cpu", require_device=False, threads=3)


def test_an_actor_computes_with_the_threads_of_its_job(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    opened = Predictor.open

    def note(model: bytes, **options: Any) -> Predictor:
        given.update(options)
        return opened(model, **options)

    monkeypatch.setattr(ray_engine.Predictor, "open", note)
    (file,) = job.source.list_files()
    assert ray_engine._Actor(job).inspect(file, "a").verdict == "OK"
    assert given == {"device": "cpu", "require": False, "threads": 3}


def test_an_actor_asks_for_as_many_processors(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def remote(**options: Any) -> None:
        asked.update(options)
        raise Stop

    monkeypatch.setattr(ray_engine.ray, "remote", remote)
    with pytest.raises(Stop):
        next(ray_engine.inspect_with_ray([], job=job, stems=Stems({}), actors=2))
    assert (asked["num_cpus"], asked["num_gpus"]) == (3, 0)


class _Busy:
    """Stands for `ray` on a machine where a cluster comes up late, or never."""

    def __init__(self, *, failures: int, message: str = "The current node timed out during startup.") -> None:
        self.failures = failures
        self.message = message
        self.begun: list[str] = []

    def init(self, address: str, **_: Any) -> None:
        self.begun.append(address)
        if len(self.begun) <= self.failures:
            # Ray's own class of it (ray 2.60, _private/node.py).
            raise Exception(self.message)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def shutdown(self) -> None:
        self.begun.append("down")


def test_a_cluster_that_comes_up_late_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = _Busy(failures=2)
    monkeypatch.setattr(ray_engine, "ray", busy)
    with ray_engine.ray_cluster(None, cpus=2):
        assert busy.begun == ["local", "local", "local"]
    assert busy.begun[-1] == "down"


def test_a_cluster_that_never_comes_up_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "ray", _Busy(failures=9))
    with (
        pytest.raises(OSError, match=r"3 tries of 30 s.*--engine threads"),
        ray_engine.ray_cluster(None, cpus=2),
    ):
        pass


def test_another_failure_of_ray_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = _Busy(failures=9, message="no shared memory")
    monkeypatch.setattr(ray_engine, "ray", busy)
    with pytest.raises(Exception, match="no shared memory"), ray_engine.ray_cluster(None, cpus=2):
        pass
    assert busy.begun == ["local"]


@pytest.mark.slow
def test_more_processors_than_this_machine_has_are_refused_and_not_waited_for(
    repository: Path, job: Job, tmp_path: Path
) -> None:
    words = [
        "inspect", tmp_path / "parts", "--model", repository / "tests" / "promises" / "format_1.onnx",
        "--out", tmp_path / "out", "--device", "cpu", "--engine", "ray", "--workers", 3, "--threads", 1000,
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, words)],
        cwd=repository, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "workers x threads are 3000 CPUs, and this machine has " in done.stderr.splitlines()[-1]
