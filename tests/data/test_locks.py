"""One process at a time, and a lock that ends with its holder."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.locks import LockedError, exclusive_lock

HOLD = """
import sys
from pathlib import Path
from data.locks import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(path: Path, repository: Path) -> "subprocess.Popen[str]":
    """Another process that holds the lock until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=repository,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_held_lock_is_refused_and_tells_who_holds_it(tmp_path: Path, repository: Path) -> None:
    path = tmp_path / "lock"
    with hold(path, repository) as holder:
        refused = pytest.raises(LockedError, match=rf"lock is held by process {holder.pid} on .* since 20")
        with refused, exclusive_lock(path):
            pytest.fail("two hold it")
        holder.communicate()
    with exclusive_lock(path):
        assert f"process {os.getpid()} on" in path.read_text()
    assert path.read_text() == ""


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path, repository: Path) -> None:
    path = tmp_path / "lock"
    with hold(path, repository) as holder:
        holder.kill()
        holder.communicate()
    with exclusive_lock(path):
        pass


def test_who_waits_gets_the_lock_when_it_is_free(tmp_path: Path, repository: Path) -> None:
    path = tmp_path / "lock"
    with hold(path, repository) as holder:
        began_s = time.monotonic()
        with pytest.raises(LockedError), exclusive_lock(path, wait_s=0.2):
            pytest.fail("two hold it")
        assert time.monotonic() - began_s >= 0.2
        assert holder.stdin is not None
        holder.stdin.close()
        with exclusive_lock(path, wait_s=60.0):
            pass


def test_one_process_cannot_take_it_twice_either(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive_lock(path), pytest.raises(LockedError), exclusive_lock(path):
        pytest.fail("held twice")


def test_an_error_inside_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(RuntimeError, match="inside"), exclusive_lock(path):
        raise RuntimeError("inside")
    with exclusive_lock(path):
        pass


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), exclusive_lock(tmp_path / "nowhere" / "lock"):
        pytest.fail("there is no such folder")
