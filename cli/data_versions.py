"""`segnet data snapshot | log | diff`: the versions of a workspace's labelled images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import WorkspaceFolder

if TYPE_CHECKING:
    from data.inbox import TakenIn

app = typer.Typer(help="Mounted by cli.data, without a name of its own.")

_WORKSPACE = Path("workspace")
_REF_HELP = "latest, s3, or the first digits of a digest."


@app.command()
def snapshot(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]", help="A data set whose train and val are taken in; default: the inbox."
        ),
    ] = None,
    workspace: WorkspaceFolder = _WORKSPACE,
    note: Annotated[str, typer.Option(help="What it is; the log keeps it.")] = "",
) -> None:
    """Take in the inbox, or a data set: new images are added, corrected masks replace older ones.

    Nothing is overwritten, the inbox neither. What shows a golden image is left out by name.
    """
    from rich.console import Console

    from cli.logs import log_to
    from data.golden import find_golden
    from data.inbox import take_in, take_in_dataset
    from data.snapshots import SnapshotStore
    from data.sources import open_dataset
    from data.workspace import Workspace

    place = Workspace.open(workspace)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    golden = find_golden(place.golden)
    if golden is None:
        console.print(f"no golden set in {place.golden}: nothing is kept apart from it")
    store = SnapshotStore(place.datasets)
    with log_to():
        if data is None:
            taken = take_in(place.inbox, store=store, golden=golden, note=note)
        else:
            taken = take_in_dataset(open_dataset(data), store=store, golden=golden, note=note or data.name)
    for line in _lines(taken):
        console.print(line)


@app.command()
def log(workspace: WorkspaceFolder = _WORKSPACE) -> None:
    """List the snapshots, the oldest first."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from data.snapshot_records import NO_SNAPSHOT
    from data.snapshots import SnapshotStore
    from data.workspace import Workspace

    console = Console()
    entries = SnapshotStore(Workspace.open(workspace).datasets).log()
    if not entries:
        console.print(NO_SNAPSHOT, markup=False, soft_wrap=True)
        return
    table = Table()
    for heading in ("snapshot", "digest", "made", "images", "added", "corrected", "note"):
        table.add_column(heading)
    for entry in entries:
        table.add_row(
            f"s{entry.number}",
            entry.digest[:12],
            f"{entry.created_at:%Y-%m-%d %H:%M}",
            _split_counts(entry.images),
            str(entry.added),
            str(entry.corrected),
            Text(entry.note),
        )
    console.print(table)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="A", help=_REF_HELP)],
    new: Annotated[str, typer.Argument(metavar="B", help=_REF_HELP)],
    workspace: WorkspaceFolder = _WORKSPACE,
) -> None:
    """List what changed from one snapshot to another, by name."""
    from dataclasses import fields

    from data.snapshots import SnapshotStore
    from data.workspace import Workspace

    store = SnapshotStore(Workspace.open(workspace).datasets)
    first, second = store.resolve(old), store.resolve(new)
    change = store.diff(first, second)
    typer.echo(f"s{first.number} {first.digest[:12]} -> s{second.number} {second.digest[:12]}")
    for kind in fields(change):
        names = getattr(change, kind.name)
        if names:
            typer.echo(f"{kind.name.replace('_', ' ')} ({len(names)}):")
            for name in names:
                typer.echo(f"  {name}")
    if not any(getattr(change, kind.name) for kind in fields(change)):
        typer.echo("no difference")


def _lines(taken: "TakenIn") -> list[str]:
    """What came of it, and each picture that was left out."""
    made = taken.snapshot
    return [
        f"snapshot s{made.number} {made.digest[:12]}: {_split_counts(made.images)}",
        f"added {len(taken.added)}, corrected {len(taken.corrected)}, unchanged {len(taken.unchanged)}, "
        f"left out {len(taken.refused)}",
        *(f"  {refusal.name} {refusal.why}" for refusal in taken.refused),
    ]


def _split_counts(images: dict[str, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in images.items())
