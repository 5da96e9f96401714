"""`segnet recipe …`: write the rules that turn defects into OK, NG or REVIEW, and explain them."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Write and explain recipes.")

_MODEL_HELP = "The model whose defects are judged, .onnx."


@app.command()
def check(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, .toml.", dir_okay=False)],
    model: Annotated[
        Path | None,
        typer.Option(help=f"{_MODEL_HELP} Without it, class names are not checked.", dir_okay=False),
    ] = None,
) -> None:
    """Say in sentences what a recipe means, and what in it contradicts itself or the model.

    Exit code 1: it cannot have been meant like that. Warnings alone leave it 0.
    """
    from model.artifact import open_artifact
    from model.recipe import read_recipe
    from model.recipe_check import explain, find_contradictions

    contract = None if model is None else open_artifact(model).contract
    rules = read_recipe(recipe, class_map=None if contract is None else contract.classes)
    for line in explain(rules, contract=contract):
        typer.echo(line)
    found = find_contradictions(rules, contract=contract)
    for finding in found:
        heading, color = ("error", typer.colors.RED) if finding.is_error else ("warning", typer.colors.YELLOW)
        typer.echo(f"{typer.style(heading, fg=color, bold=True)} {finding.text}")
    errors = sum(finding.is_error for finding in found)
    if errors:
        typer.echo(f"not fit for inspection: {errors} error{'s' * (errors > 1)}")
        raise typer.Exit(1)
    typer.echo("fit for inspection")


@app.command()
def new(
    out: Annotated[Path, typer.Argument(metavar="OUT.toml", help="Where it goes.", dir_okay=False)],
    model: Annotated[Path, typer.Option(help=_MODEL_HELP, dir_okay=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.toml.")] = False,
) -> None:
    """Write a model's default recipe, with everything else it could say as comments to be edited."""
    from data.files import write_atomically
    from model.artifact import open_artifact
    from model.recipe import RecipeError, default_recipe

    if out.exists() and not overwrite:
        raise RecipeError(f"{out} exists; give another name, or --overwrite")
    write_atomically(out, default_recipe(open_artifact(model).contract).to_toml().encode())
    typer.echo(f"{out}: edit it, then: segnet recipe check {out} --model {model}")
