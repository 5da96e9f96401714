"""One command leaves a model file and an honest report, and every stage can be repeated alone."""

import csv
import json
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cli.main
from data.masks import read_labels
from data.sources import open_dataset
from model.artifact import open_artifact
from model.predictor import Predictor
from training.checkpoint import BEST, LAST
from training.config import ConfigError, RunConfig, read_config
from training.evaluate import evaluate
from training.run import Run, train_run
from training.run_log import read_log
from training.showcase import draw_showcase

pytestmark = pytest.mark.usefixtures("fresh_torch")
SCORES = {
    "images", "ng_images", "ok_images", "escape_rate", "overkill_rate", "defect_recall",
    "false_alarms_per_image", "mean_iou", "mean_defect_iou", "ece", "classes",
}  # fmt: skip
CLASS_SCORES = {
    "iou", "dice", "precision", "recall", "boundary_f", "defect_recall", "false_alarms_per_image",
}  # fmt: skip


@pytest.fixture(scope="module")
def config(tiny_config: Path, tiny_parts: Path) -> RunConfig:
    """Enough training that something is found."""
    overrides = ("schedule.epochs=2", "schedule.crops_per_epoch=64", "network.options.widths=[8,8]")
    return read_config(tiny_config, overrides=overrides).with_data(tiny_parts)


@pytest.fixture(scope="module")
def finished(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run from beginning to end. Tests may repeat its stages: they give the same again."""
    run = Run.start(tmp_path_factory.mktemp("runs") / "first", config=config)
    train_run(run)
    return run


@pytest.fixture
def segnet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """`segnet …` in an empty folder; returns what it printed, and fails when it fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["segnet", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main.main()
        told = capsys.readouterr()
        assert caught.value.code == 0, told.err
        return told.out

    return call


def metrics_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "images.csv").read_text(encoding="utf-8").splitlines()))


def test_a_run_leaves_everything_it_promises_and_nothing_half_written(finished: Run) -> None:
    assert {path.name for path in finished.folder.iterdir()} == {
        "config.toml", "last.pt", "best.pt", "log.jsonl", "tensorboard",
        "model.onnx", "calibration.json", "metrics.json", "images.csv", "report.html",
    }  # fmt: skip
    assert (
        RunConfig.model_validate(tomllib.loads((finished.folder / "config.toml").read_text()))
        == finished.config
    )
    assert len(read_log(finished.folder / "log.jsonl")) == 2


def test_metrics_hold_the_documented_scores_of_val_and_test(finished: Run) -> None:
    metrics = metrics_of(finished.folder)
    artifact = open_artifact(finished.model)
    assert set(metrics) == {"model", "digest", "val", "test"}
    assert (metrics["model"], metrics["digest"]) == ("tiny", artifact.digest)
    for split in ("val", "test"):
        assert set(metrics[split]) == SCORES
        assert (metrics[split]["images"], metrics[split]["ng_images"]) == (4, 2)
        assert set(metrics[split]["classes"]) == set(artifact.contract.classes.names)
        assert all(set(scores) == CLASS_SCORES for scores in metrics[split]["classes"].values())
    # The file carries the very same.
    assert artifact.contract.scores == {split: metrics[split] for split in ("val", "test")}


def test_the_scores_are_what_the_file_does(finished: Run) -> None:
    again = evaluate(Predictor.open(finished.model), finished.manifest(), split="test")
    assert metrics_of(finished.folder)["test"] == again.scores


