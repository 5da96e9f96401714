"""What the README promises about weight: the command answers at once, and serving needs no torch."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = ("torch", "onnx", "albumentations", "segmentation_models_pytorch", "accelerate", "cv2", "onnxruntime")


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


def test_help_answers_in_half_a_second_of_processor_time(repository: Path) -> None:
    """Processor time, not wall time: a busy machine must not make this test lie. The best of three."""
    spent_s = []
    for _ in range(3):
        before = os.times()
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "cli.main", "--help"], cwd=repository, check=True, capture_output=True
        )
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        spent_s.append(min(used, time.perf_counter() - started))
    assert min(spent_s) < 0.5
