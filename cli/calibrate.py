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
    from rich.markup import escape

    from cli.logs import log_to
    from data.files import write_atomically
    from data.sources import open_dataset
    from model.artifact import open_artifact
    from model.predictor import Predictor
    from training.calibrate import calibrate
    from training.calibration import CALIBRATION_FILE
    from training.evaluate import evaluate
    from training.export import restamp

    manifest = open_dataset(data)
    artifact = open_artifact(model)
    with log_to():
        predictor = Predictor.open(artifact)
        calibration = calibrate(predictor, manifest, split=split, max_escape_rate=max_escape_rate)
        before = evaluate(predictor, manifest, split=split)
        decided = artifact.contract.model_copy(update={"decision": calibration.decision, "scores": {}})
        decided_file = restamp(model, contract=decided)
        # What the file itself now does, not what was promised.
        after = evaluate(Predictor.open(decided_file), manifest, split=split)
    restamp(model, contract=decided_file.contract.model_copy(update={"scores": {split: after.scores}}))
    write_atomically(model.with_name(CALIBRATION_FILE), calibration.model_dump_json(indent=2).encode())
    console = Console()
    console.print(
        _table(
            {"before": (before, artifact.contract.decision), "after": (after, calibration.decision)},
            classes=manifest.class_map,
            title=f"{artifact.contract.name} on {split}, escape target {max_escape_rate:.1%}",
        )
    )
    for note in calibration.notes:
        console.print(f"[bold yellow]note[/] {escape(note)}", highlight=False, soft_wrap=True)
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
