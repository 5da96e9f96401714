"""`segnet models`: what serves, what served, what may serve next, and how to change it."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.models import app
from data.workspace import Workspace, WorkspaceError
from model.store import ModelStore, Parents, StoreError

STORED = Path(__file__).parents[1] / "promises" / "format_1.onnx"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace that the environment names, as it does in a container."""
    folder = tmp_path / "line"
    Workspace.create(folder)
    monkeypatch.setenv("SEGNET_WORKSPACE", str(folder))
    monkeypatch.setenv("SEGNET_BY", "anna")
    return folder


@pytest.fixture
def store(workspace: Path) -> ModelStore:
    return ModelStore(workspace / "models")


@pytest.fixture
def file(tmp_path: Path) -> Callable[[int], Path]:
    """The stored model as a file of its own for each number below 128: one more piece of metadata."""

    def file(number: int) -> Path:
        path = tmp_path / f"{number}.onnx"
        entry = bytes([14 << 3 | 2, 6, 0x0A, 1, ord("n"), 0x12, 1, number])
        path.write_bytes(STORED.read_bytes() + entry)
        return path

    return file


def segnet_models(*arguments: object) -> str:
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], catch_exceptions=False, env={"COLUMNS": "200"}
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def test_from_the_first_champion_to_a_roll_back(store: ModelStore, file: Callable[[int], Path]) -> None:
    assert "it is empty" in segnet_models("list")
    assert segnet_models("add", file(1), "--promote").splitlines() == [
        "v1 (colours, 37877c6208ae) added",
        "v1 (colours, 37877c6208ae) is the champion",
    ]
    assert segnet_models("add", file(2), "--reason", "more scratches").endswith(") added\n")
    assert segnet_models("add", file(2)).endswith(") is in the store already\n")
    assert segnet_models("promote", "candidate", "--reason", "fewer escapes").startswith("v2 ")
    assert store.champion == store.resolve("v2")
    shown = segnet_models("list", "--history")
    for part in (
        "v1",
        "previous",
        "v2",
        "champion",
        "37877c6208ae",
        "anna",
        "more scratches",
        "fewer escapes",
    ):
        assert part in shown
    assert "is the champion again" in segnet_models("rollback", "--reason", "lamp broke")
    assert store.champion == store.resolve("v1")
    assert "lamp broke" in segnet_models("show", "v2")
    assert [(event.kind, event.by, event.forced) for event in store.history()] == [
        ("added", "anna", False),
        ("promoted", "anna", False),
        ("added", "anna", False),
        ("promoted", "anna", False),
        ("rolled_back", "anna", False),
    ]


def test_show_tells_what_a_version_promises_and_what_happened_to_it(
    store: ModelStore, file: Callable[[int], Path]
) -> None:
    version = store.add(file(1), by="retrain", attachments={"metrics.json": b"{}"})
    numbers = {"escape_rate": {"champion": 0.125, "candidate": 0.25}}
    store.refuse(version, by="gate", reason="escapes [more]", numbers=numbers)
    shown = segnet_models("show", version.file_sha256[:8])
    told = (
        "metrics.json", version.file_sha256, version.digest, "scratch", "mean_iou", "by hand", "refused",
        "escapes [more]", "escape_rate.candidate 0.25", str(store.model_path(version)),
    )  # fmt: skip
    for part in told:
        assert part in shown


