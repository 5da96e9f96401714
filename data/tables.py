"""split.csv: which image belongs to which split, and which images show the same part."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data.files import write_atomically
from data.manifest import IMAGE_SUFFIXES, DatasetError, Problem

SPLIT_FILE = "split.csv"
_OURS = ("name", "split", "group")


@dataclass(frozen=True, slots=True)
class SplitRow:
    """One row of split.csv; `group` is None where the table has no such column or leaves it empty."""

    split: str
    group: str | None


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header line: comma or semicolon, UTF-8 with or without a mark.

    Raises:
        DatasetError: not UTF-8, no header, or a row with more or fewer cells than the header.
        OSError: the file cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 ({error}); save it as CSV UTF-8") from error
    header = text.split("\n", 1)[0]
    delimiter = ";" if ";" in header and "," not in header else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns = [cell.strip().lower() for cell in next(reader, [])]
    if not columns:
        raise DatasetError(f"{path}: empty; expected a header line such as name,split,group")
    rows: list[dict[str, str]] = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise DatasetError(
                f"{path}, line {reader.line_num}: {len(cells)} cells, but the header has {len(columns)}; "
                "correct the line"
            )
        rows.append(dict(zip(columns, (cell.strip() for cell in cells), strict=True)))
    return rows


def read_split_table(path: Path, *, needs_split: bool) -> tuple[dict[str, SplitRow] | None, list[Problem]]:
    """name → row of split.csv, or None where there is no readable table, and what is wrong with it.

    The column `name` holds stems or file names; further columns do not matter, but where no `group` is among them
    one may be meant as such. Without `needs_split` (the folders give the split) the column may be absent or
    empty, and `split` is then "".
    """
    if not path.exists():
        return None, []
    try:
        rows = read_rows(path)
    except (OSError, DatasetError) as error:
        return None, [Problem("error", path, str(error), "repair the table, or remove it")]
    needed = {"name", "split"} if needs_split else {"name"}
    missing = needed - set(rows[0] if rows else ())
    if missing:
        what = f"has no column {' and no column '.join(sorted(missing))}" if rows else "has no rows"
        return None, [Problem("error", path, what, "expected the columns name,split and perhaps group")]
    table: dict[str, SplitRow] = {}
    problems = _meant_as_group(path, tuple(rows[0]))
    for row in rows:
        name = stem_of(row["name"])
        if name in table:
            problems.append(Problem("error", path, f"names {name!r} twice", "keep one row"))
        elif needs_split and not row["split"]:
            problems.append(
                Problem("error", path, f"gives {name!r} no split", "write one, or remove the row")
            )
        else:
            table[name] = SplitRow(split=row.get("split", ""), group=row.get("group") or None)
    return table, problems


def _meant_as_group(path: Path, columns: tuple[str, ...]) -> list[Problem]:
    """A warning when parts may be told by a column of another name: it costs wrong splits and intervals in silence."""
    others = [column for column in columns if column not in _OURS]
    if not others or "group" in columns:
        return []
    what = f"has no column group, and {', '.join(others)} {'is' if len(others) == 1 else 'are'} not read"
    todo = (
        "if one says which images show the same part, name it group; else every image counts as its own part"
    )
    return [Problem("warning", path, what, todo)]


def further_columns(path: Path) -> dict[str, dict[str, str]]:
    """name -> its cells in the columns that we do not read, for who writes the table anew; {} where there is none.

    Raises:
        DatasetError, OSError: as `read_rows`.
    """
    if not path.exists():
        return {}
    return {
        stem_of(row["name"]): {column: cell for column, cell in row.items() if column not in _OURS}
        for row in read_rows(path)
        if "name" in row
    }


def write_split_table(
    path: Path,
    *,
    splits: Mapping[str, str],
    groups: Mapping[str, str],
    further: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write name,split,group, by name, then the columns of `further`; `groups` may be empty, and then has no column."""
    cells_of = further or {}
    others = dict.fromkeys(column for cells in cells_of.values() for column in cells)

    def row_of(name: str) -> Iterator[str]:
        yield from (name, splits[name])
        if groups:
            yield groups[name]
        yield from (cells_of.get(name, {}).get(column, "") for column in others)

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*(_OURS if groups else _OURS[:2]), *others))
    writer.writerows(list(row_of(name)) for name in sorted(splits))
    write_atomically(path, text.getvalue().encode())


def stem_of(name: str) -> str:
    """`plate_01.jpg` and `plate_01` → `plate_01`; a dot that ends no image suffix stays."""
    lower = name.lower()
    for suffix in IMAGE_SUFFIXES:
        if lower.endswith(suffix):
            return name[: -len(suffix)]
    return name
