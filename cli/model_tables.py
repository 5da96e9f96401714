"""Tables about the versions of a model store, for `segnet models`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from cli.show import flat, number
from model.contract import Contract
from model.store import Event, History, Version

_ABSENT = "-"


@dataclass(frozen=True)
class Side:
    """One of the versions that are compared."""

    version: Version
    contract: Contract


def versions_table(now: History) -> Table:
    """A row per version, oldest first."""
    # Short: it has to fit into 80 columns.
    table = _table("", headings=("version", "is", "name", "digest", "added", "by", "from"))
    for version in now.versions:
        table.add_row(
            version.label,
            Text(_standing(now, version)),
            Text(version.name),
            version.digest[:12],
            f"{version.added_at:%Y-%m-%d %H:%M}",
            Text(version.by),
            Text(version.parents.strategy or version.parents.run or _ABSENT),
        )
    return table


def version_table(version: Version, *, path: Path) -> Table:
    """All that the store knows of one version."""
    table = Table(title=version.label, title_justify="left", show_header=False)
    rows = {
        "file": str(path),
        "file sha256": version.file_sha256,
        "digest": version.digest,
        "added": f"{version.added_at:%Y-%m-%d %H:%M %Z} by {version.by}",
        **{f"parent {name}": value for name, value in version.parents if value is not None},
        "beside it": ", ".join(version.attachments) or "nothing",
    }
    for name, value in rows.items():
        table.add_row(name, Text(value, overflow="fold"))
    return table


def events_table(events: Iterable[Event]) -> Table:
    """A row per event, oldest first, with the numbers it rests on."""
    table = _table("history", headings=("when", "version", "what", "by", "why"))
    for event in events:
        what = event.kind.replace("_", " ") + (" by force" if event.forced else "")
        why = [event.reason, *(f"{name} {_shown(value)}" for name, value in _leaves(event.numbers))]
        table.add_row(
            f"{event.at:%Y-%m-%d %H:%M:%S}",
            f"v{event.version}",
            what,
            Text(event.by),
            Text("\n".join(filter(None, why)), overflow="fold"),
        )
    return table


def compare_origins(sides: Sequence[Side]) -> Table:
    """Where they come from: digests, parents, provenance; equal rows too, since they tell what was kept."""
    columns = [
        dict(
            _leaves(
                {
                    "name": side.contract.name,
                    "digest": side.version.digest,
                    "added": f"{side.version.added_at:%Y-%m-%d %H:%M} by {side.version.by}",
                    "parent": side.version.parents.model_dump(exclude_none=True),
                    **side.contract.provenance.model_dump(),
                }
            )
        )
        for side in sides
    ]
    return _side_by_side("made from", sides, columns=columns)


def compare_classes(sides: Sequence[Side]) -> Table:
    """Each class's decision weight, by name, and the smallest defect; - where a version lacks the class."""
    columns = [
        {
            **{
                f"{spec.name} ({spec.role})": f"{class_id}, weight {weight:.4g}"
                for class_id, (spec, weight) in enumerate(
                    zip(side.contract.classes.classes, side.contract.decision.weights, strict=True)
                )
            },
            "smallest defect": f"{side.contract.decision.min_area_px} px",
        }
        for side in sides
    ]
    return _side_by_side("classes and decision", sides, columns=columns)


def compare_scores(sides: Sequence[Side]) -> Iterator[Table]:
    """A table per split that either was scored on; the last column is the second's less the first's."""
    for split in dict.fromkeys(split for side in sides for split in side.contract.scores):
        columns = [dict(flat(side.contract.scores.get(split, {}))) for side in sides]
        table = _table(f"scores on {split}", headings=("", *(_heading(side) for side in sides), "change"))
        for name in _names(columns):
            first, second = (column.get(name) for column in columns)
            table.add_row(Text(name), number(first), number(second), _change(first, second))
        yield table


def _side_by_side(title: str, sides: Sequence[Side], *, columns: Sequence[Mapping[str, Any]]) -> Table:
    """A row per name; those that differ are bold."""
    table = _table(title, headings=("", *(_heading(side) for side in sides)))
    for name in _names(columns):
        cells = [_shown(column.get(name)) for column in columns]
        style = "bold" if len(set(cells)) > 1 else ""
        table.add_row(Text(name), *(Text(cell, overflow="fold") for cell in cells), style=style)
    return table


def _standing(now: History, version: Version) -> str:
    """What a version is now, in a word or two."""
    names = [name for name, one in now.aliases.items() if one == version]
    if not names and now.standing_refusal(version) is not None:
        names = ["refused"]
    return ", ".join(names)


def _change(first: float | None, second: float | None) -> str:
    """How far a score has moved; - where one of the two is unknown."""
    if first is None or second is None:
        return _ABSENT
    change = second - first
    return f"{change:+.3f}" if isinstance(change, float) else f"{change:+d}"


def _heading(side: Side) -> str:
    return side.version.label


def _names(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for column in columns for name in column))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested mappings by dotted name."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _shown(value: Any) -> str:
    if value is None:
        return _ABSENT
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(title: str, *, headings: Sequence[str]) -> Table:
    table = Table(title=title or None, title_justify="left")
    for heading in headings:
        table.add_column(heading)
    return table
