"""What both benchmarks say of the machine, and how they take times on one that is shared.

Times are taken in turns: every candidate runs a few times, then all again, so that a neighbour who takes the
cores for a second disturbs one turn of all and not one candidate. The minimum is what the machine can do, the
median what it did.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

_PACKAGES: Final = ("torch", "onnxruntime-gpu", "openvino", "segmentation-models-pytorch")
_TURNS: Final = 10


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call."""

    median_s: float
    min_s: float


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that both benchmarks have."""
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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
