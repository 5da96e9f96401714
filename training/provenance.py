"""Where a model comes from: enough to make it again."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

from data.manifest import Manifest
from model.contract import Provenance
from training.config import RunConfig

_PACKAGES: Final = (
    "residual-segnet", "torch", "numpy", "opencv-python-headless", "albumentations",
    "segmentation-models-pytorch", "onnx", "onnxruntime-gpu",
)  # fmt: skip


def describe_provenance(config: RunConfig, manifest: Manifest, *, run: str) -> Provenance:
    """The run's name, commit, hashes, versions and machine. It reads every file of the data set once."""
    return Provenance(
        run=run,
        git=git_commit(),
        config_sha256=config.digest(),
        data_sha256=manifest.digest(),
        seed=config.seed,
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        machine=describe_machine(),
    )


def git_commit() -> str:
    """The commit of the code that runs, with `+changes` when files differ from it; `unknown` outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        commit = _git("rev-parse", "HEAD", cwd=here)
        return commit + (
            "+changes" if _git("status", "--porcelain", "--untracked-files=no", cwd=here) else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe_machine() -> str:
    """Processor, cores and GPU, as people would say them."""
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        cpu = names[0] if names else cpu
    said = f"{os.cpu_count()} cores of {cpu}"
    return f"{said}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else said


def _git(*words: str, cwd: Path) -> str:
    return subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, check=True).stdout.strip()
