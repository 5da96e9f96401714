"""`segnet evaluate`: how good is this model file, on images it has never seen?"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from rich.table import Table


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file, .onnx.", dir_okay=False)],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Data set: images/, masks/, classes.txt.")],
    split: Annotated[str, typer.Option(help="Which of its splits.")] = "test",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the results go; default: MODEL-SPLIT, here.")
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "tensorrt", "openvino"], typer.Option(help="What computes.")
    ] = "auto",
) -> None:
    """Score a model file on a split, through the code that serves it.

    Writes metrics.json, images.csv (a row per image) and report.html, and prints the scores. The report also
    shows the curves of log.jsonl and the choice of calibration.json where they stand beside the model.
    """
    from rich.console import Console

    from cli.logs import log_to
    from data.sources import open_dataset
    from model.predictor import Predictor
    from training.calibration import CALIBRATION_FILE, read_calibration
    from training.evaluate import evaluate
    from training.report import write_results
    from training.report_cases import draw_galleries
    from training.run_log import LOG_FILE, read_log

    manifest = open_dataset(data)
    predictor = Predictor.open(model, device=device)
    with log_to():
        evaluation = evaluate(predictor, manifest, split=split)
        galleries = draw_galleries(predictor, manifest, evaluation=evaluation)
    contract = predictor.contract
    report = write_results(
        out or Path(f"{model.stem}-{split}"),
        contract=contract,
        digest=predictor.digest,
        evaluation=evaluation,
        calibration=read_calibration(model.with_name(CALIBRATION_FILE), decision=contract.decision),
        log=read_log(model.with_name(LOG_FILE)),
        galleries=galleries,
    )
    console = Console()
    console.print(
        headline_table(evaluation.scores, title=f"{contract.name} on {split}, {predictor.provider}")
    )
    console.print(class_table(evaluation.scores))
    console.print(f"report: {report}", highlight=False, soft_wrap=True)


def headline_table(scores: Mapping[str, Any], *, title: str) -> "Table":
    """What an inspection line asks first."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    table.add_row("images", f"{scores['images']} ({scores['ng_images']} NG, {scores['ok_images']} OK)")
    table.add_row("escape rate (NG called OK)", percent(scores["escape_rate"]))
    table.add_row("overkill rate (OK called NG)", percent(scores["overkill_rate"]))
    table.add_row("defects found", percent(scores["defect_recall"]))
    table.add_row("false alarms per image", number(scores["false_alarms_per_image"]))
    table.add_row("mean defect IoU", number(scores["mean_defect_iou"]))
    table.add_row("mean IoU", number(scores["mean_iou"]))
    table.add_row("calibration error of confidence", number(scores["ece"]))
    return table


def class_table(scores: Mapping[str, Any]) -> "Table":
    """Every class's scores; - where the split holds nothing to measure them on."""
    from rich.table import Table

    # Short headings: the table has to fit into 80 columns.
    table = Table()
    table.add_column("class", no_wrap=True)
    columns = {
        "iou": "IoU",
        "dice": "Dice",
        "precision": "prec.",
        "recall": "recall",
        "boundary_f": "bound. F",
        "defect_recall": "found",
        "false_alarms_per_image": "alarms/image",
    }
    for heading in columns.values():
        table.add_column(heading, justify="right")
    for name, of_class in scores["classes"].items():
        shown = (
            percent(of_class[column]) if column == "defect_recall" else number(of_class[column])
            for column in columns
        )
        table.add_row(name, *shown)
    return table


def percent(rate: float | None) -> str:
    """A rate for a table."""
    return "-" if rate is None else f"{rate:.1%}"


def number(score: float | None) -> str:
    """A score for a table."""
    return "-" if score is None else f"{score:.3f}"
