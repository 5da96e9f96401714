"""Several processes use one store at once, and some of them are killed: nothing is lost, doubled or half there."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.store import ModelStore, Version

PROCESSES = 8

# Each says `ready`, then does the task of each line that it is given, and answers with a line.
WORKER = """
import sys
from pathlib import Path
from model.store import ModelStore, StoreConflict

store = ModelStore(Path(sys.argv[1]))


def add(name):
    return store.add(Path(name), by="worker").label


def promote(ref, expected):
    try:
        store.promote(
            store.resolve(ref), by="worker", reason="a race", expected_champion=store.resolve(expected)
        )
    except StoreConflict:
        return "conflict"
    return "promoted"


def take_turns(ref, other, times):
    done = 0
    while done < int(times):
        champion = store.champion
        mine, another = store.resolve(ref), store.resolve(other)
        try:
            store.promote(
                another if champion == mine else mine,
                by="worker", reason=f"turn {done}", expected_champion=champion,
            )
            done += 1
        except StoreConflict:
            pass
    return "done"


def churn(folder):
    round_number = 0
    while True:
        round_number += 1
        for path in sorted(Path(folder).glob("*.onnx")):
            champion = store.champion
            version = store.add(path, by="worker", attachments={"network.pt": b"0" * 100_000})
            if version != champion:
                store.promote(version, by="worker", reason="churn", expected_champion=champion)
        store.roll_back(by="worker", reason="churn")
        store.gc(keep=2, by="worker")


print("ready", flush=True)
for line in sys.stdin:
    task, *words = line.split()
    print(globals()[task](*words), flush=True)
"""


class Worker:
    """A process that waits for tasks."""

    def __init__(self, root: Path, *, repository: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=repository,
        )

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(tmp_path: Path, repository: Path) -> Iterator[Callable[[int], list[Worker]]]:
    """Start so many workers on the store in tmp_path/models, all ready."""
    started: list[Worker] = []

    def start(count: int) -> list[Worker]:
        workers = [Worker(tmp_path / "models", repository=repository) for _ in range(count)]
        started.extend(workers)
        assert {worker.answer() for worker in workers} == {"ready"}
        return workers

    yield start
    for worker in started:
        worker.end()


@pytest.fixture
def model_file(tmp_path: Path, color_model: Callable[..., bytes]) -> Callable[[int], Path]:
    """A model file of its own for each number."""

    def model_file(number: int) -> Path:
        folder = tmp_path / "files"
        folder.mkdir(exist_ok=True)
        path = folder / f"{number}.onnx"
        path.write_bytes(color_model(version=str(number)))
        return path

    return model_file


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_of_processes_that_saw_the_same_champion_one_promotes(
    store: ModelStore, start: Callable[[int], list[Worker]], model_file: Callable[[int], Path]
) -> None:
    versions = [store.add(model_file(number), by="me") for number in range(PROCESSES + 1)]
    champion = versions[-1]
    store.promote(champion, by="me", reason="first", expected_champion=None)
    workers = start(PROCESSES)
    for promotions in range(1, 4):
        challengers = [version for version in versions if version != champion]
        for worker, challenger in zip(workers, challengers, strict=True):
            worker.tell("promote", challenger.label, champion.label)
        answers = [worker.answer() for worker in workers]
        assert sorted(answers) == ["conflict"] * (PROCESSES - 1) + ["promoted"]
        champion = challengers[answers.index("promoted")]
        assert store.champion == champion
        assert len(store.read().champions) == promotions + 1


def test_no_promotion_is_lost_between_processes_that_take_turns(
    store: ModelStore, start: Callable[[int], list[Worker]], model_file: Callable[[int], Path]
) -> None:
    for number in (1, 2):
        store.add(model_file(number), by="me")
    workers = start(PROCESSES)
    for worker in workers:
        worker.tell("take_turns", "v1", "v2", 3)
    assert {worker.answer() for worker in workers} == {"done"}
    numbers = [version.number for version in store.read().champions]
    assert len(numbers) == 3 * PROCESSES
    assert numbers == [numbers[0], 3 - numbers[0]] * (len(numbers) // 2)


def test_one_file_added_by_many_is_one_version_and_other_files_get_numbers_of_their_own(
    store: ModelStore, start: Callable[[int], list[Worker]], model_file: Callable[[int], Path]
) -> None:
    workers = start(PROCESSES)
    shared, own = model_file(0), [model_file(number) for number in range(1, PROCESSES + 1)]
    for worker in workers:
        worker.tell("add", shared)
    assert {worker.answer() for worker in workers} == {"v1"}
    assert [version.label for version in store.versions()] == ["v1"]
    for worker, path in zip(workers, own, strict=True):
        worker.tell("add", path)
    assert sorted(worker.answer() for worker in workers) == [f"v{number}" for number in range(2, 10)]
    for version in store.versions():
        store.verify(version)
    assert len({version.file_sha256 for version in store.versions()}) == PROCESSES + 1


@pytest.mark.slow
def test_a_process_killed_at_any_moment_leaves_a_store_that_opens(
    store: ModelStore, start: Callable[[int], list[Worker]], model_file: Callable[[int], Path]
) -> None:
    """Ten times SIGKILL amid adding, promoting, rolling back and removing; each next one goes on from there."""
    files = [model_file(number) for number in range(6)]
    moments = random.Random(5)
    events = 0
    for _ in range(10):
        (worker,) = start(1)
        worker.tell("churn", files[0].parent)
        until_s = time.monotonic() + 60
        # Amid the work, not before it: something has to happen first.
        while len(store.history()) <= events:
            assert time.monotonic() < until_s, "the worker does nothing"
            assert worker.process.poll() is None
        time.sleep(moments.uniform(0.0, 0.2))
        worker.end()
        now = store.read()
        events = len(now.events)
        for version in now.versions:
            store.verify(version)
            check_attachment(store, version)
    store.gc(keep=1, by="me")
    kept = {path.name for path in store.model_path(store.versions()[0]).parents[1].iterdir()}
    assert kept == {version.file_sha256 for version in store.versions()}


def check_attachment(store: ModelStore, version: Version) -> None:
    path = store.attachment(version, "network.pt")
    assert path is not None
    assert path.read_bytes() == b"0" * 100_000
