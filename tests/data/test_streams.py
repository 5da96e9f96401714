"""A file written piece by piece is there whole or as it was before."""

from pathlib import Path

import pytest

from data.streams import open_atomically


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
def test_what_stops_the_writing_leaves_the_folder_as_it_was(
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