def test_every_test_image_has_its_row(finished: Run) -> None:
    rows = list(csv.DictReader((finished.folder / "images.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["name"] for row in rows] == [sample.name for sample in finished.manifest().split("test")]
    assert {row["verdict"] for row in rows} <= {"caught", "escape", "overkill", "passed"}


def test_the_report_loads_nothing_from_elsewhere(finished: Run) -> None:
    page = (finished.folder / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href|url|@import)\s*[=(]?\s*["']?\s*(?:https?:)?//[^"')\s]*""", page)
    assert "<script src" not in page
    assert "tiny" in page


def test_tensorboard_can_show_the_curves(finished: Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished.folder / "tensorboard"))
    events.Reload()
    assert {"train/loss", "train/lr", "val/loss", "val/mean_iou"} <= set(events.Tags()["scalars"])
    shown = [(event.step, event.value) for event in events.Scalars("train/loss")]
    rows = read_log(finished.folder / "log.jsonl")
    assert [step for step, _ in shown] == [1, 2]
    assert [value for _, value in shown] == pytest.approx([row["train"]["loss"] for row in rows])


def test_the_model_file_says_where_it_comes_from(finished: Run) -> None:
    contract = open_artifact(finished.model).contract
    assert contract.provenance.run == "first"
    assert contract.provenance.config_sha256 == finished.config.digest()
    assert contract.provenance.data_sha256 == finished.manifest().digest()
    assert contract.provenance.versions["torch"]
    assert contract.classes == finished.manifest().class_map
    assert (contract.tile_px, contract.halo_px, contract.stride) == (96, 32, 4)
    calibration = json.loads((finished.folder / "calibration.json").read_text())
    assert calibration["decision"] == contract.decision.model_dump(mode="json")


def test_resuming_a_finished_run_succeeds_and_changes_no_score(
    finished: Run, config: RunConfig, segnet: Callable[..., str], tiny_config: Path, tmp_path: Path
) -> None:
    before, log = metrics_of(finished.folder), (finished.folder / "log.jsonl").read_text()
    checkpoints = [(finished.folder / name).read_bytes() for name in (LAST, BEST)]
    path = tmp_path / "same.toml"
    path.write_text(config.to_toml())
    segnet("train", path, "--data", config.data.root, "--out", finished.folder, "--resume")
    assert metrics_of(finished.folder) == before
    assert (finished.folder / "log.jsonl").read_text() == log
    assert [(finished.folder / name).read_bytes() for name in (LAST, BEST)] == checkpoints


def test_export_calibrate_and_evaluate_make_the_same_file_again_step_by_step(
    finished: Run, segnet: Callable[..., str], tmp_path: Path
) -> None:
    data, model = finished.config.data.root, tmp_path / "again.onnx"
    told = segnet("export", finished.folder, "--checkpoint", finished.folder / BEST, "--out", model)
    assert "labels agree with the network on" in told
    assert f"next: segnet calibrate {model} --data {data}" in told
    assert open_artifact(model).contract.scores == {}
    told = segnet("calibrate", model, "--data", data)
    assert "escape rate" in told
    assert open_artifact(model).contract.decision == open_artifact(finished.model).contract.decision
    told = segnet("evaluate", model, "--data", data, "--out", tmp_path / "judged")
    assert "report:" in told
    assert metrics_of(tmp_path / "judged")["test"] == metrics_of(finished.folder)["test"]
    assert (tmp_path / "judged" / "report.html").is_file()


def test_show_tells_what_the_file_promises(finished: Run, segnet: Callable[..., str]) -> None:
    told = segnet("show", finished.model)
    for word in ("scratch", "stain", "mean_defect_iou", finished.config.digest()[:12]):
        assert word in told
    assert json.loads(segnet("show", finished.model, "--json"))["scores"] == {
        split: metrics_of(finished.folder)[split] for split in ("val", "test")
    }


def test_predict_writes_what_the_predictor_says(
    finished: Run, segnet: Callable[..., str], tmp_path: Path
) -> None:
    images = [sample.image for sample in finished.manifest().split("test")]
    told = segnet("predict", *images, "--model", finished.model, "--out", tmp_path / "found")
    assert f"{len(images)} judged" in told
    rows = csv.DictReader((finished.folder / "images.csv").read_text(encoding="utf-8").splitlines())
    called_ng = {row["name"]: row["called_ng"] == "True" for row in rows}
    for image in images:
        assert read_labels(tmp_path / "found" / f"{image.stem}.png").shape == (80, 96)
        assert (tmp_path / "found" / f"{image.stem}-overlay.jpg").is_file()
        verdict = next(line for line in told.splitlines() if str(image) in line)
        assert verdict.startswith("NG" if called_ng[image.stem] else "OK")


def test_the_showcase_shows_bad_parts_first_and_one_good_one_last(finished: Run) -> None:
    picture = draw_showcase(Predictor.open(finished.model), finished.manifest(), rows=2, across=2)
    assert picture.dtype == np.uint8
    # Two cells of three panels of 256 px across; the split holds two bad parts, so the fourth cell stays empty.
    height, width, channels = picture.shape
    assert (channels, width > 2 * 3 * 256, height > 2 * 256) == (3, True, True)
    empty, filled = picture[-256:, -3 * 256 :], picture[-256:, : 3 * 256]
    assert len(np.unique(empty.reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(filled.reshape(-1, 3), axis=0)) > 50


def test_a_data_set_without_a_test_split_is_judged_on_val(config: RunConfig, tmp_path: Path) -> None:
    from data.synthetic import write_synthetic_dataset

    # Larger than a tile and odd, so that tiles are cut.
    write_synthetic_dataset(tmp_path / "parts", counts={"train": 4, "val": 2}, size_hw=(99, 131))
    schedule = config.schedule.model_copy(update={"epochs": 1, "crops_per_epoch": 16})
    short = config.with_data(tmp_path / "parts").model_copy(update={"schedule": schedule})
    run = Run.start(tmp_path / "run", config=short)
    train_run(run)
    metrics = metrics_of(run.folder)
    assert set(metrics) == {"model", "digest", "val"}
    assert set(open_artifact(run.model).contract.scores) == {"val"}
    labels = Predictor.open(run.model).predict(np.zeros((99, 131, 3), np.uint8)).labels
    assert labels.shape == (99, 131)


# Starting and resuming


def test_a_run_starts_in_a_new_folder_and_says_how_it_is_made(config: RunConfig, tmp_path: Path) -> None:
    run = Run.start(tmp_path / "deep" / "run", config=config)
    assert Run.open(run.folder) == run
    assert (run.model, run.manifest()) == (
        run.folder / "model.onnx",
        open_dataset(config.data.root or Path()),
    )


@pytest.mark.parametrize("name", [LAST, "model.onnx", "notes.txt"])
def test_a_folder_that_holds_something_is_never_written_over(
    config: RunConfig, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match=r"holds a run already; go on with it by --resume, or .* --out"):
        Run.start(tmp_path, config=config)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_that_stopped_before_its_first_step_may_be_started_again(
    config: RunConfig, tmp_path: Path
) -> None:
    Run.start(tmp_path / "run", config=config)
    (tmp_path / "run" / "run.log").write_text("error\n")
    changed = config.model_copy(update={"seed": 9})
    assert Run.start(tmp_path / "run", config=changed) == Run.open(tmp_path / "run")
    assert Run.open(tmp_path / "run").config.seed == 9


def test_of_several_processes_only_the_first_looks_at_the_folder(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Run.start(tmp_path, config=config)
    (tmp_path / LAST).touch()
    monkeypatch.setenv("RANK", "1")
    assert Run.start(tmp_path, config=config).folder == tmp_path


def test_a_run_without_data_is_refused(config: RunConfig, tmp_path: Path) -> None:
    nowhere = config.model_copy(update={"data": config.data.model_copy(update={"root": None})})
    with pytest.raises(ConfigError, match="no data set: give --data DIR"):
        Run.start(tmp_path / "run", config=nowhere)
    assert not (tmp_path / "run").exists()


def test_resuming_with_another_configuration_names_the_keys_that_differ(
    config: RunConfig, tmp_path: Path
) -> None:
    Run.start(tmp_path, config=config)
    changed = read_config(
        tmp_path / "config.toml", overrides=["optimizer.lr=1.0", "crops.augment.flip=false"]
    )
    with pytest.raises(
        ConfigError, match=r"differ in crops.augment.flip, optimizer.lr; a resumed run goes on"
    ):
        Run.resume(tmp_path, config=changed.with_data(Path("/elsewhere")))


def test_resuming_may_name_another_place_of_the_data_and_else_takes_the_former_one(
    config: RunConfig, tmp_path: Path
) -> None:
    Run.start(tmp_path, config=config)
    assert Run.resume(tmp_path, config=config.with_data(Path("/moved"))).config.data.root == Path("/moved")
    unnamed = config.model_copy(update={"data": config.data.model_copy(update={"root": None})})
    assert Run.resume(tmp_path, config=unnamed).config.data.root == config.data.root


def test_resuming_where_there_is_no_run_is_refused(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no run \(no config\.toml\)"):
        Run.resume(tmp_path, config=config)
