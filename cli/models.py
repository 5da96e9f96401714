"""`segnet models …`: the versions of a model, which one serves, and how to go back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import By, WorkspaceFolder, who

if TYPE_CHECKING:
    from model.store import ModelStore, Version

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="List, compare, promote and roll back the versions of a model.",
)

_WORKSPACE = Path("workspace")
_REF_HELP = "champion, previous, candidate, v3, or the first letters of a digest."
_Ref = Annotated[str, typer.Argument(metavar="REF", help=_REF_HELP)]
_Reason = Annotated[str, typer.Option("--reason", help="Why; the history keeps it.")]


@app.command("list")
def list_versions(
    workspace: WorkspaceFolder = _WORKSPACE,
    history: Annotated[bool, typer.Option("--history", help="And all that ever happened.")] = False,
) -> None:
    """List the versions there are, and what each one is now."""
    from rich.console import Console

    from cli.model_tables import events_table, versions_table

    now = _store(workspace).read()
    console = Console()
    console.print(versions_table(now) if now.versions else now.known())
    if history:
        console.print(events_table(now.events))


@app.command()
def show(ref: _Ref, workspace: WorkspaceFolder = _WORKSPACE) -> None:
    """Show one version: what it promises, where it comes from, what happened to it."""
    from rich.console import Console

    from cli import show as model_file
    from cli.model_tables import events_table, version_table

    store = _store(workspace)
    now = store.read()
    version = now.resolve(ref)
    console = Console()
    console.print(version_table(version, path=store.model_path(version)))
    model_file.command(str(store.model_path(version)))
    console.print(events_table([event for event in now.events if event.version == version.number]))


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help=_REF_HELP)],
    second: Annotated[str, typer.Argument(metavar="B", help=_REF_HELP)],
    workspace: WorkspaceFolder = _WORKSPACE,
) -> None:
    """Compare two versions side by side: classes, decision, scores by split, origin."""
    from rich.console import Console

    from cli.model_tables import Side, compare_classes, compare_origins, compare_scores
    from model.artifact import open_artifact

    store = _store(workspace)
    now = store.read()
    sides = [
        Side(version, open_artifact(store.model_path(version)).contract)
        for version in map(now.resolve, (first, second))
    ]
    console = Console()
    for table in (compare_origins(sides), compare_classes(sides), *compare_scores(sides)):
        console.print(table)


@app.command()
def add(
    model: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL.onnx", help="Folder of `segnet train`, or a model file.")
    ],
    workspace: WorkspaceFolder = _WORKSPACE,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA", help="Where the run's data set lies now; default: where it was trained."
        ),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="What it is; the history keeps it.")] = "",
    promote_it: Annotated[
        bool, typer.Option("--promote", help="Make it the first champion; there must be none yet.")
    ] = False,
    by: By = None,
) -> None:
    """Put a model in as the candidate; of a run also its configuration, scores, report and weights.

    Of a run whose data set is at hand, what `segnet retrain --strategy ewc` needs is measured, too (some 20 s).
    """
    from model.store import StoreError

    store = _store(workspace)
    champion = store.champion
    if promote_it and champion is not None:
        raise StoreError(
            f"{champion.label} is the champion already; --promote is for the first one: add it without, "
            "look at `segnet models diff champion candidate`, then `segnet models promote candidate`"
        )
    before = store.versions()
    if model.is_dir():
        from cli.logs import log_to
        from training.candidate import add_run

        with log_to():
            version = add_run(model, store=store, by=who(by), reason=reason, data=data)
    else:
        version = store.add(model, by=who(by), reason=reason)
    _tell(version, "is in the store already" if version in before else "added")
    if promote_it:
        store.promote(version, by=who(by), reason=reason or "the first champion", expected_champion=None)
        _tell(version, "is the champion")


@app.command()
def promote(
    ref: _Ref,
    reason: _Reason,
    workspace: WorkspaceFolder = _WORKSPACE,
    force: Annotated[
        bool, typer.Option("--force", help="Although the gate refused it; the history says so.")
    ] = False,
    by: By = None,
) -> None:
    """Make a version champion. A service that follows the store takes it over within seconds."""
    from model.store import StoreError

    store = _store(workspace)
    now = store.read()
    version = now.resolve(ref)
    refusal = now.standing_refusal(version)
    if refusal is not None and not force:
        raise StoreError(
            f"{version.label} was refused by {refusal.by}: {refusal.reason}; promote it against that with --force"
        )
    store.promote(
        version,
        by=who(by),
        reason=reason,
        expected_champion=now.champion,
        forced=refusal is not None,
    )
    _tell(version, "is the champion")


@app.command()
def rollback(reason: _Reason, workspace: WorkspaceFolder = _WORKSPACE, by: By = None) -> None:
    """Undo the last promotion: the champion before it serves again."""
    store = _store(workspace)
    before = store.champion
    store.roll_back(by=who(by), reason=reason, expected_champion=before)
    champion = store.champion
    assert champion is not None, "rolling back leaves a champion"
    _tell(champion, "is the champion again")


@app.command()
def gc(
    keep: Annotated[int, typer.Option("--keep", metavar="N", min=1, help="How many champions stay.")],
    workspace: WorkspaceFolder = _WORKSPACE,
    by: By = None,
) -> None:
    """Remove versions that nobody needs: neither among the last N champions nor previous or candidate."""
    removed = _store(workspace).gc(keep=keep, by=who(by))
    for version in removed:
        _tell(version, "removed")
    if not removed:
        typer.echo("nothing to remove")


def _store(workspace: Path) -> "ModelStore":
    from data.workspace import Workspace
    from model.store import ModelStore

    return ModelStore(Workspace.open(workspace).models)


def _tell(version: "Version", what: str) -> None:
    typer.echo(f"{version.label} ({version.name}, {version.digest[:12]}) {what}")
