"""`segnet demo`: the main job on drawn parts, from pictures to a model file, in some minutes."""

from pathlib import Path
from typing import Annotated

import typer

_CONFIG = Path(__file__).resolve().parent.parent / "configs" / "demo.toml"


def command(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where everything goes.")] = Path("runs/demo"),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As in `segnet train`.")
    ] = None,
) -> None:
    """Draw parts with known defects, train on them, and show what the model file finds on parts it never saw.

    A demo that was cut off goes on where it was; one that is done only says where to look.
    """
    from rich.console import Console

    from cli.evaluate import class_table, headline_table
    from cli.logs import log_to
    from data.files import write_atomically
    from data.images import encode_png
    from data.synthetic import write_synthetic_dataset
    from model.predictor import Predictor
    from training.config import read_config
    from training.report import REPORT_FILE
    from training.run import CONFIG_FILE, TEXT_LOG_FILE, Run, train_run
    from training.showcase import draw_showcase

    console = Console()
    data, picture = out / "parts", out / "found.png"
    config = read_config(_CONFIG, overrides=overrides or ()).with_data(data)
    begun = (out / CONFIG_FILE).is_file()
    run = Run.resume(out, config=config) if begun else Run.start(out, config=config)
    if not data.is_dir():
        with console.status("Drawing parts"):
            write_synthetic_dataset(data, seed=config.seed)
    with log_to(run.folder / TEXT_LOG_FILE):
        if not picture.is_file():
            train_run(run)
        manifest, predictor = run.manifest(), Predictor.open(run.model)
        write_atomically(picture, encode_png(draw_showcase(predictor, manifest)))
    scores = predictor.contract.scores["test"]
    console.print(headline_table(scores, title="on drawn parts it never saw, measured on the model file"))
    console.print(class_table(scores))
    for what, where in (
        ("what it found", picture),
        ("report", run.folder / REPORT_FILE),
        ("model", run.model),
    ):
        console.print(f"{what}: {where}", highlight=False, soft_wrap=True)
    console.print(
        f"next: segnet inspect {data / 'images' / 'test'} --model {run.model} --out {out / 'inspected'}\n"
        f"      segnet serve --model {run.model}\n"
        "      segnet data check YOUR-DATA, then segnet train configs/fast.toml --data YOUR-DATA",
        highlight=False,
        soft_wrap=True,
    )
