"""Fixtures every test room shares, and the hook that checks array shapes while tests run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# The shapes written in annotations are promises; under test every call is held to them.
install_import_hook("model", "beartype.beartype")

ROOT = Path(__file__).resolve().parent.parent
DATASETS = Path(os.environ.get("SEGNET_DATASETS", ROOT.parent / "shared" / "datasets"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout under test."""
    return ROOT


@pytest.fixture(scope="session")
def magnetic_tile() -> Path:
    """The magnetic-tile set; licences forbid shipping it, so without it these tests skip and say so."""
    folder = DATASETS / "magnetic_tile"
    if not folder.is_dir():
        pytest.skip(f"SKIPPED LOUDLY: no real data at {folder} (set SEGNET_DATASETS to where it is)")
    return folder


@pytest.fixture(scope="session")
def tiny_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of drawn parts, 96 x 80 px: 8 to train on, 4 each in val and test. Not to be written to."""
    from data.synthetic import write_synthetic_dataset

    root = tmp_path_factory.mktemp("data") / "parts"
    write_synthetic_dataset(root, counts={"train": 8, "val": 4, "test": 4}, size_hw=(80, 96))
    return root


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with which an epoch takes a fraction of a second, in one thread and repeatable."""
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(
        """
name = "tiny"
crops.crop_px = 32
data.workers = 0
network.options.widths = [4, 8]
optimizer = {warmup_steps = 2, ema_decay = 0.9}
schedule = {epochs = 3, crops_per_epoch = 16, batch_size = 4}
compute = {device = "cpu", precision = "fp32", threads = 1}
artefact = {tile_px = 96, halo_px = 32}
"""
    )
    return path


@pytest.fixture
def fresh_torch() -> Iterator[None]:
    """Training sets process-wide switches of torch and accelerate; put them back for whoever comes next."""
    import torch
    from accelerate.state import AcceleratorState, GradientState

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
