"""What is inspected: each way to name images, what is left out, and files that move while we look."""

import os
from pathlib import Path

import fsspec
import pytest

from app.folder.sources import ChangedError, Source, SourceError, open_source


def keys(source: Source) -> list[str]:
    return [file.key for file in source.list_files()]


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_a_folder_gives_every_picture_below_it_by_key_and_leaves_out_what_is_hidden_or_no_picture(
    tmp_path: Path,
) -> None:
    write(tmp_path, "b/part.JPG", "b/part.png", "a.tif", "noextension", "anim.gif", "Prüfteil 1.png")
    write(tmp_path, ".hidden.png", ".thumbs/x.png", "notes.txt", "labels.json", "half.png.part", "Thumbs.db")
    expected = ["Prüfteil 1.png", "a.tif", "anim.gif", "b/part.JPG", "b/part.png", "noextension"]
    assert keys(open_source(str(tmp_path))) == expected
    assert keys(open_source(f"file://{tmp_path}")) == expected


def test_the_output_inside_the_inspected_folder_is_none_of_it(tmp_path: Path) -> None:
    write(tmp_path, "part.png", "out/masks/part.png", "outside.png")
    assert keys(open_source(str(tmp_path), skip_below=tmp_path / "out")) == ["outside.png", "part.png"]


@pytest.mark.parametrize("name", ["part.png", "part"])
def test_one_image_is_a_source(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    assert keys(open_source(str(tmp_path / name))) == [name]


def test_a_glob_keeps_the_folders_below_its_fixed_part(tmp_path: Path) -> None:
    write(tmp_path, "line1/ok/a.png", "line2/ok/a.png", "line2/ng/b.png", "line2/ok/notes.txt")
    assert keys(open_source(f"{tmp_path}/line*/ok/*")) == ["line1/ok/a.png", "line2/ok/a.png"]


def test_a_folder_whose_name_looks_like_a_glob_is_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "parts[1]/a.png")
    assert keys(open_source(str(tmp_path / "parts[1]"))) == ["a.png"]


def test_a_list_may_name_what_is_missing_and_each_file_counts_once(tmp_path: Path) -> None:
    write(tmp_path, "x/a.png", "y/b.dat")
    (tmp_path / "parts.txt").write_text("\ufeff# shift 1\nx/a.png\n\ny/b.dat\nx/../x/a.png\nx/gone.png\n")
    files = open_source(str(tmp_path / "parts.txt")).list_files()
    assert [file.key for file in files] == ["x/a.png", "x/gone.png", "y/b.dat"]
    assert [file.size_bytes for file in files] == [7, -1, 7]


def test_a_bucket_is_a_folder_like_another() -> None:
    bucket = fsspec.filesystem("memory")
    bucket.pipe({"/bucket/line1/a.png": b"abc", "/bucket/line1/b.txt": b"", "/other/c.png": b""})
    source = open_source("memory://bucket")
    assert keys(source) == ["line1/a.png"]
    content, file = source.read(source.list_files()[0])
    assert content == b"abc"
    assert file.size_bytes == 3
    assert file.mtime_ns > 0


@pytest.mark.parametrize(
    ("source", "message"),
    [("nowhere", "no such folder"), ("teleport://x/y", "teleport")],
    ids=["path", "protocol"],
)
def test_what_is_not_there_is_said(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(source if "://" in source else str(tmp_path / source))


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "parts.txt").write_text("# nothing\n")
    with pytest.raises(SourceError, match="without a line"):
        open_source(str(tmp_path / "parts.txt"))


def test_a_name_that_is_no_utf8_gets_a_key_that_tables_can_carry(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xfcll.png"))).write_bytes(b"abc")
    (file,) = open_source(str(tmp_path)).list_files()
    assert file.key == "m\ufffdll.png"
    assert open_source(str(tmp_path)).read(file)[0] == b"abc"


def test_a_file_that_changes_each_time_it_is_read_is_refused_and_one_that_settles_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.png")
    source = open_source(str(tmp_path))
    (file,) = source.list_files()
    read_bytes, times = Path.read_bytes, [0]

    def growing(path: Path) -> bytes:
        content = read_bytes(path)
        if times[0] > 0:
            times[0] -= 1
            with path.open("ab") as camera:
                camera.write(b"+")
        return content

    monkeypatch.setattr(Path, "read_bytes", growing)
    times[0] = 1
    assert source.read(file)[0] == b"a.png+"
    times[0] = 9
    with pytest.raises(ChangedError, match="changed each of the 3 times"):
        source.read(file)
