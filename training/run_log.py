"""log.jsonl: a row for each epoch. Who only reads it, such as a report, needs no torch for that."""

import json
from pathlib import Path
from typing import Any, Final

from data.files import write_atomically

LOG_FILE: Final = "log.jsonl"


def append_log(path: Path, row: dict[str, Any]) -> None:
    """One line more in log.jsonl; numbers that are not there are null. Raises OSError that names the file."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def keep_log(path: Path, *, epochs: int) -> None:
    """Forget the lines of epochs that a resumed run repeats, and a line that a crash cut off."""
    rows = [row for row in read_log(path) if row.get("epoch", 0) <= epochs]
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def read_log(path: Path) -> list[dict[str, Any]]:
    """Rows of log.jsonl; none when it does not exist. A last line cut off by a crash is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
