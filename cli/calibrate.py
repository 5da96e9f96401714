"""`segnet calibrate`: how sure must a model be before it calls a part bad?"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from data.classes import ClassMap
    from model.contract import Decision
    from training.evaluation import Evaluation


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file, .onnx.", dir_okay=False)],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Data set: images/, masks/, classes.txt.")],
    split: Annotated[str, typer.Option(help="Which of its splits; never test.")] = "val",
    max_escape_rate: Annotated[
        float, typer.Option(help="Share of NG images that may be called OK, from 0 to below 1.")
    ] = 0.05,
) -> None:
    """Choose the decision weights and the smallest defect of a model file, and write them into it.

    Aims at the fewest OK images called NG at that escape rate. The scores in the file are measured anew on
    the split, as those of the former decision hold no more. Writes calibration.json beside the model, for the
    report.
    """
    from rich.console import Console

    from cli.logs import log_to
    from data.sources import open_dataset
    from model.predictor import Predictor
    from training.evaluate import evaluate
    from training.stages import calibrate_file

    manifest = open_dataset(data)
    with log_to():
        predictor = Predictor.open(model)
        done = calibrate_file(model, manifest, split=split, max_escape_rate=max_escape_rate)
        # This one was opened before, and still decides as the file did then.
        before = evaluate(predictor, manifest, split=split)
    console = Console()
    console.print(
        _table(
            {"before": (before, done.decision_before), "after": (done.after, done.calibration.decision)},
            classes=manifest.class_map,
            title=f"{predictor.contract.name} on {split}, escape target {max_escape_rate:.1%}",
        )
    )
    console.print(
        f"{model}: decision written; next: segnet evaluate {model} --data {data}",
        highlight=False,
        soft_wrap=True,
    )


def _table(
    columns: Mapping[str, "tuple[Evaluation, Decision]"], *, classes: "ClassMap", title: str
) -> "Table":
    """Before beside after, as measured on the file."""
    from rich.table import Table

    from cli.evaluate import number, percent

    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in columns:
        table.add_column(heading, justify="right")
    told = list(columns.values())
    for name, key, form in (
        ("escape rate (NG called OK)", "escape_rate", percent),
        ("overkill rate (OK called NG)", "overkill_rate", percent),
        ("defects found", "defect_recall", percent),
        ("false alarms per image", "false_alarms_per_image", number),
        ("mean defect IoU", "mean_defect_iou", number),
    ):
        table.add_row(name, *(form(evaluation.scores[key]) for evaluation, _ in told))
    table.add_section()
    table.add_row("smallest defect", *(f"{decision.min_area_px} px" for _, decision in told))
    for class_id, name in enumerate(classes.names):
        table.add_row(f"weight of {name}", *(f"{decision.weights[class_id]:.4g}" for _, decision in told))
    return table
