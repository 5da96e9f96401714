"""`segnet export`: the model file of a run, from any of its checkpoints."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of `segnet train`.", file_okay=False)],
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: RUN/best.pt.", dir_okay=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: RUN/model.onnx, replaced.", dir_okay=False)
    ] = None,
) -> None:
    """Write the model file of a run from a checkpoint, after proving that both agree on validation images.

    The file decides by plain argmax until `segnet calibrate`, and knows no scores until `segnet evaluate`.
    """
    from rich.console import Console

    from cli.logs import log_to
    from training.run import Run, export_run

    opened = Run.open(run)
    with log_to():
        artifact = export_run(opened, manifest=opened.manifest(), checkpoint=checkpoint, out=out)
    path = out or opened.model
    parity = artifact.contract.parity
    console = Console()
    console.print(
        f"{path}: labels agree with the network on {parity.label_agreement:.4%} of {parity.pixels} pixels",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"next: segnet calibrate {path} --data {opened.config.data.root}", highlight=False, soft_wrap=True
    )
