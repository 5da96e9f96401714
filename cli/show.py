"""`segnet show`: what does this model file promise?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Store

if TYPE_CHECKING:
    from rich.table import Table

    from model.artifact import Artifact


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model file, .onnx, or a version in a store: store://v3.")
    ],
    store: Store = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs: the contract without its golden sample.")
    ] = False,
) -> None:
    """Print what a model promises: its classes, decision and scores, and where it comes from."""
    import json

    from model.artifact import open_artifact
    from model.locate import locate_model

    artifact = open_artifact(locate_model(model, store=store))
    if as_json:
        contract = artifact.contract.model_dump(mode="json", exclude={"golden"})
        told = {"digest": artifact.digest, "bytes": len(artifact.model_bytes), **contract}
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console()
    for table in (_facts(artifact), _classes(artifact)):
        console.print(table)
    if artifact.contract.scores:
        console.print(_scores(artifact))
    console.print(_provenance(artifact))


def _facts(artifact: "Artifact") -> "Table":
    """Name, size and what it needs."""
    contract = artifact.contract
    title = contract.name if contract.version is None else f"{contract.name} {contract.version}"
    rows = [
        ("file", f"{artifact.path}, {len(artifact.model_bytes) / 1e6:.1f} MB"),
        ("digest", artifact.digest),
        ("made", f"{contract.created_at:%Y-%m-%d %H:%M %Z}"),
        ("padded to multiples of", f"{contract.stride} px"),
        ("tiles", f"{contract.tile_px} px with a halo of {contract.halo_px} px"),
        ("smallest defect", f"{contract.decision.min_area_px} px"),
        (
            "agrees with training",
            f"{contract.parity.label_agreement:.4%} of {contract.parity.pixels} pixels; probabilities within "
            f"{contract.parity.max_probability_error:.1g}",
        ),
    ]
    if contract.notes is not None:
        rows.append(("notes", contract.notes))
    return _pairs(title, rows)


def _classes(artifact: "Artifact") -> "Table":
    """A row per class, with its colour."""
    from rich.table import Table
    from rich.text import Text

    contract = artifact.contract
    table = Table(title="classes", title_justify="left")
    for heading in ("id", "class", "role", "decision weight"):
        table.add_column(heading, justify="left" if heading in ("class", "role") else "right")
    for class_id, (spec, weight) in enumerate(
        zip(contract.classes.classes, contract.decision.weights, strict=True)
    ):
        red, green, blue = spec.color
        name = Text.assemble(("\u25a0 ", f"rgb({red},{green},{blue})"), spec.name)
        table.add_row(str(class_id), name, spec.role, f"{weight:.4g}")
    return table


def _scores(artifact: "Artifact") -> "Table":
    """A column per split, a row per number; nested ones by dotted name."""
    from rich.table import Table
    from rich.text import Text

    by_split = {split: dict(flat(measured)) for split, measured in artifact.contract.scores.items()}
    table = Table(title="scores, measured on this file", title_justify="left")
    table.add_column("")
    for split in by_split:
        table.add_column(Text(split), justify="right")
    for name in dict.fromkeys(name for measured in by_split.values() for name in measured):
        table.add_row(Text(name), *(number(measured.get(name)) for measured in by_split.values()))
    return table


def _provenance(artifact: "Artifact") -> "Table":
    """Where it comes from."""
    rows = []
    for name, value in artifact.contract.provenance.model_dump().items():
        told = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else value
        rows.append((name.replace("_", " "), str(told)))
    return _pairs("made from", rows)


def _pairs(title: str, rows: list[tuple[str, str]]) -> "Table":
    """Names and values; brackets in them are no markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", show_header=False)
    for name, value in rows:
        table.add_row(name, Text(value, overflow="fold"))
    return table


def flat(measured: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers of nested mappings by dotted name."""
    for name, value in measured.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        elif value is None or isinstance(value, (int, float)):
            yield prefix + name, value


def number(value: float | None) -> str:
    """A score for a table; - where it is unknown."""
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
