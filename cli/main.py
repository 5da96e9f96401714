"""`segnet`: the one command, and the process edge where errors become one line.

Each subcommand stands in its own file, which is imported only when that subcommand is called: `segnet --help`
has to answer at once, on a machine without torch too. So the help lines stand here.
"""

import importlib
import importlib.util
import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

COMMANDS = {
    "demo": "Draw surfaces with known defects, train on them, show what was found.",
    "data": "Check, import and split labelled images.",
    "train": "Train a network on a data folder.",
    "export": "Turn a training checkpoint into one ONNX file.",
    "calibrate": "Choose a model's decision weights and smallest defect on validation images.",
    "evaluate": "Score a model on a split, and write the report.",
    "show": "Print what a model promises: classes, scores, where it comes from.",
    "predict": "Find defects in images with a model.",
    "inspect": "Inspect a folder of parts: masks, measured defects, verdicts, a report.",
    "serve": "Serve a model over HTTP: upload an image, get its defects.",
    "init": "Make a workspace: golden set, data snapshots, model store, inbox.",
    "retrain": "Train a candidate on what inspectors corrected; promote it if it is proven better.",
    "models": "List, compare, promote and roll back the versions of a model.",
    "recipe": "Write and explain the rules that turn defects into OK, NG or REVIEW.",
    "keys": "Make API keys for the service, with their scopes.",
}
"""Subcommand -> its help line; `cli/NAME.py` holds the function `command`, or a Typer `app` of several."""

_DEBUG = "SEGNET_DEBUG"
_STOPPED = 130  # what shells expect after Ctrl-C: 128 + SIGINT
_EXTRAS = {
    "datumaro": "formats",
    "openvino": "openvino",
    "pyarrow": "tables",
    "ray": "ray",
    "httpx": "client",
}
"""Package -> the extra that brings it; whatever else is missing is there to make a model: `train`."""

_OUR_PACKAGES = ("app", "cli", "data", "model", "training")


class _LazyGroup(TyperGroup):
    """Lists subcommands from the table above and imports the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, placeholder, rest = super().resolve_command(ctx, args)
        return name, placeholder and _load(str(name)), rest


app = typer.Typer(
    name="segnet",
    cls=_LazyGroup,
    no_args_is_help=True,
    # main() prints one line, or with --debug Python's own traceback: no third form.
    pretty_exceptions_enable=False,
    help="Semantic segmentation for visual inspection: train a network, ship it as one ONNX file, use it.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"segnet {version('residual-segnet')}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[
        bool, typer.Option("--debug", envvar=_DEBUG, help="Show the traceback of an error.")
    ] = False,
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop."),
    ] = False,
) -> None:
    if debug:
        # In the environment, so that main() sees it and worker processes inherit it.
        os.environ[_DEBUG] = "1"


def _placeholder() -> None:
    raise AssertionError("the group loads the real command before it is called")


for _name, _help in COMMANDS.items():
    if importlib.util.find_spec(f"cli.{_name}") is not None:
        app.command(_name, help=_help)(_placeholder)


def _load(name: str) -> Any:
    """The real click command of `cli/NAME.py`."""
    module = importlib.import_module(f"cli.{name}")
    several = getattr(module, "app", None)
    if several is None:
        several = typer.Typer(add_completion=False)
        several.command(name)(module.command)
    return typer.main.get_command(several)


def main() -> None:
    """Run the command line; what a person can mend becomes one line on stderr and exit code 1.

    With `--debug` or SEGNET_DEBUG=1 the traceback is shown instead. Other exceptions are our own mistakes and
    always show it.
    """
    try:
        app(prog_name="segnet")
    except SystemExit as stop:
        if stop.code == _STOPPED:
            _complain("stopped")
        raise
    except (ValueError, OSError, ModuleNotFoundError) as error:
        ours = isinstance(error, ModuleNotFoundError) and _package(error) in _OUR_PACKAGES
        if ours or os.environ.get(_DEBUG, "0").lower() not in ("", "0", "false", "no", "off"):
            raise
        _complain(describe(error))
        sys.exit(1)


def describe(error: Exception) -> str:
    """An error as a person wants to read it: file first, no errno, no class name."""
    if isinstance(error, ModuleNotFoundError):
        package = _package(error)
        extra = _EXTRAS.get(package, "train")
        return f"the package {package!r} is not installed; it comes with: pip install --editable '.[{extra}]'"
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if type(error).__module__.startswith("pydantic"):
        from pydantic import ValidationError

        if isinstance(error, ValidationError):
            places = (
                (".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, "))
                for one in error.errors()
            )
            told = (f"{where}: {what}" if where else what for where, what in places)
            return f"{error.title}: " + "; ".join(told)
    text = str(error) or type(error).__name__
    # Raised by a library, not by us: the reader may need to know where.
    foreign = type(error).__module__ == "builtins" and not isinstance(error, OSError)
    return f"{text} (`segnet --debug` shows where)" if foreign else text


def _package(error: ModuleNotFoundError) -> str:
    return (error.name or str(error)).partition(".")[0]


def _complain(text: str) -> None:
    typer.secho("error: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
    typer.echo(text, err=True)


if __name__ == "__main__":
    main()
