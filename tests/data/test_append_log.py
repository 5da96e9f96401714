"""A line is there whole or not at all, whoever writes and whatever happens to him."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from data.append_log import AppendLog, LogError
from data.locks import LockedError, exclusive_lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def append(path: Path, *entries: dict[str, Any]) -> None:
    with AppendLog(path).writing() as writer:
        for entry in entries:
            writer.append(entry)


def test_a_log_that_is_not_there_is_empty_and_stays_away(path: Path) -> None:
    assert AppendLog(path).read() == ()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["plain", "two\nlines\r\n", "separators \u2028 \u2029 \x85 \x0b \x1c", "Prüfer 検査", '"quotes" \\'],
    ids=["plain", "line ends", "what str.splitlines takes for line ends", "other scripts", "quotes"],
)
def test_entries_are_read_back_in_order_a_line_each(path: Path, text: str) -> None:
    append(path, {"text": text}, {"n": 1})
    append(path, {"n": 2})
    assert AppendLog(path).read() == ({"text": text}, {"n": 1}, {"n": 2})
    assert path.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("torn", [b"{", b'{"n": 3', b'{"n": 3}', b"\xff\x00"])
def test_a_last_line_that_was_cut_off_never_happened(path: Path, torn: bytes) -> None:
    append(path, {"n": 1}, {"n": 2})
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert AppendLog(path).read() == ({"n": 1}, {"n": 2})
    assert path.read_bytes() == whole + torn  # a reader changes nothing
    append(path, {"n": 4})
    assert AppendLog(path).read() == ({"n": 1}, {"n": 2}, {"n": 4})
    assert path.read_bytes() == whole + b'{"n": 4}\n'


def test_a_log_of_nothing_but_a_torn_line_is_empty(path: Path) -> None:
    path.write_bytes(b'{"n": 1')
    assert AppendLog(path).read() == ()
    append(path, {"n": 2})
    assert AppendLog(path).read() == ({"n": 2},)


@pytest.mark.parametrize("line", [b"{", b"[1]", b"17", b"", b"\xff"])
def test_a_damaged_line_is_named_by_file_and_number(path: Path, line: bytes) -> None:
    path.write_bytes(b'{"n": 1}\n' + line + b'\n{"n": 3}\n')
    with pytest.raises(LogError, match=r"line 2 is no JSON object.*backup") as caught:
        AppendLog(path).read()
    assert str(path) in str(caught.value)


def test_a_full_disk_leaves_the_log_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(path, {"n": 1})
    before = path.read_bytes()

    def full(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            append(path, {"n": 2})
    assert path.read_bytes() == before
    append(path, {"n": 3})
    assert AppendLog(path).read() == ({"n": 1}, {"n": 3})


def test_a_line_that_fits_in_half_is_taken_away_again(path: Path, repository: Path) -> None:
    """The kernel itself cuts the write: files may grow to so many bytes and no further."""
    append(path, {"n": 1})
    before = path.read_bytes()
    code = f"""
import resource, signal
from pathlib import Path
from data.append_log import AppendLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with AppendLog(Path({str(path)!r})).writing() as writer:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 10}, resource.RLIM_INFINITY))
    try:
        writer.append({{"text": "x" * 100}})
    except OSError as error:
        print(error.strerror)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout == "No space left on device\n"
    assert path.read_bytes() == before


def test_what_json_cannot_say_is_refused_before_anything_is_written(path: Path) -> None:
    append(path, {"n": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        append(path, {"n": float("nan")})
    assert AppendLog(path).read() == ({"n": 1},)


def test_readers_need_no_lock_and_writers_say_who_has_it(path: Path) -> None:
    append(path, {"n": 1})
    with AppendLog(path).writing() as writer:
        writer.append({"n": 2})
        assert AppendLog(path).read() == ({"n": 1}, {"n": 2})
        refused = pytest.raises(LockedError, match=f"held by process {os.getpid()}")
        with refused, AppendLog(path).writing(wait_s=0.0):
            pytest.fail("two write")
    with exclusive_lock(path.with_name("log.jsonl.lock")):
        assert len(AppendLog(path).read()) == 2


COUNT = """
import sys
from pathlib import Path
from data.append_log import AppendLog
log = AppendLog(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    with log.writing(wait_s=120) as writer:
        writer.append({"n": len(log.read())})
"""


def test_what_is_read_while_writing_is_still_true_when_it_is_written(path: Path, repository: Path) -> None:
    """Four processes count on from what they read; a lock that lets two in gives a number twice."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COUNT, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=repository,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    seen: tuple[dict[str, Any], ...] = ()
    while any(process.poll() is None for process in processes):
        now = AppendLog(path).read()
        assert now[: len(seen)] == seen
        seen = now
    for process in processes:
        with process:
            assert process.wait() == 0
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == list(range(80))
