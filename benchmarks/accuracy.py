"""Which network finds more, at what cost: a study file in, one table and two pictures out.

Every row is trained on the same data with the same recipe and budget, exported, calibrated on val and judged on test
through its model file, once for each seed. `--out DIR` keeps every run: a study that was cut off goes on, and several
processes started with the same DIR share the work (one for each core, with `--threads 1`).

No test image takes part in a choice: the best epoch and the decision come from val, the budget from a clock.
"""

import argparse
import functools
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from accuracy_charts import draw_cost, draw_curves, undominated
from accuracy_data import Image, prepare, typical_image
from accuracy_runs import Result, Size, measure_size, results, work
from accuracy_scores import RowScores, Spread, judged_classes, score_rows
from accuracy_study import Study
from machine import describe, load, parser, time_in_turns

from data.manifest import Manifest
from model.predictor import Predictor

_DATASETS: Final = Path(__file__).resolve().parents[2] / "shared" / "datasets"
_QUICK_STUDY: Final = Path(__file__).parent / "studies" / "quick.toml"


def main() -> None:
    """Make what is missing, then the table of all that is there."""
    options = parser(__doc__)
    options.add_argument("study", type=Path, nargs="?", help="a file of benchmarks/studies")
    options.add_argument(
        "--datasets", type=Path, default=_DATASETS, metavar="DIR", help="where data sets lie"
    )
    options.add_argument(
        "--out", type=Path, metavar="DIR", help="keep all runs there; go on with what it holds"
    )
    options.add_argument(
        "--table", action="store_true", help="only the table of what is there: train nothing"
    )
    given = options.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    if given.study is None and not given.quick:
        options.error("name a study, such as benchmarks/studies/magnetic_tile_peers.toml")
    try:
        _run(given)
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")


def _run(given: argparse.Namespace) -> None:
    load_before = load()
    with tempfile.TemporaryDirectory() as temporary:
        datasets = _draw(Path(temporary)) if given.quick else given.datasets
        study = Study.read(given.study or _QUICK_STUDY)
        out = (given.out or Path(temporary)) / study.name
        out.mkdir(parents=True, exist_ok=True)
        manifest = prepare(study, datasets=datasets, out=out)
        whole = given.table or work(study, manifest=manifest, out=out, threads=given.threads)
        if not whole:
            print("another process makes the rest of this study; --table prints what is there")
            return
        print(describe(threads=given.threads, load_before=load_before))
        report(study, manifest=manifest, out=out, threads=given.threads, quick=given.quick)


def _draw(folder: Path) -> Path:
    from data.synthetic import write_synthetic_dataset

    write_synthetic_dataset(folder / "parts", counts={"train": 8, "val": 4, "test": 4}, size_hw=(64, 64))
    return folder


def report(study: Study, *, manifest: Manifest, out: Path, threads: int, quick: bool) -> None:
    """Print the table, draw the pictures."""
    found = results(study, out=out)
    if not found:
        print("no run is finished yet")
        return
    image = typical_image(manifest)
    by_row = {result.row.name: result for result in found}
    sizes = {
        name: measure_size(study, one.row, class_count=len(manifest.class_map), size_hw=image.shape[:2])
        for name, one in by_row.items()
    }
    milliseconds = _time(by_row, image=image, threads=threads, rounds=2 if quick else 30)
    scores = score_rows(found, class_map=manifest.class_map, monitor=study.monitor)
    _print_table(
        study,
        found=found,
        scores=scores,
        sizes=sizes,
        milliseconds=milliseconds,
        names=judged_classes(manifest.class_map),
    )
    print(f"\nms, GMAC: one image of {image.shape[1]} x {image.shape[0]} px, the median test image")
    draw_curves(out / "curves.png", found, monitor=study.monitor)
    draw_cost(out / "cost.png", scores, milliseconds=milliseconds, judged=_judged(study))
    print(f"pictures: {out / 'curves.png'}, {out / 'cost.png'}")


def _time(by_row: Mapping[str, Result], *, image: Image, threads: int, rounds: int) -> dict[str, float]:
    """Fastest answer of each row's first model file, through the predictor that serves, in turns; ms."""
    calls = {}
    for name, result in by_row.items():
        predictor = Predictor.open(result.model, device="cpu", threads=threads)
        calls[name] = functools.partial(predictor.predict, image)
    return {name: 1000 * one.min_s for name, one in time_in_turns(calls, rounds=rounds, warmup=1).items()}


def _print_table(
    study: Study,
    *,
    found: Sequence[Result],
    scores: Mapping[str, RowScores],
    sizes: Mapping[str, Size],
    milliseconds: Mapping[str, float],
    names: Sequence[str],
) -> None:
    """Markdown, so that it can stand in docs/ as it is."""
    budget = f"{study.crops} crops" if study.crops else f"{study.cpu_minutes:g} CPU minutes of training steps"
    seeds = ", ".join(str(seed) for seed in study.seeds)
    folds = f", {study.folds} folds of train and val" if study.folds else ""
    print(
        f"study     {study.name}: {study.data}, {budget} a run, {study.epochs} validations, seeds {seeds}{folds}\n"
    )
    titles = ["", "runs", "params", "GMAC", "ms", "crops", "IoU", "95 %", "gain", "its 95 %", "val"]
    titles += [] if study.scenes else ["AUROC"]
    titles += ["escape", "overkill", "IoU, decided"] if study.decides else []
    titles += list(names)
    print("| " + " | ".join(titles) + " |")
    print("|" + "---|" * len(titles))
    best = undominated(scores, milliseconds=milliseconds)
    group = None
    for name, row in scores.items():
        runs = [result for result in found if result.row.name == name]
        if runs[0].row.group != group and (group := runs[0].row.group):
            print(f"| *{group}* |" + " |" * (len(titles) - 1))
        cells = [
            f"{name} *" if name in best else name,
            str(len(runs)),
            f"{sizes[name].parameters / 1e6:.2f} M",
            f"{sizes[name].gmac:.2f}",
            f"{milliseconds[name]:.1f}",
            str(runs[0].crops),
            _cell(row.iou),
            f"{row.low:.3f} to {row.high:.3f}",
            "" if row.gain is None else f"{row.gain:+.3f}",
            "" if row.gain is None else f"{row.gain_low:+.3f} to {row.gain_high:+.3f}",
            _cell(row.val),
        ]
        if not study.scenes:
            cells += [_cell(row.auroc)]
        if study.decides:
            cells += [_cell(row.escape), _cell(row.overkill), _cell(row.decided)]
        cells += [_cell(one, digits=2) for one in row.by_class]
        print("| " + " | ".join(cells) + " |")
    print(f"\n{_legend(study)}")


def _judged(study: Study) -> str:
    return "on the fold that a run did not see" if study.folds else "on test"


def _legend(study: Study) -> str:
    """What the columns that this study has mean."""
    lines = [
        f"*: no row is both quicker and better. IoU: {_judged(study)}, by argmax, mean over the classes named at",
        "the right, ± standard deviation over seeds; its 95 % interval: over parts drawn anew; gain: over the group's",
        "first row.",
    ]
    if not study.scenes:
        lines.append("AUROC: of the surest region as a sign of NG.")
    if study.decides:
        lines.append("Escape, overkill and the IoU after them: as the model file decides, calibrated on val.")
    return "\n".join(lines)


def _cell(value: Spread | None, *, digits: int = 3) -> str:
    if value is None:
        return "-"
    spread = "" if value.deviation is None else f" ±{value.deviation:.{digits}f}"
    return f"{value.mean:.{digits}f}{spread}"


if __name__ == "__main__":
    main()
