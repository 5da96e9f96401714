"""`segnet retrain`: from what inspectors corrected to the next champion, or a refusal."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.options import By, WorkspaceFolder, who

if TYPE_CHECKING:
    from training.retrain import Outcome

#: Exit codes besides 0 (promoted, or nothing to do) and 1 (an error).
REFUSED, NEEDS_A_PERSON = 3, 4


def command(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="TOML laid over the champion's; default: WORKSPACE/retrain.toml.",
            dir_okay=False,
        ),
    ] = None,
    workspace: WorkspaceFolder = Path("workspace"),
    strategy: Annotated[
        Literal["fine_tune", "ewc", "frozen_encoder", "scratch"] | None,
        typer.Option(help="How the candidate starts; default: as the configuration says."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as schedule.epochs=3.")
    ] = None,
    if_new: Annotated[
        int, typer.Option(min=0, metavar="N", help="Do nothing with fewer new labels in the inbox: for cron.")
    ] = 0,
    wait_s: Annotated[float, typer.Option(min=0, help="Seconds to wait for another job to end.")] = 0.0,
    force: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Promote whatever the gate says; the reason is kept for good."),
    ] = None,
    by: By = None,
) -> None:
    """Take in the inbox, train a candidate from the champion, compare both on the golden set, promote or refuse.

    The candidate is trained on all snapshots' images and on none of the golden set. A job that was cut off goes on.
    Exit code 0: promoted, or too few new labels; 3: refused; 4: a person must look at gate.html and decide by
    `segnet models promote candidate`; 1: an error. Whatever happens, the champion serves until another is promoted.
    """
    from cli.logs import log_to
    from data.workspace import Workspace
    from training.gate.settings import GateSettings
    from training.retrain import Request, retrain
    from training.retrain_config import RETRAIN_FILE, read_overlay

    settings = config or workspace / RETRAIN_FILE
    place = Workspace.open(workspace)
    overlay, gate = read_overlay(settings) if config or settings.exists() else ({}, GateSettings())
    request = Request(
        by=who(by),
        overlay=overlay,
        gate=gate,
        strategy=strategy,
        overrides=overrides or (),
        if_new=if_new,
        wait_s=wait_s,
        force=force,
    )
    with log_to(place.runs / "retrain.log"):
        outcome = retrain(place, request)
    _tell(outcome, if_new=if_new)
    if outcome.result is not None and not outcome.promoted:
        raise typer.Exit(REFUSED if outcome.result.verdict == "refuse" else NEEDS_A_PERSON)


def _tell(outcome: "Outcome", *, if_new: int) -> None:
    """What came in, what the gate said, and what to do next."""
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False, markup=False)
    for refusal in outcome.refused:
        console.print(f"left out: {refusal.name}: {refusal.why}")
    if outcome.job is None or outcome.result is None or outcome.version is None:
        console.print(f"{outcome.new_labels} new labels in the inbox, fewer than {if_new}: nothing to do")
        return
    if outcome.taken is not None:
        taken = outcome.taken
        console.print(
            f"snapshot s{taken.snapshot.number}: {len(taken.added)} new images, {len(taken.corrected)} corrected"
        )
    label, result = outcome.version.label, outcome.result
    console.print(f"{label}: {'promoted' if outcome.promoted else result.verdict}. {result.summary}")
    for finding in result.findings:
        console.print(f"  {finding.verdict:>7}  {finding.text}")
    console.print(f"report: {outcome.job.folder / 'gate.html'}")
    if not outcome.promoted and result.verdict != "refuse":
        console.print(f"next: look at it, then segnet models promote {label} --reason …, or leave it")
