"""`segnet init`: a workspace with its golden set, first snapshot and first champion; what is there stays."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cli.main
from data.golden import open_golden
from data.snapshots import SnapshotStore
from data.sources import open_dataset
from model.store import ModelStore
from training import candidate
from training.config import read_config
from training.loop import fit
from training.run import Run
from training.state import build_state

pytestmark = pytest.mark.usefixtures("fresh_torch")
STORED = Path(__file__).parents[1] / "promises" / "format_1.onnx"


@pytest.fixture(scope="module")
def run(tiny_config: Path, tiny_parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that trained for an epoch; its model file is the stored one, which takes no time to make."""
    config = read_config(tiny_config, overrides=("schedule.epochs=1",)).with_data(tiny_parts)
    run = Run.start(tmp_path_factory.mktemp("runs") / "tiny", config=config)
    fit(build_state(config, open_dataset(tiny_parts)), out=run.folder)
    shutil.copy(STORED, run.model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidate, "_FISHER_CROPS", 4)
        yield run.folder


@pytest.fixture
def segnet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """`segnet init …`: its exit code, and all that it said."""
    monkeypatch.setenv("SEGNET_BY", "anna")

    def call(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["segnet", "init", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main.main()
        assert isinstance(caught.value.code, int)
        told = capsys.readouterr()
        return caught.value.code, told.out + told.err

    return call


def test_an_empty_workspace_has_its_folders_its_settings_and_a_next_step(
    segnet: Callable[..., tuple[int, str]], tmp_path: Path, repository: Path
) -> None:
    line = tmp_path / "line"
    code, said = segnet(line)
    assert code == 0
    assert {path.name for path in line.iterdir()} == {
        "workspace.toml", "retrain.toml", "datasets", "models", "recipes", "inbox", "runs", "golden",
    }  # fmt: skip
    assert (line / "retrain.toml").read_text() == (repository / "configs" / "retrain.toml").read_text()
    assert f"next: segnet serve --model store://champion --store {line / 'models'}" in said
    assert f"segnet retrain --workspace {line}" in said


def test_test_is_frozen_and_train_and_val_are_the_first_snapshot(
    segnet: Callable[..., tuple[int, str]], tmp_path: Path, tiny_parts: Path
) -> None:
    line, known = tmp_path / "line", open_dataset(tiny_parts)
    code, said = segnet(line, "--data", tiny_parts)
    assert code == 0
    assert f"golden set: 4 images, frozen in {line / 'golden'}" in said
    assert "snapshot s1: 12 labelled images" in said
    assert {one.name for one in open_golden(line / "golden").samples} == {
        one.name for one in known.split("test")
    }
    first = SnapshotStore(line / "datasets").latest()
    assert first is not None
    assert {one.name: one.split for one in first.samples} == {
        one.name: one.split for split in ("train", "val") for one in known.split(split)
    }


def test_what_is_there_stays(
    segnet: Callable[..., tuple[int, str]], tmp_path: Path, tiny_parts: Path
) -> None:
    line = tmp_path / "line"
    assert segnet(line, "--data", tiny_parts)[0] == 0
    (line / "retrain.toml").write_text("# ours\n")
    (line / "workspace.toml").write_text('inbox = "corrections"\n')
    seal = (line / "golden" / "seal.json").read_bytes()
    code, said = segnet(line, "--data", tiny_parts)
    assert code == 0
    assert "golden set" not in said
    assert (line / "retrain.toml").read_text() == "# ours\n"
    assert (line / "golden" / "seal.json").read_bytes() == seal
    assert len(SnapshotStore(line / "datasets").log()) == 1
    assert f"put corrected masks and their images into {line / 'corrections'}" in said


def test_a_golden_set_may_come_from_elsewhere_and_what_shows_it_is_left_out(
    segnet: Callable[..., tuple[int, str]], tmp_path: Path, tiny_parts: Path
) -> None:
    """Somebody put a picture of the golden set into train."""
    data = tmp_path / "data"
    shutil.copytree(tiny_parts, data)
    (stolen,) = open_dataset(data).split("test")[:1]
    for kind, path in (("images", stolen.image), ("masks", stolen.mask)):
        shutil.copy(path, data / kind / "train" / f"mine{path.suffix}")
    line = tmp_path / "line"
    code, said = segnet(line, "--data", data, "--golden", tiny_parts)
    assert code == 0, said
    assert "snapshot s1: 12 labelled images" in said
    (told,) = (text for text in said.splitlines() if "left out" in text)
    assert told.startswith("  left out: mine ")
    assert stolen.name in told


def test_a_run_becomes_the_first_champion_with_all_that_a_candidate_goes_on_from(
    segnet: Callable[..., tuple[int, str]], tmp_path: Path, tiny_parts: Path, run: Path
) -> None:
    line = tmp_path / "line"
    code, said = segnet(line, "--data", tiny_parts, "--model", run)
    assert code == 0, said
    store = ModelStore(line / "models")
    champion = store.champion
    assert champion is not None
    assert f"champion: v1 (colours, {champion.digest[:12]})" in said
    first = SnapshotStore(line / "datasets").latest()
    assert first is not None
    assert (champion.parents.snapshot, champion.parents.run) == (first.digest, "tiny")
    assert set(champion.attachments) == {"config.toml", "network.pt", "fisher.pt"}
    assert [(event.kind, event.by) for event in store.history()] == [("added", "anna"), ("promoted", "anna")]
    # Once.
    code, said = segnet(line, "--model", run)
    assert code == 1
    assert "has the champion v1 already; add another version by `segnet models add" in said


def test_a_run_whose_data_set_is_gone_becomes_champion_all_the_same_and_what_it_lacks_is_said(
    segnet: Callable[..., tuple[int, str]], tmp_path: Path, run: Path
) -> None:
    moved = tmp_path / "tiny"
    shutil.copytree(run, moved, ignore=shutil.ignore_patterns("fisher.pt"))
    config = Run.open(moved).config.with_data(tmp_path / "gone")
    (moved / "config.toml").write_text(config.to_toml())
    code, said = segnet(tmp_path / "line", "--model", moved)
    assert code == 0, said
    assert "champion: v1 (colours, " in said
    told = " ".join(said.split())
    assert "goes into the store without fisher.pt (" in told
    assert "there is no such folder" in told
    assert "): no candidate can go on from it by --strategy ewc" in told
    champion = ModelStore(tmp_path / "line" / "models").champion
    assert champion is not None
    assert set(champion.attachments) == {"config.toml", "network.pt"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--data", "nowhere"), "nowhere"),
        (("--model", "nowhere"), "nowhere holds no run (no config.toml); give the folder of `segnet train --out`"),
    ],
    ids=["no data", "no run"],
)  # fmt: skip
def test_what_is_not_there_is_named(
    segnet: Callable[..., tuple[int, str]], tmp_path: Path, words: tuple[str, str], told: str
) -> None:
    option, name = words
    code, said = segnet(tmp_path / "line", option, tmp_path / name)
    assert code == 1
    assert told in said
