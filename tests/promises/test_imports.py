"""What the README promises about weight: the command answers at once, and serving needs no torch."""

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

HEAVY = ("torch", "onnx", "albumentations", "segmentation_models_pytorch", "accelerate", "cv2", "onnxruntime")

ASK_FOR_HELP = """
import contextlib, io, sys
from cli.main import main
sys.argv = ["segnet", "--help"]
with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.suppress(SystemExit):
    main()
assert "retrain" in told.getvalue()
"""


def loaded_by(statement: str, cwd: Path) -> set[str]:
    """Top-level packages in sys.modules after `statement`, in a new interpreter."""
    code = f"{statement}\nimport sys; print('\\n'.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_command_line_loads_nothing_heavy(repository: Path) -> None:
    assert not loaded_by("import cli.main", repository) & set(HEAVY)


@pytest.mark.parametrize("room", ["contract", "artifact", "runtime", "predictor"])
def test_running_a_model_loads_no_training_library(repository: Path, room: str) -> None:
    heavy = {"torch", "onnx", "albumentations", "segmentation_models_pytorch", "jaxtyping"}
    assert not loaded_by(f"import model.{room}", repository) & heavy


def test_help_loads_nothing_but_the_command_line_library(repository: Path) -> None:
    """What makes `--help` answer at once. Counted, not timed: half a second was too little beside a busy neighbour."""
    loaded = loaded_by(ASK_FOR_HELP, repository) - loaded_by("pass", repository)
    ours = {"cli", "app", "data", "model", "training"}
    assert loaded & ours == {"cli"}
    brought_by_typer = {"annotated_doc", "attr", "markdown_it", "mdurl", "pygments", "rich", "shellingham"}
    installed = set(packages_distributions()) - ours
    assert loaded & installed <= {"typer"} | brought_by_typer
