"""What the tests of training share: a tiny run, ready to be trained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data.sources import open_dataset
from training.config import read_config
from training.state import TrainingState, build_state


@pytest.fixture
def build(tiny_config: Path, tiny_parts: Path) -> Callable[..., TrainingState]:
    """A tiny run of three epochs of four batches, with `--set` overrides."""

    def build(*overrides: str) -> TrainingState:
        return build_state(read_config(tiny_config, overrides=overrides), open_dataset(tiny_parts))

    return build
