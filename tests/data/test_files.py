"""A file is there whole or as it was before, whatever happens to the disk."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from data.files import open_atomically, write_atomically


def test_the_content_is_written_and_nothing_is_left_beside(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    assert write_atomically(path, b"one") == path
    assert write_atomically(path, b"two") == path
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), id="a full disk"),
        pytest.param(KeyboardInterrupt(), id="Ctrl-C"),
    ],
)
@pytest.mark.parametrize("before", [None, b"old"], ids=["no file before", "a file before"])
def test_what_stops_the_writing_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException, before: bytes | None
) -> None:
    path = tmp_path / "weights.pt"
    if before is not None:
        path.write_bytes(before)

    def fail(descriptor: int) -> NoReturn:
        raise stop

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(stop)):
        write_atomically(path, b"new")
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == (
        {} if before is None else {"weights.pt": before}
    )


def test_a_folder_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_atomically(tmp_path / "nowhere" / "file", b"")


def test_content_is_on_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    synced: list[tuple[int, bool]] = []
    sync = os.fsync

    def watch(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_size, path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_atomically(path, b"12345")
    assert synced == [(5, False)]


def test_the_pieces_are_written_and_nothing_is_left_beside(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(b"old")
    with open_atomically(path) as file:
        file.write(b"one")
        assert path.read_bytes() == b"old"
        file.write(b" two")
    assert path.read_bytes() == b"one two"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stop", [OSError("full"), KeyboardInterrupt()], ids=["a full disk", "Ctrl-C"])
@pytest.mark.parametrize("before", [None, b"old"], ids=["no file before", "a file before"])
def test_what_stops_the_pieces_leaves_the_folder_as_it_was(
    tmp_path: Path, stop: BaseException, before: bytes | None
) -> None:
    path = tmp_path / "report.html"
    if before is not None:
        path.write_bytes(before)

    def write_half() -> None:
        with open_atomically(path) as file:
            file.write(b"half")
            raise stop

    with pytest.raises(type(stop)):
        write_half()
    assert [one.read_bytes() for one in tmp_path.iterdir()] == ([] if before is None else [before])
