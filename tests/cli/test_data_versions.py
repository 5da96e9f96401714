"""`segnet data snapshot | log | diff`: what they print, and that they find the workspace."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.data import app
from data.classes import ClassMap
from data.golden import freeze
from data.images import encode_png
from data.layout import LabelledImage, write_layout
from data.manifest import DatasetError
from data.masks import encode_labels
from data.snapshots import SnapshotStore
from data.sources import open_dataset
from data.workspace import Workspace, WorkspaceError

CLASSES = ClassMap.from_names(("background", "scratch"))


def picture(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (24, 32, 3)).astype(np.uint8))


def mask(rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    labels = np.zeros((24, 32), np.uint8)
    labels[:rows, :8] = 1
    return labels


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    images = [
        LabelledImage(name, split, picture(seed), mask(2), "test")
        for seed, (name, split) in enumerate((("a", "train"), ("b", "val"), ("t", "test")))
    ]
    write_layout(images, class_map=CLASSES, destination=tmp_path / "parts")
    return tmp_path / "parts"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("SEGNET_WORKSPACE", str(tmp_path / "line"))
    return Workspace.create(tmp_path / "line")


def put(workspace: Workspace, name: str, *, seed: int, rows: int) -> None:
    for kind, content in (("images", picture(seed)), ("masks", encode_labels(mask(rows), CLASSES))):
        (workspace.inbox / kind).mkdir(exist_ok=True)
        (workspace.inbox / kind / f"{name}.png").write_bytes(content)


def segnet_data(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_a_data_set_then_the_inbox_become_snapshots(workspace: Workspace, parts: Path) -> None:
    first = segnet_data("snapshot", parts)
    assert f"no golden set in {workspace.golden}: nothing is kept apart from it" in first
    digest = SnapshotStore(workspace.datasets).log()[0].digest
    assert f"snapshot s1 {digest[:12]}: 1 train, 1 val" in first
    assert "added 2, corrected 0, unchanged 0, left out 0" in first

    freeze(open_dataset(parts), split="test", destination=workspace.golden)
    put(workspace, "a", seed=0, rows=3)
    put(workspace, "leak[1]", seed=2, rows=1)
    second = segnet_data("snapshot", "--note", "night shift")
    assert "snapshot s2" in second
    assert "added 0, corrected 1, unchanged 0, left out 1" in second
    assert "  leak[1] is the golden image t itself (correlation 1.00)" in second

    assert [entry.note for entry in SnapshotStore(workspace.datasets).log()] == ["parts", "night shift"]
    logged = segnet_data("log")
    assert "s1" in logged
    assert "s2" in logged
    assert segnet_data("diff", "s1", "latest").splitlines()[1:] == ["corrected (1):", "  a"]
    assert segnet_data("diff", digest[:8], "1").splitlines()[1:] == ["no difference"]


def test_what_was_added_is_listed_by_name(workspace: Workspace, parts: Path) -> None:
    segnet_data("snapshot", parts)
    put(workspace, "new", seed=7, rows=3)
    put(workspace, "later", seed=8, rows=3)
    segnet_data("snapshot")
    assert segnet_data("diff", "1", "2").splitlines()[1:] == ["added (2):", "  later", "  new"]


def test_an_empty_log_says_how_to_begin(workspace: Workspace) -> None:
    assert "there is no snapshot yet; `segnet data snapshot DATA` makes the first" in segnet_data("log")


def test_an_empty_inbox_is_an_error_that_says_what_to_put_there(workspace: Workspace) -> None:
    with pytest.raises(DatasetError, match=f"{workspace.inbox} is empty: put pictures into images/"):
        segnet_data("snapshot")


def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="is no workspace"):
        segnet_data("log", "--workspace", tmp_path)
