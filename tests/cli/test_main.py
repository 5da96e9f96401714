"""The process edge: lazy subcommands, and errors as one line with an exit code."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

import cli.main
from data.classes import ClassMap
from data.manifest import DatasetError


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """main() as the shell calls it; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["segnet", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Puts a command that raises in place of `segnet data`."""
    monkeypatch.setenv("SEGNET_DEBUG", "0")

    def plant(error: BaseException) -> None:
        def command() -> None:
            raise error

        monkeypatch.setattr(
            cli.main.importlib, "import_module", lambda name: SimpleNamespace(command=command)
        )

    return plant


def test_help_lists_each_command_whose_file_is_there() -> None:
    result = CliRunner().invoke(cli.main.app, ["--help"])
    assert result.exit_code == 0
    for name, line in cli.main.COMMANDS.items():
        there = (Path(cli.main.__file__).parent / f"{name}.py").exists()
        assert (line[:40] in result.output) == there


@pytest.mark.parametrize(
    "name", [name for name in cli.main.COMMANDS if (Path(cli.main.__file__).parent / f"{name}.py").exists()]
)
def test_each_command_can_be_asked_for_help(name: str) -> None:
    result = CliRunner().invoke(cli.main.app, [name, "--help"], prog_name="segnet")
    assert result.exit_code == 0, result.output
    assert f"segnet {name}" in result.output


def test_a_mistyped_command_is_a_usage_error_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "dta") == 2
    assert "Did you mean 'data'?" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("segnet 0.")


def invalid_colors() -> ValueError:
    with pytest.raises(ValueError, match="validation error") as caught:
        ClassMap.model_validate({"classes": [{"name": "a", "color": (0, 0, 999), "role": "defect"}]})
    return caught.value


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(DatasetError("a.png: broken; redraw"), "a.png: broken; redraw", id="ours"),
        pytest.param(
            FileNotFoundError(2, "No such file or directory", "x.toml"),
            "x.toml: No such file or directory",
            id="no-file",
        ),
        pytest.param(
            PermissionError("the disk is read-only"), "the disk is read-only", id="os-error-of-ours"
        ),
        pytest.param(ValueError("bad shape"), "bad shape (`segnet --debug` shows where)", id="of-a-library"),
        pytest.param(ValueError(), "ValueError (`segnet --debug` shows where)", id="without-a-word"),
        pytest.param(
            invalid_colors(),
            "ClassMap: classes.0.color.2: Input should be less than or equal to 255",
            id="pydantic",
        ),
    ],
)
def test_what_a_person_can_mend_is_one_line(
    error: Exception,
    line: str,
    failing: Callable[[BaseException], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(error)
    assert run_main(monkeypatch, "data") == 1
    written = capsys.readouterr()
    assert written.err == f"error: {line}\n"
    assert written.out == ""


def test_a_missing_extra_is_named_with_the_remedy(
    failing: Callable[[BaseException], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"))
    assert run_main(monkeypatch, "data") == 1
    assert "'torch' is not installed" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_a_word(
    failing: Callable[[BaseException], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(KeyboardInterrupt())
    assert run_main(monkeypatch, "data") == 130
    assert capsys.readouterr().err == "error: stopped\n"


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [pytest.param(["--debug", "data"], "0", id="option"), pytest.param(["data"], "1", id="variable")],
)
def test_debug_shows_the_traceback(
    arguments: list[str],
    variable: str,
    failing: Callable[[BaseException], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing(DatasetError("broken"))
    monkeypatch.setenv("SEGNET_DEBUG", variable)
    monkeypatch.setattr(sys, "argv", ["segnet", *arguments])
    with pytest.raises(DatasetError, match="broken"):
        cli.main.main()


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(AssertionError("a promise to ourselves"), id="assertion"),
        pytest.param(ModuleNotFoundError("No module named 'data.x'", name="data.x"), id="room-missing"),
    ],
)
def test_our_own_mistakes_are_never_hidden(
    error: Exception, failing: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(error)
    monkeypatch.setattr(sys, "argv", ["segnet", "data"])
    with pytest.raises(type(error)):
        cli.main.main()


def test_an_exit_code_of_a_command_is_kept(
    failing: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(typer.Exit(3))
    assert run_main(monkeypatch, "data") == 3


def test_the_module_runs_as_a_program_too(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "data", "check", str(tmp_path / "nowhere")],
        cwd=repository,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"error: {tmp_path / 'nowhere'}: no such folder; give the folder that holds images/ and masks/"
    ]
