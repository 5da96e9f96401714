"""Every configuration that is shipped can be run, and its header says what it is and what to expect."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from model.segmenter import build
from training.config import RunConfig, read_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))
HEADER = ("What", "Minutes", "Expected", "Command")


def header_of(path: Path) -> dict[str, str]:
    """The remarks at the top, by their first word."""
    lines = re.findall(r"\A((?:#.*\n)+)", path.read_text(encoding="utf-8"))
    told = "".join(lines).splitlines()
    return {name: text.strip() for name, _, text in (line.removeprefix("# ").partition(":") for line in told)}


def test_there_are_configurations() -> None:
    assert {"demo.toml", "fast.toml"} <= {path.name for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
class TestEachConfiguration:
    def test_its_header_says_what_minutes_expected_and_command(self, path: Path) -> None:
        header = header_of(path)
        assert tuple(header)[:4] == HEADER
        assert all(header[name] for name in HEADER)

    def test_its_command_is_one_that_runs_it(self, path: Path) -> None:
        words = shlex.split(header_of(path)["Command"])
        assert words[0] == "segnet"
        assert words[1] == "demo" or words[2] == f"configs/{path.name}"
        told = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"}).output
        for option in (word for word in words if word.startswith("--")):
            assert option in told

    def test_it_is_read_and_named_after_its_file(self, path: Path) -> None:
        config = read_config(path)
        # retrain.toml is laid over a champion's configuration, whose name stays.
        assert config.name == (RunConfig().name if path.stem == "retrain" else path.stem)
        assert config.data.root is None

    def test_its_network_can_be_built_and_takes_its_crops_and_tiles(self, path: Path) -> None:
        config = read_config(path)
        # Weights may have to be fetched; the network is the same without.
        options = {key: value for key, value in config.network.options.items() if key != "encoder_weights"}
        stride = build(config.network.name, class_count=3, options=options).stride
        assert config.crops.crop_px % stride == 0
        assert config.artefact.tile_px % stride == 0
