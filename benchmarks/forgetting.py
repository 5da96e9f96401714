"""What a candidate forgets of the old defects and gains of a new one, by strategy, when the old images are gone.

A champion knows scratches, pits and cracks; stains come up (`forgetting_task`). Most strategies see the new images
alone: stains and OK parts, in train and in val, as where the old images are gone their val is gone, too. So the best
epoch, the decision and the strengths below are chosen without a single old defect. Rehearsal and the network trained
from scratch have everything, in train and val, and show what the old images are worth; between them, rehearsal of a few
old images that somebody kept, with a new val.

How strong a hold may be is chosen as in arXiv 1909.08383, section 4: of each family the strongest whose best IoU of
the new class on the new val is at least nine tenths of plain fine-tuning's. That needs nothing old, and no test image.

All goes through the model file: exported, calibrated on the candidate's own val, judged on the test images. Each seed
draws its own parts and trains its own champion. `--out DIR` keeps every run, so that a study that was cut off goes on.
"""

import logging
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from forgetting_runs import Scores, make
from forgetting_task import KEPT_IMAGES, Task, draw_task
from machine import describe, load, parser

from training.adapt import Start, load_start
from training.candidate import keep_for_retraining
from training.ewc import FISHER_FILE
from training.network_file import NETWORK_FILE
from training.run import Run

_CHAMPION: Final = "champion"
_PLAIN: Final = "fine-tuning"
#: Share of plain fine-tuning's IoU of the new class, on val, that a hold must leave.
_LEAST_GAIN: Final = 0.9


@dataclass(frozen=True, slots=True)
class Strategy:
    """adapt: its [adapt]; family: of strategies that differ in strength, the weakest first; images: what it sees."""

    name: str
    adapt: Mapping[str, Any]
    family: str = ""
    images: Literal["new", "kept", "both"] = "new"


def _ewc(strength: float) -> Strategy:
    adapt = {"strategy": "ewc", "ewc_lambda": strength, "distill_weight": 0.0}
    return Strategy(f"EWC {strength:g}", adapt, family="EWC")


def _distillation(weight: float) -> Strategy:
    adapt = {"strategy": "fine_tune", "distill_weight": weight}
    return Strategy(f"distillation {weight:g}", adapt, family="distillation")


def _both(strength: float, weight: float) -> Strategy:
    adapt = {"strategy": "ewc", "ewc_lambda": strength, "distill_weight": weight}
    return Strategy(f"EWC {strength:g}, distillation {weight:g}", adapt, family="EWC and distillation")


_REHEARSAL: Final = {"strategy": "fine_tune", "new_share": 0.5}
_STRATEGIES: Final = (
    Strategy(_PLAIN, {"strategy": "fine_tune"}),
    Strategy("frozen encoder", {"strategy": "frozen_encoder"}),
    *(_ewc(strength) for strength in (1e2, 1e3, 1e4)),
    *(_distillation(weight) for weight in (1.0, 10.0)),
    *(_both(*strengths) for strengths in ((1e2, 1.0), (1e3, 10.0))),
    Strategy(f"rehearsal of {KEPT_IMAGES}", _REHEARSAL, images="kept"),
    Strategy("rehearsal", _REHEARSAL, images="both"),
    Strategy("rehearsal, distillation 1", _REHEARSAL | {"distill_weight": 1.0}, images="both"),
    Strategy("from scratch", {"strategy": "scratch"}, images="both"),
)
_QUICK_STRATEGIES: Final = (_STRATEGIES[0], _ewc(1e3), _ewc(1e4), _STRATEGIES[-3])


@dataclass(frozen=True, slots=True)
class Sizes:
    """side_px: of parts and crops; counts: parts by split; training: of the champion, and from scratch; adaptation:
    what candidates change in it."""

    side_px: int
    counts: Mapping[str, int]
    training: Mapping[str, Any]
    adaptation: Mapping[str, Any]


_FULL: Final = Sizes(
    side_px=96,
    counts={
        "old_train": 240, "old_val": 60, "old_test": 160, "new_train": 80, "new_val": 40, "new_test": 80,
    },
    training={
        "network": {"options": {"widths": [6, 12, 24, 32]}},
        "optimizer": {"lr": 3e-3, "warmup_steps": 30, "ema_decay": 0.98},
        "schedule": {"epochs": 4, "crops_per_epoch": 800, "batch_size": 8},
    },
    adaptation={
        "optimizer": {"lr": 1e-3, "warmup_steps": 30, "ema_decay": 0.98},
        # Small batches: what a candidate needs is steps, and crops cost time.
        "schedule": {"epochs": 3, "crops_per_epoch": 400, "batch_size": 4},
    },
)  # fmt: skip
_QUICK_SCHEDULE: Final = {"schedule": {"epochs": 1, "crops_per_epoch": 8, "batch_size": 4}}
_QUICK: Final = Sizes(
    side_px=64,
    counts=dict.fromkeys(_FULL.counts, 6),
    training={"network": {"options": {"widths": [4, 4]}}, **_QUICK_SCHEDULE},
    adaptation=_QUICK_SCHEDULE,
)


