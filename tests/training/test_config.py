"""A misspelt setting is an error that names the nearest; what is read is what was written."""

from pathlib import Path
from typing import Any

import pytest

from training.config import AdaptSettings, ConfigError, RunConfig, parse_config, read_config


def read(tmp_path: Path, text: str = "", *overrides: str) -> RunConfig:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return read_config(path, overrides=overrides)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path) == RunConfig()


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"data": {"root": "some where/ü", "workers": 0}}, id="a path"),
        pytest.param(
            {"network": {"options": {"widths": [4, 8], "stacking": "lm", "deep": {"a": 1}}}}, id="options"
        ),
        pytest.param(
            {"loss": {"binary_beta": "batch", "terms": {"lovasz": 1}, "clamp": [0.5, 2]}}, id="loss"
        ),
        pytest.param({"loss": {"binary_beta": 0.25}}, id="a number or a word"),
        pytest.param({"optimizer": {"lr": 1}, "schedule": {"monitor": "loss"}}, id="whole number as a float"),
        pytest.param({"crops": {"sampling": {"policy": "defects"}, "augment": {"flip": False}}}, id="deep"),
        pytest.param({"compute": {"threads": 2}, "tracking": {"mlflow": True}}, id="compute"),
    ],
)
def test_what_is_written_is_read_back_to_the_same_tree(tmp_path: Path, tree: dict[str, Any]) -> None:
    config = parse_config(tree, origin="test")
    assert read(tmp_path, config.to_toml()) == config
    assert read(tmp_path, config.to_toml()).digest() == config.digest()


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        pytest.param("schedule.epochs=5", "schedule.epochs", 5, id="number"),
        pytest.param("optimizer.lr = 3e-4", "optimizer.lr", 3e-4, id="spaces"),
        pytest.param("crops.augment.flip=false", "crops.augment.flip", False, id="truth"),
        pytest.param("name=line 4", "name", "line 4", id="a bare word is text"),
        pytest.param("data.root=/some/where", "data.root", Path("/some/where"), id="a path"),
        pytest.param("network.options.widths=[4, 8]", "network.options", {"widths": [4, 8]}, id="a list"),
        pytest.param("name=a=b", "name", "a=b", id="the first equals sign counts"),
    ],
)
def test_an_override_is_laid_over_the_file(tmp_path: Path, override: str, path: str, value: object) -> None:
    found: Any = read(tmp_path, 'name = "before"\n[schedule]\nepochs = 2\n', override)
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


def test_the_last_override_counts_and_others_stay(tmp_path: Path) -> None:
    config = read(tmp_path, "seed = 4\n", "schedule.epochs=5", "schedule.batch_size=2", "schedule.epochs=6")
    assert (config.seed, config.schedule.epochs, config.schedule.batch_size) == (4, 6, 2)


@pytest.mark.parametrize(
    ("text", "overrides", "said"),
    [
        pytest.param(
            "[schedule]\nepoch = 3", (), "unknown key schedule.epoch; did you mean epochs?", id="near"
        ),
        pytest.param(
            "[shedule]\nepochs = 3", (), "unknown key shedule; did you mean schedule?", id="section"
        ),
        pytest.param(
            "", ["crops.augment.rotate=3"], "crops.augment.rotate; did you mean rotate_deg?", id="deep"
        ),
        pytest.param(
            "xyzzy = 1",
            (),
            "there is no such setting; Known here: adapt, artefact, compute",
            id="nothing near",
        ),
        pytest.param(
            "[schedule]\nepochs = 0", (), "schedule.epochs is 0: Input should be greater", id="range"
        ),
        pytest.param(
            "[compute]\ndevice = 'tpu'", (), "compute.device is 'tpu': .*'cpu' or 'cuda'", id="choice"
        ),
        pytest.param("schedule = 3", (), "schedule is 3", id="a value for a section"),
        pytest.param("schedule = [", (), "config.toml: no TOML", id="no TOML"),
        pytest.param("", ["epochs"], "--set epochs: expected key.path=value", id="no value"),
        pytest.param("", ["a..b=1"], "expected key.path=value", id="no key"),
        pytest.param("", ["seed.x=1", "seed.x.y=1"], "x is a value, not a section", id="below a value"),
        pytest.param(
            "[artefact]\ntile_px = 64\nhalo_px = 32",
            (),
            "artefact: a halo_px of 32 .* tile_px of 64",
            id="no core",
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_what_was_expected(
    tmp_path: Path, text: str, overrides: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, text, *overrides)


def test_every_error_of_a_file_is_told_at_once_each_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "seed = -1\n[schedule]\nepochs = 0\nepoch = 3\n")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(str(tmp_path / "config.toml")) for line in lines)


def test_a_file_that_is_not_there_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_config(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("override", "decides"),
    [
        ("data.root=/elsewhere", False),
        ("data.workers=3", False),
        ("data.cache_mb=1", False),
        ("tracking.mlflow=true", False),
        ("optimizer.lr=1e-5", True),
        ("seed=1", True),
        ("crops.augment.flip=false", True),
        ("network.options.widths=[8]", True),
    ],
)
def test_the_digest_changes_with_what_decides_the_model_and_with_nothing_else(
    tmp_path: Path, override: str, decides: bool
) -> None:
    assert (read(tmp_path, "", override).digest() != read(tmp_path).digest()) == decides


@pytest.mark.parametrize("name", ["2024", "2024-11-25", "true", "1e5", "a = b"])
def test_a_data_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    config = RunConfig().with_data(Path(name))
    assert config.data.root == Path(name)
    assert read(tmp_path, config.to_toml()) == config


@pytest.mark.parametrize(
    ("adapt", "expected"),
    [
        pytest.param({"strategy": "ewc"}, 1.0, id="ewc by itself"),
        pytest.param({"strategy": "ewc", "distill_weight": 0.0}, 0.0, id="ewc alone"),
        pytest.param({"strategy": "fine_tune"}, 0.0, id="fine-tuning rehearses"),
        pytest.param({"strategy": "fine_tune", "distill_weight": 0.5}, 0.5, id="what is said"),
    ],
)
def test_ewc_distils_where_nothing_else_is_said(adapt: dict[str, Any], expected: float) -> None:
    assert AdaptSettings.model_validate(adapt).distillation == expected