def test_diff_puts_two_versions_side_by_side(
    store: ModelStore, tmp_path: Path, color_pair: tuple[bytes, bytes]
) -> None:
    for number, (content, strategy) in enumerate(zip(color_pair, (None, "ewc"), strict=True)):
        path = tmp_path / f"pair-{number}.onnx"
        path.write_bytes(content)
        store.add(path, by="anna", parents=Parents(strategy=strategy))
    rows = [
        [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")]
        for line in segnet_models("diff", "v1", "v2").splitlines()
    ]
    for row in (
        ["", "v1", "v2", "change"],
        ["mean_iou", "0.875", "0.900", "+0.025"],
        ["images", "12", "12", "+0"],
        ["classes.pit.iou", "-", "0.500", "-"],
        ["pit (defect)", "2, weight 1", "-"],
        ["dent (defect)", "-", "2, weight 2.5"],
        ["scratch (defect)", "1, weight 1", "1, weight 1"],
        ["smallest defect", "1 px", "9 px"],
        ["parent.strategy", "-", "ewc"],
        ["run", "by hand", "by hand"],
    ):
        assert row in rows


@pytest.fixture
def color_pair() -> tuple[bytes, bytes]:
    """The stored model, and one of another class, decision and score."""
    import onnx
    from onnx import helper

    from data.classes import ClassMap
    from model.artifact import open_artifact
    from model.contract import METADATA_KEY, Decision

    before = open_artifact(STORED)
    after = before.contract.model_copy(
        update={
            "classes": ClassMap.from_names(["background", "scratch", "dent"]),
            "decision": Decision(weights=(1.0, 1.0, 2.5), min_area_px=9),
            "scores": {"test": {"images": 12, "mean_iou": 0.9, "classes": {"pit": {"iou": 0.5}}}},
        }
    )
    model = onnx.load_model_from_string(before.model_bytes)
    helper.set_model_props(model, {METADATA_KEY: after.model_dump_json()})
    return before.model_bytes, model.SerializeToString()


def test_the_first_champion_alone_is_promoted_without_a_comparison(
    store: ModelStore, file: Callable[[int], Path]
) -> None:
    segnet_models("add", file(1), "--promote", "--reason", "of the pilot line")
    assert store.history()[-1].reason == "of the pilot line"
    with pytest.raises(StoreError, match="v1 is the champion already; --promote is for the first one"):
        segnet_models("add", file(2), "--promote")
    assert [version.label for version in store.versions()] == ["v1"]


def test_what_was_refused_is_promoted_by_force_alone_and_that_is_recorded(
    store: ModelStore, file: Callable[[int], Path]
) -> None:
    store.refuse(store.add(file(1), by="anna"), by="gate", reason="it forgets pits")
    with pytest.raises(StoreError, match=r"v1 was refused by gate: it forgets pits; .* with --force"):
        segnet_models("promote", "v1", "--reason", "pits are gone")
    assert store.champion is None
    segnet_models("promote", "v1", "--reason", "pits are gone", "--force")
    assert store.history()[-1].forced
    assert "promoted by force" in segnet_models("list", "--history")


def test_force_is_not_recorded_where_nothing_was_forced(
    store: ModelStore, file: Callable[[int], Path]
) -> None:
    store.add(file(1), by="anna")
    segnet_models("promote", "v1", "--reason", "first", "--force")
    assert not store.history()[-1].forced


def test_gc_tells_what_it_removed(store: ModelStore, file: Callable[[int], Path]) -> None:
    for number in range(1, 5):
        segnet_models("add", file(number))
        segnet_models("promote", "candidate", "--reason", "better")
    removed = segnet_models("gc", "--keep", 3)
    assert removed == f"v1 (colours, {store.versions()[0].digest[:12]}) removed\n"
    assert segnet_models("gc", "--keep", 3) == "nothing to remove\n"
    assert [version.label for version in store.versions()] == ["v2", "v3", "v4"]


@pytest.mark.parametrize(
    "command", [("show", "v9"), ("diff", "v1", "v9"), ("promote", "v9", "--reason", "x")]
)
def test_an_unknown_version_is_an_error_that_lists_the_known_ones(
    store: ModelStore, file: Callable[[int], Path], command: tuple[str, ...]
) -> None:
    store.add(file(1), by="anna")
    with pytest.raises(StoreError, match=r"no version 'v9' in the store; there is: candidate \(v1\), v1"):
        segnet_models(*command)


def test_a_folder_that_is_no_workspace_is_named(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="nowhere is no workspace"):
        segnet_models("list", "--workspace", tmp_path / "nowhere")


@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_a_decision_needs_a_reason(workspace: Path, command: str) -> None:
    words = [command, "v1"] if command == "promote" else [command]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "--reason" in result.stderr


def test_a_user_without_a_name_is_told_by_number(
    store: ModelStore, file: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under a number alone."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.delenv("SEGNET_BY")
    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr("os.getuid", lambda: 4711)
    segnet_models("add", file(1))
    assert store.versions()[0].by == "user 4711"


@pytest.fixture(scope="module")
def run(tiny_config: Path, tiny_parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that trained for no epoch; its model file is the stored one. Not to be written to."""
    from data.sources import open_dataset
    from training.checkpoint import BEST, save_checkpoint
    from training.config import read_config
    from training.run import Run
    from training.state import build_state

    config = read_config(tiny_config).with_data(tiny_parts)
    run = Run.start(tmp_path_factory.mktemp("runs") / "0007", config=config)
    save_checkpoint(run.folder / BEST, build_state(config, open_dataset(tiny_parts)).to_checkpoint())
    shutil.copy(STORED, run.model)
    for name in ("metrics.json", "report.html", "run.log"):
        (run.folder / name).write_text(name)
    return run.folder


@pytest.mark.usefixtures("fresh_torch", "few_crops")
def test_a_run_brings_its_configuration_scores_report_weights_and_what_they_depend_on(
    store: ModelStore, tmp_path: Path, run: Path, tiny_parts: Path
) -> None:
    """Its data set has moved since."""
    from training.adapt import load_start

    moved = copy_of_run(run, tmp_path / "0007", data=tmp_path / "gone")
    segnet_models("add", moved, "--promote", "--data", tiny_parts)
    version = store.champion
    assert version is not None
    assert version.parents.run == "0007"
    assert sorted(version.attachments) == [
        "config.toml", "fisher.pt", "metrics.json", "network.pt", "report.html",
    ]  # fmt: skip
    report, network, fisher = (
        store.attachment(version, name) for name in ("report.html", "network.pt", "fisher.pt")
    )
    assert report is not None
    assert network is not None
    assert report.read_text() == "report.html"
    start = load_start(network, fisher=fisher)
    assert start.champion.class_names == ("background", "scratch", "pit", "stain", "crack")
    assert start.fisher is not None


@pytest.mark.usefixtures("fresh_torch", "few_crops")
@pytest.mark.parametrize(
    ("lost", "kept", "told"),
    [
        pytest.param(
            "data", {"network.pt"},
            r"without fisher\.pt \(.*gone: there is no such folder.*\): .* go on from it by --strategy ewc$",
            id="data set",
        ),
        pytest.param(
            "best.pt", set(), r"without network\.pt and fisher\.pt \(.*best\.pt.*\): no candidate can go on from it$",
            id="checkpoint",
        ),
    ],
)  # fmt: skip
def test_a_run_that_lacks_something_is_added_without_it_and_that_is_said(
    store: ModelStore,
    tmp_path: Path,
    run: Path,
    tiny_parts: Path,
    caplog: pytest.LogCaptureFixture,
    lost: str,
    kept: set[str],
    told: str,
) -> None:
    moved = copy_of_run(run, tmp_path / "0007", data=tmp_path / "gone" if lost == "data" else tiny_parts)
    (moved / lost).unlink(missing_ok=True)
    segnet_models("add", moved)
    (version,) = store.versions()
    assert set(version.attachments) == {"config.toml", "metrics.json", "report.html"} | kept
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert re.search(told, warning.getMessage())


@pytest.mark.usefixtures("fresh_torch")
def test_what_a_run_has_measured_of_its_weights_is_not_measured_again(
    store: ModelStore, tmp_path: Path, run: Path
) -> None:
    """A candidate's stands for all rounds, and those before are not to be had any more."""
    moved = copy_of_run(run, tmp_path / "0007", data=tmp_path / "gone")
    (moved / "fisher.pt").write_bytes(b"of all rounds")
    segnet_models("add", moved)
    (version,) = store.versions()
    kept = store.attachment(version, "fisher.pt")
    assert kept is not None
    assert kept.read_bytes() == b"of all rounds"


def copy_of_run(run: Path, folder: Path, *, data: Path) -> Path:
    from training.run import Run

    shutil.copytree(run, folder)
    config = Run.open(folder).config.with_data(data)
    (folder / "config.toml").write_text(config.to_toml())
    return folder


@pytest.fixture
def few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Fisher information of tests need not be exact."""
    from training import candidate

    monkeypatch.setattr(candidate, "_FISHER_CROPS", 4)


def test_a_folder_that_is_no_run_is_refused(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no run \(no config\.toml\); give the folder of"):
        segnet_models("add", tmp_path / "empty")
    assert store.versions() == ()


def test_all_but_adding_a_run_works_without_training_libraries(workspace: Path, repository: Path) -> None:
    """The image that serves has none."""
    code = """
import sys
from typer.testing import CliRunner
for name in ("torch", "onnx", "albumentations", "segmentation_models_pytorch"):
    sys.modules[name] = None  # importing it is an error
from cli.models import app
for words in (
    ["add", sys.argv[1], "--promote"], ["list", "--history"], ["show", "champion"], ["diff", "v1", "v1"],
    ["gc", "--keep", "1"],
):
    CliRunner().invoke(app, words, catch_exceptions=False)
"""
    subprocess.run(
        [sys.executable, "-c", code, str(STORED)],
        cwd=repository,
        check=True,
        capture_output=True,
        timeout=120,
    )
