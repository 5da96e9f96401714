"""The service when ten times as much comes as it can bear: who is let in, who is sent away, who still gets health."""

from pathlib import Path
from typing import Final

import numpy as np
from load import Load, send
from seen import print_row, send_all
from servers import Server, segnet

_TIMES: Final = 10
_WARM_UP: Final = 16
_CLIENTS: Final = 16
_PATIENCE: Final = 1.5
_GOALS: Final = "accepted p99 below 3 x alone, health below 50 ms, recovery below 2 s"


def print_overload(model: Path, *, parts: Path, requests: int, seconds: float, threads: int) -> None:
    """What it bears, that tenfold for so long, and what became of it: by default, and where nobody waits for long.

    `requests` find out what it bears. A long waiting room loses no image of a crowd that soon passes; where each
    answer must come in time it has to be as short as 1.5 images.
    """
    with segnet(model, threads=threads) as server:
        warm_up(server, parts=parts)
        alone = send_all(server, _closed(server, parts=parts, requests=requests, clients=1))
        together = send_all(server, _closed(server, parts=parts, requests=requests, clients=_CLIENTS))
        alone_s, calm_s = np.percentile([answer.took_s for answer in alone.answers], (50, 99))
        bears_per_s = requests / together.seconds
        print(
            f"alone: p99 {1e3 * calm_s:.0f} ms; it bears {bears_per_s:.1f} images/s and gets {_TIMES} x as many"
        )
        _print_flood(
            "by default", server, parts=parts, per_s=_TIMES * bears_per_s, seconds=seconds, calm_s=calm_s
        )
    patience_s = _PATIENCE * alone_s
    with segnet(model, threads=threads, settings={"SEGNET_MAX_WAIT_S": f"{patience_s:.4f}"}) as server:
        warm_up(server, parts=parts)
        name = f"waiting at most {1e3 * patience_s:.0f} ms"
        _print_flood(name, server, parts=parts, per_s=_TIMES * bears_per_s, seconds=seconds, calm_s=calm_s)
    print(f"goals: {_GOALS}")


def warm_up(server: Server, *, parts: Path) -> None:
    """Wait for it, then a few requests, so that what comes first costs no more than what comes next."""
    server.wait_until_ready()
    send_all(server, _closed(server, parts=parts, requests=_WARM_UP, clients=1))


def _closed(server: Server, *, parts: Path, requests: int, clients: int) -> Load:
    return Load(server.port, server.path, "image/png", str(parts), requests, clients=clients)


def _print_flood(
    name: str, server: Server, *, parts: Path, per_s: float, seconds: float, calm_s: float
) -> None:
    outcome = send(
        Load(
            server.port,
            server.path,
            "image/png",
            str(parts),
            requests=max(_TIMES, round(per_s * seconds)),
            rate_per_s=per_s,
            health_path=server.health_path,
            calm_s=2.0 * calm_s,
        )
    )
    accepted_s = [answer.took_s for answer in outcome.answers if answer.status == 200]
    refused = [answer for answer in outcome.answers if answer.status == 503]
    told = sum(answer.has_retry_after for answer in refused)
    p99_s = float(np.percentile(accepted_s, 99)) if accepted_s else float("nan")
    health_ms = 1e3 * np.array(outcome.health_s)
    print_row(name, ("requests",))
    print_row("  accepted, their p99 / alone", (str(len(accepted_s)), f"{p99_s / calm_s:.2f}"))
    print_row("  503, with Retry-After", (str(len(refused)), str(told)))
    print_row("  anything else", (str(len(outcome.answers) - len(accepted_s) - len(refused)),))
    print_row("  health ms, median and worst", (f"{np.median(health_ms):.1f}", f"{health_ms.max():.1f}"))
    print_row("  recovery s", (f"{outcome.recovery_s:.2f}",))
