"""`segnet keys …`: make and list the keys that let clients use the service."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make and list API keys.")

_File = Annotated[
    Path,
    typer.Option(
        "--file",
        envvar="SEGNET_KEYS_FILE",
        help="The service's file of keys.",
        dir_okay=False,
        show_default=True,
    ),
]


@app.command()
def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Who or what it is for; it appears in the log.")
    ],
    scope: Annotated[
        list[str],
        typer.Option(help="What it allows: predict, admin (change the model), metrics. May be given again."),
    ],
    file: _File = Path("keys.txt"),
) -> None:
    """Make a key, print it this once, and add its hash to the file.

    The key alone goes to stdout, so that it can be piped. The service reads the file when it starts.
    """
    from app.api_keys import append_key, new_key

    secret, key = new_key(name, scopes=scope)
    append_key(file, key)
    typer.echo(
        f"{file}: added {key.name} ({', '.join(sorted(key.scopes))}); its key, shown only now:", err=True
    )
    typer.echo(secret)


@app.command("list")
def list_keys(file: _File = Path("keys.txt")) -> None:
    """List names and scopes. To take a key back, delete its line and start the service anew."""
    from app.api_keys import read_keys

    for key in read_keys(file).keys:
        typer.echo(f"{key.name}  {', '.join(sorted(key.scopes))}")
