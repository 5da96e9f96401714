"""`segnet train`: from labelled images to one model file and an honest report."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="TOML such as configs/fast.toml.", dir_okay=False)
    ],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Data set: images/, masks/, classes.txt.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="New folder for the run; default: runs/CONFIG-DATA.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as schedule.epochs=5.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in RUN was cut off.")] = False,
) -> None:
    """Train, export, calibrate on val and evaluate on test: leaves model.onnx, metrics.json and report.html in RUN."""
    from cli.logs import log_to
    from training.config import read_config
    from training.run import TEXT_LOG_FILE, Run, is_first_process, train_run

    settings = read_config(config, overrides=overrides or ())
    settings = settings.with_data(data) if data else settings
    root = settings.data.root
    folder = out or Path("runs") / f"{config.stem}-{root.resolve().name if root else 'data'}"
    run = Run.resume(folder, config=settings) if resume else Run.start(folder, config=settings)
    # Of several processes one tells; the others are heard when they fail.
    first = is_first_process()
    with log_to(run.folder / TEXT_LOG_FILE if first else None, quiet=not first):
        train_run(run)
