"""Options that several subcommands share."""

import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Option(
        envvar="SEGNET_MODEL",
        help="A model file, .onnx, or a version in a store: store://champion, store://v3.",
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        envvar="SEGNET_STORE",
        help="Folder of the model store, for store://...",
        file_okay=False,
    ),
]
WorkspaceFolder = Annotated[
    Path,
    typer.Option(
        "--workspace",
        metavar="DIR",
        envvar="SEGNET_WORKSPACE",
        help="The workspace, as `segnet init` made it.",
        file_okay=False,
    ),
]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="WHO", envvar="SEGNET_BY", help="For the history; default: the login name."),
]


def who(by: str | None = None) -> str:
    """The name for the history; in a container the user may have none."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
