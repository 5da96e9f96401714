"""`segnet init`: a workspace, where a line's data, models and corrections live together."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import By, who

if TYPE_CHECKING:
    from rich.console import Console

    from data.snapshots import Snapshot
    from data.workspace import Workspace

_TEMPLATE = Path(__file__).resolve().parent.parent / "configs" / "retrain.toml"


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The workspace; made where it is missing.")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Labelled images: train and val become the first snapshot."),
    ] = None,
    golden: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Its test split becomes the golden set; default: that of --data."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Run of `segnet train` on DATA that becomes the first champion."),
    ] = None,
    by: By = None,
) -> None:
    """Make a workspace: data snapshots, a frozen golden set, the model store, an inbox; what is there stays.

    Every candidate is judged on the golden set, and no training ever sees it.
    """
    from rich.console import Console

    from cli.logs import log_to
    from data.golden import freeze, has_golden
    from data.sources import open_dataset
    from data.workspace import Workspace

    console = Console(soft_wrap=True, highlight=False)
    workspace = Workspace.create(folder)
    settings = folder / _TEMPLATE.name
    if not settings.exists():
        settings.write_bytes(_TEMPLATE.read_bytes())
    with log_to():
        # The golden set first: what shows one of its images is kept out of everything that comes after.
        source = golden or data
        if source is not None and not has_golden(workspace.golden):
            frozen = freeze(open_dataset(source), split="test", destination=workspace.golden)
            console.print(f"golden set: {frozen.images} images, frozen in {workspace.golden}")
        snapshot = None if data is None else _first_snapshot(workspace, data, console=console)
        if model is not None:
            _first_champion(workspace, model, data=data, snapshot=snapshot, by=who(by), console=console)
    console.print(
        f"workspace: {folder}; how candidates are trained: {settings}\n"
        f"next: segnet serve --model store://champion --store {workspace.models}\n"
        f"      put corrected masks and their images into {workspace.inbox}, then segnet retrain --workspace {folder}"
    )


def _first_snapshot(workspace: "Workspace", data: Path, *, console: "Console") -> "Snapshot":
    """The images to learn from, without those that show a golden one."""
    from data.golden import find_golden
    from data.inbox import take_in_dataset
    from data.snapshots import SnapshotStore
    from data.sources import open_dataset

    taken = take_in_dataset(
        open_dataset(data),
        store=SnapshotStore(workspace.datasets),
        golden=find_golden(workspace.golden),
        note=f"first: {data.name}",
    )
    console.print(f"snapshot s{taken.snapshot.number}: {len(taken.snapshot.samples)} labelled images")
    for refusal in taken.refused:
        console.print(f"  left out: {refusal.name} {refusal.why}")
    return taken.snapshot


def _first_champion(
    workspace: "Workspace",
    folder: Path,
    *,
    data: Path | None,
    snapshot: "Snapshot | None",
    by: str,
    console: "Console",
) -> None:
    """Put the run's model in with all that a candidate goes on from, and make it champion."""
    from model.store import ModelStore, StoreError
    from training.candidate import add_run

    store = ModelStore(workspace.models)
    if store.champion is not None:
        raise StoreError(
            f"{workspace.models} has the champion {store.champion.label} already; add another version by "
            f"`segnet models add {folder}`"
        )
    version = add_run(folder, store=store, by=by, reason="the first model", data=data, snapshot=snapshot)
    store.promote(version, by=by, reason="the first champion", expected_champion=None)
    console.print(f"champion: {version.label} ({version.name}, {version.digest[:12]})")
