"""What a person can mend is one line that says what came, what was expected and what to do; exit code 1."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import cli.main
from training.checkpoint import BEST, LAST
from training.config import read_config
from training.run import Run, train_stage

pytestmark = pytest.mark.usefixtures("fresh_torch")


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`segnet …` that has to fail; returns the one line of the error."""
    monkeypatch.setenv("SEGNET_DEBUG", "0")
    monkeypatch.setenv("COLUMNS", "1000")

    def call(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["segnet", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main.main()
        told = capsys.readouterr().err
        assert caught.value.code == 1, told
        assert "Traceback" not in told
        *progress, last = told.splitlines()
        assert last.startswith("error: "), told
        assert not any("rror" in line for line in progress), told
        return last.removeprefix("error: ")

    return call


@pytest.fixture(scope="module")
def begun(tiny_config: Path, tiny_parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which one epoch is done; copy it before breaking it."""
    config = read_config(tiny_config, overrides=["schedule.epochs=1"]).with_data(tiny_parts)
    run = Run.start(tmp_path_factory.mktemp("runs") / "begun", config=config)
    train_stage(run, run.manifest())
    return run.folder


@pytest.fixture
def own(begun: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be broken."""
    return Path(shutil.copytree(begun, tmp_path / "own"))


def foreign_model(path: Path) -> Path:
    """An .onnx of somebody else."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "foreign", [value], [out])
    path.write_bytes(helper.make_model(graph, ir_version=10).SerializeToString())
    onnx.checker.check_model(onnx.load(path))
    return path


# Configuration


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            ["--set", "schedule.epoch=3"], "unknown key schedule.epoch; did you mean epochs?", id="key"
        ),
        pytest.param(["--set", "epochs"], "--set epochs: expected key.path=value", id="no value"),
        pytest.param(["--set", "schedule.epochs=many"], "schedule.epochs is 'many'", id="no number"),
        pytest.param(
            ["--set", "network.name=resnet"], "network 'resnet' is unknown; nearest is", id="network"
        ),
        pytest.param(["--set", "compute.precision=fp16"], "fp16, which needs a GPU", id="precision"),
        pytest.param(
            ["--set", "crops.crop_px=64", "--set", "schedule.crops_per_epoch=1"], "too few", id="crops"
        ),
    ],
)
def test_a_setting_that_cannot_be_used(
    fails: Callable[..., str],
    tiny_config: Path,
    tiny_parts: Path,
    tmp_path: Path,
    words: Sequence[str],
    said: str,
) -> None:
    out = tmp_path / "run"
    assert said in fails("train", tiny_config, "--data", tiny_parts, "--out", out, *words)
    # Whatever it was: mended, the same command starts in the same folder.
    assert not out.exists() or {path.name for path in out.iterdir()} <= {"config.toml", "run.log"}


def test_a_configuration_that_is_not_there(
    fails: Callable[..., str], tiny_parts: Path, tmp_path: Path
) -> None:
    told = fails("train", tmp_path / "nowhere.toml", "--data", tiny_parts)
    assert told == f"{tmp_path / 'nowhere.toml'}: No such file or directory"


# Data


def test_data_that_are_not_there(fails: Callable[..., str], tiny_config: Path, tmp_path: Path) -> None:
    told = fails("train", tiny_config, "--data", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert str(tmp_path / "nowhere") in told
    assert fails("train", tiny_config, "--out", tmp_path / "run").startswith("no data set: give --data DIR")


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        pytest.param("images", b"no picture", "neither JPEG, PNG, TIFF, BMP nor WebP", id="image"),
        pytest.param("masks", b"", "empty", id="mask"),
    ],
)
def test_a_broken_file_among_the_data(
    fails: Callable[..., str],
    tiny_config: Path,
    tiny_parts: Path,
    tmp_path: Path,
    kind: str,
    content: bytes,
    said: str,
) -> None:
    parts = Path(shutil.copytree(tiny_parts, tmp_path / "parts"))
    broken = sorted((parts / kind / "train").iterdir())[3]
    broken.write_bytes(content)
    told = fails("train", tiny_config, "--data", parts, "--out", tmp_path / "run")
    assert str(broken) in told
    assert said in told


def test_a_split_that_is_missing(
    fails: Callable[..., str], tiny_config: Path, tiny_parts: Path, tmp_path: Path
) -> None:
    parts = Path(shutil.copytree(tiny_parts, tmp_path / "parts"))
    for kind in ("images", "masks"):
        shutil.rmtree(parts / kind / "val")
    told = fails("train", tiny_config, "--data", parts, "--out", tmp_path / "run")
    assert "no image in the split 'val'" in told
    assert "segnet data split" in told


# Runs and checkpoints


def test_a_run_is_not_written_over(
    fails: Callable[..., str], tiny_config: Path, own: Path, tiny_parts: Path
) -> None:
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    told = fails("train", tiny_config, "--data", tiny_parts, "--out", own)
    assert "holds a run already; go on with it by --resume" in told
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before


def test_a_run_is_not_resumed_with_another_configuration(
    fails: Callable[..., str], tiny_config: Path, own: Path, tiny_parts: Path
) -> None:
    words = ("--set", "optimizer.lr=0.1", "--set", "schedule.epochs=1")
    told = fails("train", tiny_config, "--data", tiny_parts, "--out", own, "--resume", *words)
    assert "differ in optimizer.lr; a resumed run goes on unchanged" in told


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def overwrite(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 500] = bytes(500)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        pytest.param(cut_off, "last.pt: damaged, or no checkpoint", id="cut off"),
        pytest.param(overwrite, "last.pt: damaged, or no checkpoint", id="overwritten"),
        pytest.param(lambda path: path.write_bytes(b""), "last.pt: damaged, or no checkpoint", id="empty"),
    ],
)
def test_a_broken_checkpoint(
    fails: Callable[..., str],
    tiny_config: Path,
    own: Path,
    tiny_parts: Path,
    harm: Callable[[Path], object],
    said: str,
) -> None:
    harm(own / LAST)
    words = ("--data", tiny_parts, "--out", own, "--resume", "--set", "schedule.epochs=1")
    assert said in fails("train", tiny_config, *words)


def test_a_checkpoint_of_other_classes(
    fails: Callable[..., str], tiny_config: Path, own: Path, tiny_parts: Path, tmp_path: Path
) -> None:
    parts = Path(shutil.copytree(tiny_parts, tmp_path / "parts"))
    classes = parts / "classes.txt"
    classes.write_text(classes.read_text().replace("scratch", "groove"))
    words = ("--data", parts, "--out", own, "--resume", "--set", "schedule.epochs=1")
    assert "trained on other classes; resume with the same data set" in fails("train", tiny_config, *words)


def test_an_export_of_what_is_no_run_or_has_no_checkpoint(
    fails: Callable[..., str], own: Path, tmp_path: Path
) -> None:
    assert "holds no run (no config.toml)" in fails("export", tmp_path)
    (own / BEST).unlink()
    assert "best.pt: no such checkpoint; has this run finished an epoch?" in fails("export", own)


def test_a_disk_that_is_full_in_the_middle_of_a_checkpoint(
    fails: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tiny_config: Path,
    tiny_parts: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    sync, kept = os.fsync, dict[str, bytes]()

    def fill_up(descriptor: int) -> None:
        # The first checkpoints fit, those of the second epoch do not.
        if (out / LAST).exists():
            kept.update((name, (out / name).read_bytes()) for name in (LAST, BEST))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fill_up)
    told = fails("train", tiny_config, "--data", tiny_parts, "--out", out)
    assert "the checkpoint of epoch 2 could not be written (No space left on device)" in told
    assert "--resume" in told
    assert kept == {name: (out / name).read_bytes() for name in (LAST, BEST)}
    assert not list(out.glob(".*"))


def test_a_loss_that_is_no_number(
    fails: Callable[..., str], tiny_config: Path, tiny_parts: Path, tmp_path: Path
) -> None:
    words = ("--set", "optimizer.lr=1e30", "--set", "optimizer.clip_norm=0")
    told = fails("train", tiny_config, "--data", tiny_parts, "--out", tmp_path / "run", *words)
    assert "loss is" in told
    assert "lower optimizer.lr" in told.lower()
    assert not (tmp_path / "run" / LAST).exists()


# Model files


@pytest.mark.parametrize("command", ["show", "predict", "evaluate", "calibrate"])
@pytest.mark.parametrize("kind", ["foreign", "no onnx", "nowhere"])
def test_a_file_that_is_no_model_of_ours(
    fails: Callable[..., str], tiny_parts: Path, tmp_path: Path, command: str, kind: str
) -> None:
    model = tmp_path / f"{kind.replace(' ', '_')}.onnx"
    if kind == "foreign":
        foreign_model(model)
    elif kind == "no onnx":
        model.write_bytes(b"some text")
    image = next((tiny_parts / "images" / "test").iterdir())
    words = {
        "show": (model,),
        "predict": (image, "--model", model, "--out", tmp_path / "out"),
        "evaluate": (model, "--data", tiny_parts),
        "calibrate": (model, "--data", tiny_parts),
    }
    told = fails(command, *words[command])
    assert str(model) in told
    assert not (tmp_path / "out").exists()


# The real command


def test_the_command_itself_tells_one_line_and_exits_with_1(
    tiny_config: Path, tiny_parts: Path, tmp_path: Path, repository: Path
) -> None:
    words = [sys.executable, "-m", "cli.main", "train", str(tiny_config), "--data", str(tiny_parts)]
    done = subprocess.run(
        [*words, "--out", str(tmp_path / "run"), "--set", "optimiser.lr=1"],
        cwd=repository,
        env=os.environ | {"SEGNET_DEBUG": "0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "unknown key optimiser; did you mean optimizer?" in line
    assert not (tmp_path / "run").exists()