def main() -> None:
    """Every seed in turn, then the table."""
    options = parser(__doc__)
    options.add_argument(
        "--out", type=Path, metavar="DIR", help="keep all runs there; go on with what it holds"
    )
    options.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="SEED",
        default=[0, 1, 2],
        help="default 0 1 2; each may run apart",
    )
    given = options.parse_args()
    load_before = load()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    sizes, strategies = (_QUICK, _QUICK_STRATEGIES) if given.quick else (_FULL, _STRATEGIES)
    with tempfile.TemporaryDirectory() as temporary:
        out = given.out or Path(temporary)
        found = [
            run_seed(
                seed, out=out / f"seed-{seed}", sizes=sizes, strategies=strategies, threads=given.threads
            )
            for seed in given.seeds
        ]
    print(describe(threads=given.threads, load_before=load_before))
    print_table(found, strategies=strategies)


def run_seed(
    seed: int, *, out: Path, sizes: Sizes, strategies: Sequence[Strategy], threads: int
) -> dict[str, Scores]:
    """Scores by strategy, the champion's first.

    Raises:
        ValueError family: `out` holds parts or runs of other sizes.
    """
    task = draw_task(out / "parts", seed=seed, side_px=sizes.side_px, counts=sizes.counts)
    training = {
        **sizes.training,
        "seed": seed,
        "crops": {"crop_px": sizes.side_px},
        "artefact": {"tile_px": 128, "halo_px": 32},
        "compute": {"threads": threads},
        # The crops are small: a process that made them ahead would only fight for the cores.
        "data": {"workers": 0},
    }
    champion = out / _CHAMPION
    found = {_CHAMPION: make(champion, tree=training, manifest=task.old, task=task)}
    start = _start(champion, task=task)
    for strategy in strategies:
        is_fresh = strategy.adapt["strategy"] == "scratch"
        found[strategy.name] = make(
            out / strategy.name,
            tree={**training, **({} if is_fresh else sizes.adaptation), "adapt": dict(strategy.adapt)},
            manifest=getattr(task, strategy.images),
            task=task,
            start=start,
        )
    return found


def _start(champion: Path, *, task: Task) -> Start:
    """What candidates go on from; its Fisher information is the last that is seen of the old images."""
    if not (champion / FISHER_FILE).is_file():
        keep_for_retraining(Run.open(champion), task.old)
    new = frozenset(sample.name for sample in task.new.split("train"))
    return load_start(champion / NETWORK_FILE, fisher=champion / FISHER_FILE, new_samples=new)


def choose(scores: Mapping[str, Scores], *, family: Sequence[str]) -> str:
    """The strongest of a family, weakest first, that learns the new class as well as it must, else the weakest."""
    least = _LEAST_GAIN * scores[_PLAIN].val_iou
    return next((name for name in reversed(family) if scores[name].val_iou >= least), family[0])


def print_table(found: Sequence[Mapping[str, Scores]], *, strategies: Sequence[Strategy]) -> None:
    """Mean and standard deviation over the seeds; what is forgotten is taken from each seed's own champion."""
    print(f"seeds     {len(found)}\n")
    _print_row("", [title for title, _ in _COLUMNS])
    for name in found[0]:
        _print_scores(name, [name] * len(found), found=found)
    families = dict.fromkeys(strategy.family for strategy in strategies if strategy.family)
    for family in families:
        members = [strategy.name for strategy in strategies if strategy.family == family]
        chosen = [choose(scores, family=members) for scores in found]
        _print_scores(f"{family}, chosen", chosen, found=found)
        print(f"  by seed: {'; '.join(chosen)}")
    print(
        "\nmean ± standard deviation over seeds; lost: the champion's less the candidate's, of the same seed; found:"
        "\nshare of the regions found as what they are; CPU minutes: training, export, calibration"
    )


_COLUMNS: Final[tuple[tuple[str, Callable[[Scores, Scores], float | None]], ...]] = (
    ("old IoU", lambda champion, own: own.old_iou),
    ("lost", lambda champion, own: _lost(champion.old_iou, own.old_iou)),
    ("old found", lambda champion, own: own.old_recall),
    ("lost", lambda champion, own: _lost(champion.old_recall, own.old_recall)),
    ("old escape", lambda champion, own: own.old_escape),
    ("new IoU", lambda champion, own: own.new_iou),
    ("new found", lambda champion, own: own.new_recall),
    ("new escape", lambda champion, own: own.new_escape),
    ("overkill", lambda champion, own: own.overkill),
    ("CPU minutes", lambda champion, own: own.cpu_minutes),
)


def _lost(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after


def _print_scores(title: str, names: Sequence[str], *, found: Sequence[Mapping[str, Scores]]) -> None:
    """A row of the table; `names`: of each seed's run."""
    pairs = [(scores[_CHAMPION], scores[name]) for scores, name in zip(found, names, strict=True)]
    _print_row(title, [_cell([of(*pair) for pair in pairs]) for _, of in _COLUMNS])


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ±{statistics.stdev(known):.2f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.2f}{spread}"


def _print_row(title: str, cells: Sequence[str]) -> None:
    print(f"{title:30}" + "".join(f"{cell:>13}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
