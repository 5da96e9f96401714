"""A candidate comes with all that the next one goes on from, and a job that was cut off repeats nothing it has done."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.sources import open_dataset
from model.artifact import open_artifact
from training import candidate
from training.adapt import load_start
from training.candidate import keep_for_retraining, kept_files, make_candidate, rates_of
from training.checkpoint import CheckpointError
from training.config import read_config
from training.ewc import FISHER_FILE, load_fisher
from training.network_file import NETWORK_FILE
from training.operating_point import Rates
from training.run import Run
from training.run_log import LOG_FILE, read_log

pytestmark = pytest.mark.usefixtures("fresh_torch")


@pytest.fixture(scope="module", autouse=True)
def _few_crops() -> Iterator[None]:
    """The Fisher information of tests need not be exact."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidate, "_FISHER_CROPS", 8)
        yield


@pytest.fixture(scope="module")
def made(tiny_config: Path, tiny_parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A candidate that owes nothing to a champion. Tests may ask for it again: nothing changes."""
    folder = tmp_path_factory.mktemp("runs") / "retrain-v1-s2"
    folder.mkdir()
    run = Run(folder, read_config(tiny_config, overrides=("schedule.epochs=1",)).with_data(tiny_parts))
    make_candidate(run, open_dataset(tiny_parts), start=None)
    return run


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """When each file was written, and how long it is."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_it_is_a_calibrated_model_that_is_called_as_its_job(made: Run) -> None:
    contract = open_artifact(made.model).contract
    assert (contract.name, contract.version) == ("tiny", "retrain-v1-s2")
    assert contract.scores.keys() == {"val", "test"}
    assert (made.folder / "calibration.json").is_file()


def test_what_the_store_keeps_of_it_is_all_that_the_next_one_needs(made: Run, tmp_path: Path) -> None:
    kept = kept_files(made.folder)
    assert kept.keys() == {"config.toml", "metrics.json", "report.html", "network.pt", "fisher.pt"}
    assert all(path == made.folder / name for name, path in kept.items())
    assert Run.open(made.folder).config == made.config
    assert load_start(kept[NETWORK_FILE], fisher=kept[FISHER_FILE]).champion.class_names == (
        "background",
        "scratch",
        "pit",
        "stain",
        "crack",
    )
    (tmp_path / "config.toml").touch()
    assert kept_files(tmp_path) == {"config.toml": tmp_path / "config.toml"}


def test_asked_again_it_touches_nothing(made: Run) -> None:
    before = contents(made.folder)
    make_candidate(made, made.manifest(), start=None)
    assert contents(made.folder) == before


def test_cut_off_after_its_report_it_is_not_trained_again(made: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fisher, before = load_fisher(made.folder / FISHER_FILE), contents(made.folder)
    for name in (FISHER_FILE, NETWORK_FILE):
        (made.folder / name).unlink()
    monkeypatch.setattr(candidate, "train_stage", lambda *_, **__: pytest.fail("trained again"))
    make_candidate(made, made.manifest(), start=None)
    again = load_fisher(made.folder / FISHER_FILE)
    assert again.keys() == fisher.keys()
    assert all(torch.equal(again[name], value) for name, value in fisher.items())
    after = contents(made.folder)
    assert after.keys() == before.keys()
    assert after["model.onnx"] == before["model.onnx"]


def test_cut_off_before_its_model_file_it_trains_no_epoch_again(
    made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "retrain-v1-s2", made.config)
    run.folder.mkdir()
    for name in ("last.pt", "best.pt", LOG_FILE):
        shutil.copy(made.folder / name, run.folder)

    def strike(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(candidate, "export_run", strike)
    with pytest.raises(KeyboardInterrupt):
        make_candidate(run, run.manifest(), start=None)
    assert read_log(run.folder / LOG_FILE) == read_log(made.folder / LOG_FILE)
    assert Run.open(run.folder).config == made.config


def test_fisher_information_stands_for_all_rounds(made: Run) -> None:
    """Each later round counts nine tenths of what was before (`training.ewc.add_online`)."""
    alone = load_fisher(made.folder / FISHER_FILE)
    start = load_start(made.folder / NETWORK_FILE)
    ones = {name: torch.ones_like(value) for name, value in alone.items()}
    try:
        keep_for_retraining(made, made.manifest(), start=replace(start, fisher=ones))
        together = load_fisher(made.folder / FISHER_FILE)
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            assert torch.allclose(together[name], value + 0.9), name
    finally:
        keep_for_retraining(made, made.manifest())


def test_a_champion_without_fisher_information_adds_none(made: Run) -> None:
    alone = load_fisher(made.folder / FISHER_FILE)
    start = load_start(made.folder / NETWORK_FILE)
    keep_for_retraining(made, made.manifest(), start=start)
    assert all(torch.equal(load_fisher(made.folder / FISHER_FILE)[name], one) for name, one in alone.items())


def test_without_a_checkpoint_nothing_can_be_kept(made: Run, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"best\.pt"):
        keep_for_retraining(Run(tmp_path, made.config), made.manifest())


def test_the_rates_of_the_model_to_be_replaced_are_those_of_its_file_on_val(made: Run) -> None:
    scores = open_artifact(made.model).contract.scores["val"]
    assert rates_of(made.model, made.manifest()) == Rates(scores["escape_rate"], scores["overkill_rate"])
