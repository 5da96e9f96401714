"""What all benchmarks say of the machine, and how they take times and memory on one that is shared.

Times are taken in turns: every candidate runs a few times, then all again, so that a neighbour who takes the
cores for a second disturbs one turn of all and not one candidate. The minimum is what the machine can do, the
median what it did.

As a script it runs the command it is given and says what that took: `run_apart` explains why.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

_PACKAGES: Final = ("torch", "onnxruntime-gpu", "openvino", "segmentation-models-pytorch")
_TURNS: Final = 10


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call."""

    median_s: float
    min_s: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took from start to end: seconds, seconds of all processors together, peak resident memory."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--quick", action="store_true", help="smallest sizes: does it run; no real numbers")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: every core")
    return options


def load() -> float:
    """How many programs wanted a core during the last minute; nan where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def describe(*, threads: int, load_before: float) -> str:
    """Machine, commit, threads, load and versions, a line each."""
    # Here, since it brings torch, and a parent with torch in it would be seen in its children's peak memory.
    from training.provenance import describe_machine, git_commit

    versions = [f"python {platform.python_version()}", *(f"{name} {_version(name)}" for name in _PACKAGES)]
    return (
        f"machine   {describe_machine()}\n"
        f"commit    {git_commit()}\n"
        f"threads   {threads}; load in the minute before this began: {load_before:.1f}\n"
        f"versions  {', '.join(versions)}"
    )


def time_in_turns(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, warmup: int
) -> dict[str, Timing]:
    """Time each call `rounds` times after `warmup` calls that do not count, in turns with the others."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(warmup):
            call()
    turns = min(_TURNS, rounds)
    for turn in range(turns):
        for name, call in calls.items():
            call()  # the last one's weights were pushed out of the cache
            for _ in range(rounds * (turn + 1) // turns - rounds * turn // turns):
                started_s = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - started_s)
    return {name: Timing(statistics.median(taken), min(taken)) for name, taken in seconds.items()}


def run_apart(words: Sequence[str]) -> Cost:
    """Run a command; what it prints is dropped. Exits, with its message above, when it fails.

    Linux hands a parent's peak memory on to the programs it starts, so between this process and the command
    stands another that imports next to nothing.
    """
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: failed; its message is above")
    return Cost(**json.loads(done.stdout))


def peak_mib(*, of_children: bool = False) -> float:
    """Peak resident memory of this process, or of the largest of its children that have ended."""
    import resource

    who = resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF
    # In bytes on a Mac, in KiB elsewhere.
    return resource.getrusage(who).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _measure(words: Sequence[str]) -> Cost:
    started_s = time.perf_counter()
    done = subprocess.run(words, stdout=subprocess.DEVNULL, check=False)
    wall_s = time.perf_counter() - started_s
    if done.returncode:
        sys.exit(done.returncode)
    spent = os.times()
    return Cost(wall_s, spent.children_user + spent.children_system, peak_mib(of_children=True))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(sys.argv[1:]))))
