"""What is seen of a server under load, and the rows of the tables that show it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from load import Load, Outcome, send
from servers import Server

_STAGES: Final = ("decode", "queue", "inference", "measure", "encode", "total")
_PERCENTILES: Final = (50, 95, 99)
_NAME, _COLUMN = 38, 10


@dataclass(slots=True)
class Seen:
    """Over all rounds of one candidate: how long each request took, and all processors for all of them."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    took_s: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in _STAGES})

    def add_round(self, server: Server, load: Load) -> None:
        """Send once more. Exits where a request brought no answer: then there is nothing to compare."""
        cpu_before_s = server.cpu_s
        outcome = send_all(server, load)
        self.cpu_s += server.cpu_s - cpu_before_s
        self.seconds += outcome.seconds
        for answer in outcome.answers:
            self.took_s.append(answer.took_s)
            for name, spent_ms in answer.stages_ms.items():
                self.stages_ms[name].append(spent_ms)

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return len(self.took_s) / self.seconds

    @property
    def p99_s(self) -> float:
        """Of a hundred requests one took longer."""
        return float(np.percentile(self.took_s, 99))


def send_all(server: Server, load: Load) -> Outcome:
    """A load that the server must bear. Exits where it does not."""
    outcome = send(load)
    if statuses := {answer.status for answer in outcome.answers} - {200}:
        sys.exit(
            f"{server.name}: expected 200 for every request, got {sorted(statuses)} (0: connection broken)"
        )
    return outcome


def print_head(title: str, unit: str) -> None:
    """The columns of `print_seen`."""
    columns = (unit, "of bare", *(f"p{percent} ms" for percent in _PERCENTILES), "CPU ms")
    print(f"{title:{_NAME}}" + "".join(f"{column:>{_COLUMN}}" for column in columns))


def print_bare(name: str, per_s: float, *, cpu_s: float) -> None:
    """The loop that all are held to: so many a second, and seconds of all processors for each."""
    print(
        f"{name:{_NAME}}{per_s:>{_COLUMN}.2f}{1:>{_COLUMN}.2f}{'':{3 * _COLUMN}}{1e3 * cpu_s:>{_COLUMN}.2f}"
    )


def print_seen(name: str, seen: Seen, *, bare_per_s: float = 0.0) -> None:
    """Requests a second, their share of `bare_per_s` where that is known, times, processor time for each."""
    share = f"{seen.per_s / bare_per_s:.2f}" if bare_per_s else ""
    times = "".join(f"{1e3 * taken_s:>{_COLUMN}.1f}" for taken_s in np.percentile(seen.took_s, _PERCENTILES))
    cpu_ms = 1e3 * seen.cpu_s / len(seen.took_s)
    print(
        f"{name:{_NAME}}{seen.per_s:>{_COLUMN}.2f}{share:>{_COLUMN}}{times}{cpu_ms:>{_COLUMN}.2f}", flush=True
    )


def print_stages(seen: Seen) -> None:
    """The times by stage, as the answers themselves tell them."""
    for name, spent_ms in seen.stages_ms.items():
        times = "".join(f"{taken_ms:>{_COLUMN}.1f}" for taken_ms in np.percentile(spent_ms, _PERCENTILES))
        print(f"{'  ' + name:{_NAME + 2 * _COLUMN}}{times}")


def print_against_litserve(seen: Mapping[str, Seen], *, goal: float) -> None:
    """Ours over theirs, where theirs was measured."""
    if "LitServe" in seen:
        ours, theirs = seen["segnet serve"], seen["LitServe"]
        print(
            f"segnet serve / LitServe: {ours.per_s / theirs.per_s:.2f}, goal {goal}; "
            f"p99 {ours.p99_s / theirs.p99_s:.2f}, goal 1.0"
        )


def print_row(name: str, values: Sequence[str]) -> None:
    """Any other row."""
    print(f"{name:{_NAME}}" + "".join(f"{value:>{_COLUMN}}" for value in values), flush=True)
