"""Fixtures every test room shares, and the hook that checks array shapes while tests run."""

import os
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
