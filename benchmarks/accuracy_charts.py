"""A study's two pictures: how its rows learnt, and what their accuracy costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from accuracy_runs import Result
from accuracy_scores import RowScores
from cycler import cycler
from matplotlib import rcParams
from matplotlib.figure import Figure


def draw_curves(path: Path, found: Sequence[Result], *, monitor: str) -> None:
    """Loss on training crops and the monitored score on val, by crops seen: mean of a row's runs, a line each."""
    figure = Figure(figsize=(13, 5), layout="constrained")
    loss, score = figure.subplots(1, 2)
    for axes in (loss, score):
        axes.set_prop_cycle(cycler(linestyle=["-", "--"]) * rcParams["axes.prop_cycle"])
    for name in dict.fromkeys(result.row.name for result in found):
        results = [result for result in found if result.row.name == name]
        seen = np.linspace(0, results[0].crops, len(results[0].log) + 1)[1:]
        for axes, part, key in ((loss, "train", "loss"), (score, "val", monitor)):
            values = np.array([[row[part][key] for row in one.log] for one in results], np.float64)
            axes.plot(seen, values.mean(axis=0), label=name)
    loss.set(xlabel="crops seen", ylabel="loss on training crops", yscale="log")
    score.set(xlabel="crops seen", ylabel=f"{monitor.replace('_', ' ')} on val (argmax)", ylim=(0, None))
    for axes in (loss, score):
        axes.grid(alpha=0.3)
    figure.legend(*score.get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=100)


def draw_cost(
    path: Path, scores: Mapping[str, RowScores], *, milliseconds: Mapping[str, float], judged: str
) -> None:
    """Mean IoU and its 95 % interval by the time of one image; ringed: none is both quicker and better. judged: on
    what, such as "on test"."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots()
    for name, row in scores.items():
        x, y = milliseconds[name], row.iou.mean
        (line,) = axes.plot(x, y, "o")
        axes.vlines(x, row.low, row.high, colors=line.get_color(), alpha=0.4)
        axes.annotate(name, (x, y), xytext=(6, 4), textcoords="offset points", fontsize="small")
    best = undominated(scores, milliseconds=milliseconds)
    axes.plot(
        [milliseconds[name] for name in best],
        [scores[name].iou.mean for name in best],
        "o", markersize=14, markerfacecolor="none", markeredgecolor="black",
    )  # fmt: skip
    axes.set(xlabel="ms per image on the CPU, ONNX Runtime", ylabel=f"mean IoU {judged}", ylim=(0, None))
    axes.set_xlim(0, 1.25 * max(milliseconds[name] for name in scores))  # room for the name of the slowest
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def undominated(scores: Mapping[str, RowScores], *, milliseconds: Mapping[str, float]) -> list[str]:
    """The rows that no other row beats in time and mean IoU both."""
    return [
        name
        for name, row in scores.items()
        if not any(
            milliseconds[other] < milliseconds[name] and scores[other].iou.mean > row.iou.mean
            for other in scores
        )
    ]
