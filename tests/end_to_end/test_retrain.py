"""Retraining from the command line: a better model takes over, a worse one does not, and nothing is lost on the way."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cli.main
from app.client import Client
from data.snapshots import SnapshotStore
from data.workspace import Workspace
from model.predictor import Predictor
from model.store import ModelStore
from training.retrain import LOCK_FILE, Request, retrain
from training.retrain_config import read_overlay
from training.retrain_job import JOB_FILE, Job

from .retraining import (
    OK,
    PIT,
    RETRAIN,
    SCRATCH,
    STAIN,
    TRAIN,
    draw_known,
    draw_new,
    draw_part,
    draw_parts,
    relabelled,
    shuffled,
    write_golden,
    write_inbox,
    write_known,
)

pytestmark = pytest.mark.usefixtures("fresh_torch")
_LONG_S = 300
_SOON_S = 20
_KILLS = 10
#: A job of a few seconds; whether its candidate is any good is not asked.
_HASTY = ("schedule.epochs=3", "schedule.crops_per_epoch=8")
_HASTY_WORDS = [word for setting in _HASTY for word in ("--set", setting)]


@pytest.fixture(scope="module")
def segnet(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[int, str]]:
    """`segnet …` in this process: its exit code, and all that it printed."""
    said = tmp_path_factory.mktemp("said") / "said.txt"

    def call(*words: object) -> tuple[int, str]:
        with pytest.MonkeyPatch.context() as patch, said.open("w+", encoding="utf-8") as file:
            patch.setattr(sys, "argv", ["segnet", *map(str, words)])
            patch.setattr(sys, "stdout", file)
            patch.setattr(sys, "stderr", file)
            patch.setenv("SEGNET_BY", "anna")
            patch.setenv("COLUMNS", "200")
            with pytest.raises(SystemExit) as caught:
                cli.main.main()
            file.seek(0)
            code = caught.value.code
            assert isinstance(code, int)
            return code, file.read()

    return call


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, segnet: Callable[..., tuple[int, str]]) -> Path:
    """A workspace with a champion that knows no stain, and an empty inbox. Not to be written to: `workspace` copies."""
    folder = tmp_path_factory.mktemp("line")
    write_known(folder / "known")
    write_golden(folder / "golden")
    (folder / "train.toml").write_text(TRAIN)
    code, said = segnet("train", folder / "train.toml", "--data", folder / "known", "--out", folder / "run")
    assert code == 0, said
    code, said = segnet(
        "init", folder / "line", "--data", folder / "known", "--golden", folder / "golden",
        "--model", folder / "run",
    )  # fmt: skip
    assert code == 0, said
    (folder / "line" / "retrain.toml").write_text(RETRAIN)
    return folder / "line"


@pytest.fixture
def workspace(line: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return copy_of(line, tmp_path / "line")


def copy_of(line: Path, folder: Path) -> Path:
    shutil.copytree(line, folder)
    return folder


class Service:
    """`segnet serve` on a workspace's champion, and clients that ask it without a pause."""

    def __init__(self, workspace: Path) -> None:
        words = [
            sys.executable,
            "-m",
            "cli.main",
            "serve",
            "--port",
            "0",
            "--device",
            "cpu",
            "--threads",
            "1",
        ]
        words += ["--model", "store://champion", "--store", str(workspace / "models")]
        self.process = subprocess.Popen(
            words,
            cwd=Path(__file__).parents[2],
            env={name: value for name, value in os.environ.items() if not name.startswith("SEGNET_")}
            | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.lines: list[str] = []
        for line in self.process.stderr:
            self.lines.append(line)
            if "Uvicorn running on" in line:
                self.url = "http://127.0.0.1:" + json.loads(line)["message"].split(":")[2].split()[0]
                break
        else:
            raise AssertionError("".join(self.lines))
        # A full pipe would stop it.
        self._reader = threading.Thread(target=self.lines.extend, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    def close(self) -> None:
        """End it, however it does, and the pipe with it: left to the collector, that is an error in another test."""
        self.process.kill()
        self.process.wait(_LONG_S)
        self._reader.join(_LONG_S)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(_LONG_S) == 0, "".join(self.lines)


@pytest.fixture
def service(workspace: Path) -> Iterator[Service]:
    one = Service(workspace)
    yield one
    one.close()


class Hammer:
    """A client that asks for one part again and again; `answers` are (model's digest, verdict), in order."""

    def __init__(self, url: str, part: bytes) -> None:
        self.answers: list[tuple[str, str]] = []
        self.failure: BaseException | None = None
        self._url, self._part = url, part
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Hammer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(_LONG_S)

    def until_answered_by(self, digest: str) -> None:
        end_s = time.monotonic() + _SOON_S
        while not self.answers or self.answers[-1][0] != digest:
            assert self.failure is None, self.failure
            assert time.monotonic() < end_s, f"{digest} does not answer"
            time.sleep(0.02)

    def _ask(self) -> None:
        try:
            # No patience: a request that the service turned away counts as lost.
            with Client(self._url, patience_s=0.0) as client:
                while not self._done.wait(0.02):
                    told = client.predict(self._part, name="part.png")
                    self.answers.append((told.model.sha256, told.verdict))
        except BaseException as error:
            self.failure = error
            raise


@pytest.mark.slow
def test_the_loop_from_an_inbox_to_the_service_and_back_without_a_lost_request(
    workspace: Path, service: Service, segnet: Callable[..., tuple[int, str]], repository: Path
) -> None:
    store = ModelStore(workspace / "models")
    first = store.champion
    assert first is not None
    golden = draw_part("golden_3_00", kind=STAIN)
    write_inbox(workspace / "inbox", [*draw_new(), replace(golden, name="stolen")])
    with Hammer(service.url, draw_part("seen", kind=STAIN).content) as hammer:
        hammer.until_answered_by(first.digest)
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "retrain", "--workspace", str(workspace), "--by", "cron"],
            cwd=repository, capture_output=True, text=True, timeout=_LONG_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        second = store.champion
        assert second is not None
        assert second.parents.champion == first.file_sha256
        hammer.until_answered_by(second.digest)
        code, said = segnet("models", "rollback", "--workspace", workspace, "--reason", "lamp broke")
        assert (code, said) == (0, f"v1 (plates, {first.digest[:12]}) is the champion again\n")
        hammer.until_answered_by(first.digest)
    assert hammer.failure is None
    service.stop()

    assert "snapshot s2: 52 new images, 0 corrected" in done.stdout
    (left_out,) = (line for line in done.stdout.splitlines() if "left out" in line)
    assert left_out.startswith("left out: stolen: ")
    assert "golden_3_00" in left_out
    assert "v2: promoted." in done.stdout
    assert "recall of stain is better beyond doubt: 0.0 %" in done.stdout
    # Each of the two answers as itself, and they take turns just as the store did.
    turns = [digest for digest, _ in hammer.answers]
    assert [one for one, before in zip(turns, [None, *turns], strict=False) if one != before] == [
        first.digest,
        second.digest,
        first.digest,
    ]
    assert dict(hammer.answers)[second.digest] == "NG"
    promoted = next(event for event in store.history() if (event.kind, event.version) == ("promoted", 2))
    assert (promoted.by, promoted.forced) == ("cron", False)
    assert promoted.numbers["recall of stain"]["champion"] == 0.0
    assert promoted.numbers["recall of stain"]["verdict"] == "better"
    assert [event.kind for event in store.history()][-2:] == ["promoted", "rolled_back"]
    for name in ("config.toml", "network.pt", "fisher.pt", "metrics.json", "gate.json", "gate.html"):
        path = store.attachment(second, name)
        assert path is not None
        assert path.is_file()
    # What this retraining laid over the champion's configuration is not there for the next.
    base, trained_as = store.attachment(second, "base.toml"), store.attachment(first, "config.toml")
    assert base is not None
    assert trained_as is not None
    assert base.read_bytes() == trained_as.read_bytes()
    contract = Predictor.open(store.model_path(second)).contract
    assert contract.classes.names == ("background", "scratch", "pit", "stain")
    assert contract.scores["golden"]["images"] == 68


def _swap(labels: np.ndarray) -> np.ndarray:
    return np.array([OK, PIT, SCRATCH, STAIN], np.uint8)[labels]


#: The inbox counts for more than what was right before; so does it where it holds most of the images.
_THOROUGH = ("--set", "adapt.new_share=0.8")
_MANY = {OK: 20, SCRATCH: 24, PIT: 24}
_SABOTAGE = {
    "masks shuffled between images": lambda: shuffled(draw_parts("bad", _MANY)),
    # Those of the champion's own images too, as corrections: what it still learnt rightly would outweigh the rest.
    "masks emptied": lambda: relabelled([*draw_known(), *draw_parts("bad", _MANY)], np.zeros_like),
    "two classes swapped": lambda: relabelled(draw_parts("bad", _MANY), _swap),
}


@pytest.fixture(scope="module", params=_SABOTAGE.values(), ids=_SABOTAGE.keys())
def refused(
    request: pytest.FixtureRequest,
    line: Path,
    segnet: Callable[..., tuple[int, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, str]:
    """A workspace whose inbox was sabotaged, after its retraining, and what that said. Not to be written to."""
    workspace = copy_of(line, tmp_path_factory.mktemp("sabotaged") / "line")
    write_inbox(workspace / "inbox", request.param())
    code, said = segnet("retrain", "--workspace", workspace, *_THOROUGH)
    assert code == 3, said
    return workspace, said


@pytest.mark.slow
def test_a_sabotaged_inbox_is_refused_with_the_reason_and_the_champion_stays(
    refused: tuple[Path, str],
) -> None:
    workspace, said = refused
    store = ModelStore(workspace / "models")
    assert store.champion == store.resolve("v1")
    assert store.candidate is None
    event = store.history()[-1]
    assert (event.kind, event.version, event.by) == ("refused", 2, "anna")
    assert event.reason.startswith(("Refuse: worse beyond doubt: ", "Refuse: out of bounds: "))
    assert f"v2: refuse. {event.reason}" in said
    assert event.numbers.keys() >= {"escape rate", "overkill rate", "recall of scratch", "mean IoU"}


@pytest.mark.slow
def test_whoever_asks_again_is_told_the_same_and_may_force_it_which_is_kept(
    refused: tuple[Path, str], segnet: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    workspace = copy_of(refused[0], tmp_path / "line")
    store = ModelStore(workspace / "models")
    before, trained = store.history(), (job_of(workspace).folder / "best.pt").stat().st_mtime_ns
    words = ("retrain", "--workspace", workspace, *_THOROUGH)
    assert segnet(*words)[0] == 3
    assert store.history() == before
    assert segnet(*words, "--force", "a trial on line 3")[0] == 0
    *same, promoted = store.history()
    assert tuple(same) == before
    assert (promoted.kind, promoted.version, promoted.reason) == ("promoted", 2, "a trial on line 3")
    assert (promoted.forced, promoted.by) == (True, "anna")
    assert "escape rate" in promoted.numbers
    # The champion came out of this very job now: that is the answer, and nothing is trained upon it.
    assert segnet(*words)[0] == 0
    assert store.history() == (*before, promoted)
    assert (job_of(workspace).folder / "best.pt").stat().st_mtime_ns == trained


def request(workspace: Path, **asked: object) -> Request:
    overlay, gate = read_overlay(workspace / "retrain.toml")
    return Request(by="a test", overlay=overlay, gate=gate, overrides=_HASTY, **asked)  # type: ignore[arg-type]


class Jobs:
    """Retrainings in processes of their own, which share what they import."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["training.retrain"])
        # It imports before it starts the first one; that is no part of a job.
        first = self._context.Process(target=os.getpid)
        first.start()
        first.join(_LONG_S)

    def start(self, workspace: Path, **asked: object) -> multiprocessing.process.BaseProcess:
        process = self._context.Process(
            target=retrain, args=(Workspace.open(workspace), request(workspace, **asked))
        )
        process.start()
        return process


@pytest.fixture(scope="module")
def jobs() -> Jobs:
    return Jobs()


def job_of(workspace: Path) -> Job:
    """The only job that there is."""
    (record,) = (workspace / "runs").glob(f"*/{JOB_FILE}")
    return Job.open(record.parent)


def check_that_it_serves(workspace: Path) -> None:
    """The store opens, whatever happened, and its champion judges."""
    store = ModelStore(workspace / "models")
    champion = store.champion
    assert champion is not None
    for version in store.versions():
        store.verify(version)
    part = np.full((64, 64, 3), 128, np.uint8)
    assert Predictor.open(store.model_path(champion)).predict(part).labels.shape == (64, 64)


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_goes_on_and_ends_as_if_it_had_not_been(
    line: Path, jobs: Jobs, tmp_path: Path
) -> None:
    whole = copy_of(line, tmp_path / "whole")
    write_inbox(whole / "inbox", draw_new())
    started_s = time.monotonic()
    process = jobs.start(whole)
    process.join(_LONG_S)
    needs_s = time.monotonic() - started_s
    assert process.exitcode == 0
    expected = ModelStore(whole / "models").history()

    moments = random.Random(0)
    kills, lines, workspace = 0, 0, None
    while kills < _KILLS or workspace is not None:
        if workspace is None:
            workspace = copy_of(line, tmp_path / f"killed{lines}")
            write_inbox(workspace / "inbox", draw_new())
            lines += 1
        process = jobs.start(workspace)
        process.join(moments.uniform(0.0, 0.6) * needs_s if kills < _KILLS else _LONG_S)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
            check_that_it_serves(workspace)
            continue
        assert process.exitcode == 0
        store = ModelStore(workspace / "models")
        check_that_it_serves(workspace)
        assert [(one.kind, one.version, one.reason) for one in store.history()] == [
            (one.kind, one.version, one.reason) for one in expected
        ]
        assert [one.digest for one in store.versions()] == [
            one.digest for one in ModelStore(whole / "models").versions()
        ]
        assert len(SnapshotStore(workspace / "datasets").log()) == 2
        assert job_of(workspace).is_finished
        workspace = None


@pytest.mark.slow
def test_a_timer_starts_nothing_below_its_number_goes_on_with_what_was_cut_off_and_shares_it_with_nobody(
    workspace: Path, jobs: Jobs, segnet: Callable[..., tuple[int, str]]
) -> None:
    write_inbox(workspace / "inbox", draw_parts("few", {STAIN: 6}))
    words = ["retrain", "--workspace", workspace, *_HASTY_WORDS]
    code, said = segnet(*words, "--if-new", 7)
    assert (code, said) == (0, "6 new labels in the inbox, fewer than 7: nothing to do\n")
    assert not list((workspace / "runs").glob("retrain-*"))
    assert len(SnapshotStore(workspace / "datasets").log()) == 1

    process = jobs.start(workspace, if_new=6)
    wait_until(lambda: list((workspace / "runs").glob(f"*/{JOB_FILE}")) != [], process)
    process.kill()
    process.join()
    assert not job_of(workspace).is_finished

    # Nothing is new any more, and yet there is something to do.
    process = jobs.start(workspace, if_new=7)
    lock = workspace / "runs" / LOCK_FILE
    wait_until(lambda: f"process {process.pid} on " in lock.read_text(), process)
    code, said = segnet(*words)
    assert code == 1
    assert f"is held by process {process.pid} on " in said
    assert "wait until it has ended" in said
    waited = segnet(*words, "--wait-s", _LONG_S)
    process.join(_LONG_S)
    assert process.exitcode == 0

    # Whoever waited was told the end of that very job, and so is whoever asks again.
    assert segnet(*words) == waited
    assert job_of(workspace).is_finished
    assert len((job_of(workspace).folder / "log.jsonl").read_text().splitlines()) == 3
    assert len(ModelStore(workspace / "models").versions()) == 2
    assert segnet(*words, "--if-new", 7) == (
        0,
        "0 new labels in the inbox, fewer than 7: nothing to do\n",
    )


def test_a_snapshot_that_was_taken_before_the_blow_is_not_forgotten(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inbox(workspace / "inbox", draw_parts("few", {STAIN: 6}))

    def strike(*_: object, **__: object) -> Job:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Job, "begin", strike)
        with pytest.raises(KeyboardInterrupt):
            retrain(Workspace.open(workspace), request(workspace))
        # The inbox holds nothing new any more, and yet there is something to do.
        with pytest.raises(KeyboardInterrupt):
            retrain(Workspace.open(workspace), request(workspace, if_new=1))


def test_a_champion_without_fisher_information_cannot_hold_a_candidate(
    workspace: Path, line: Path, segnet: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(line.parent / "run", run)
    (run / "fisher.pt").unlink()
    shutil.rmtree(workspace / "models")
    gone = tmp_path / "gone"
    code, said = segnet("models", "add", run, "--data", gone, "--promote", "--workspace", workspace)
    assert code == 0
    assert "goes into the store without fisher.pt" in said, "its data set could not be read"
    code, said = segnet("retrain", "--workspace", workspace, "--strategy", "ewc")
    assert code == 1
    assert "adapt.strategy = ewc needs the champion's fisher.pt, which it lacks; use fine_tune" in said


def wait_until(happened: Callable[[], bool], process: multiprocessing.process.BaseProcess) -> None:
    end_s = time.monotonic() + _LONG_S
    while not happened():
        assert process.exitcode is None, "it ended before"
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.01)
