"""A workspace is made once, opens from anywhere, and says where each thing is."""

import os
from pathlib import Path

import pytest

from data.workspace import WORKSPACE_FILE, Workspace, WorkspaceError

NAMES = ("datasets", "models", "recipes", "inbox", "runs", "golden")


def test_a_new_workspace_has_all_folders_and_opens(tmp_path: Path) -> None:
    folder = tmp_path / "line" / "3"
    made = Workspace.create(folder)
    assert made == Workspace.open(folder)
    assert made.paths() == {name: folder / name for name in NAMES}
    assert all(path.is_dir() for path in made.paths().values())


def test_making_it_again_mends_what_is_missing_and_keeps_what_is_there(tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    told = '# ours\nmodels = "elsewhere"\n'
    (tmp_path / WORKSPACE_FILE).write_text(told)
    (tmp_path / "inbox").rmdir()
    (tmp_path / "golden" / "seal.json").write_text("{}")
    assert Workspace.create(tmp_path).models == tmp_path / "elsewhere"
    assert (tmp_path / "elsewhere").is_dir()
    assert (tmp_path / "inbox").is_dir()
    assert (tmp_path / WORKSPACE_FILE).read_text() == told
    assert (tmp_path / "golden" / "seal.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param("", "models", id="not told: by its name"),
        pytest.param('models = "a/b"', "a/b", id="relative to the folder"),
        pytest.param('models = "../models"', "../models", id="beside the folder"),
        pytest.param('models = "/srv/models"', "/srv/models", id="absolute"),
    ],
)
def test_paths_are_relative_to_the_folder_or_absolute(tmp_path: Path, told: str, expected: str) -> None:
    folder = tmp_path / "line"
    folder.mkdir()
    (folder / WORKSPACE_FILE).write_text(told)
    assert Workspace.open(folder).models == Path(os.path.normpath(folder / expected))


def test_a_workspace_named_relatively_gives_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Workspace.create(tmp_path / "line")
    monkeypatch.chdir(tmp_path)
    assert Workspace.open(Path("line")).runs == tmp_path / "line" / "runs"


def test_a_folder_that_is_no_workspace_tells_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"is no workspace .*; make one with `segnet init") as caught:
        Workspace.open(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        pytest.param(b'model = "x"', "model: .*known here: datasets, models", id="an unknown key"),
        pytest.param(b"models = 3", "models: ", id="no path"),
        pytest.param(b"models = ", "no TOML", id="no TOML"),
        pytest.param(b'models = "\xff"', "no TOML", id="not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, told: bytes, said: str) -> None:
    (tmp_path / WORKSPACE_FILE).write_bytes(told)
    with pytest.raises(WorkspaceError, match=said) as caught:
        Workspace.open(tmp_path)
    assert str(tmp_path / WORKSPACE_FILE) in str(caught.value)
