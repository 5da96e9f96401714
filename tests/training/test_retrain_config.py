"""A candidate is trained as the champion was, but for what retraining changes."""

from pathlib import Path

import pytest

from training.config import ConfigError, RunConfig, parse_config
from training.gate.settings import GateSettings
from training.retrain_config import RETRAIN_FILE, candidate_config, read_overlay

CHAMPION = parse_config(
    {
        "name": "tiles",
        "network": {"options": {"widths": [4, 8]}},
        "optimizer": {"lr": 0.002, "weight_decay": 0.25},
        "schedule": {"epochs": 60, "crops_per_epoch": 4000},
        "adapt": {"strategy": "ewc", "ewc_lambda": 7.0},
    },
    origin="a test",
)
OVERLAY = {
    "adapt": {"strategy": "fine_tune", "new_share": 0.5},
    "optimizer": {"lr": 0.001},
    "schedule": {"epochs": 6},
}


@pytest.fixture
def champion(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CHAMPION.to_toml())
    return path


def settings_of(config: RunConfig) -> dict[str, object]:
    """What tells how it was laid over."""
    return {
        "strategy": config.adapt.strategy,
        "lr": config.optimizer.lr,
        "weight_decay": config.optimizer.weight_decay,
        "epochs": config.schedule.epochs,
        "crops_per_epoch": config.schedule.crops_per_epoch,
    }


@pytest.mark.parametrize(
    ("strategy", "overrides", "expected"),
    [
        pytest.param(None, (), ("fine_tune", 0.001, 0.25, 6, 4000), id="key by key over the champion's"),
        pytest.param("ewc", (), ("ewc", 0.001, 0.25, 6, 4000), id="the strategy asked for before the overlay's"),
        pytest.param(
            "scratch", (), ("scratch", 0.002, 0.25, 60, 4000), id="from scratch there is everything to learn"
        ),
        pytest.param(
            None, ("schedule.epochs=2",), ("fine_tune", 0.001, 0.25, 2, 4000), id="what is set by hand over all"
        ),
        pytest.param(
            "scratch", ("schedule.epochs=2",), ("scratch", 0.002, 0.25, 2, 4000), id="and from scratch as well"
        ),
    ],
)  # fmt: skip
def test_what_retraining_changes_is_laid(
    champion: Path, strategy: str | None, overrides: tuple[str, ...], expected: tuple[object, ...]
) -> None:
    config = candidate_config(champion, overlay=OVERLAY, strategy=strategy, overrides=overrides)
    assert tuple(settings_of(config).values()) == expected
    assert (config.name, config.network) == (CHAMPION.name, CHAMPION.network)


def test_how_the_champion_itself_went_on_from_another_is_not_inherited(champion: Path) -> None:
    config = candidate_config(champion, overlay=OVERLAY, strategy=None)
    assert config.adapt.ewc_lambda == RunConfig().adapt.ewc_lambda
    assert config.adapt.new_share == 0.5


def test_laid_over_its_own_result_nothing_changes(champion: Path) -> None:
    once = candidate_config(champion, overlay=OVERLAY, strategy="ewc", overrides=("seed=3",))
    champion.write_text(once.to_toml())
    twice = candidate_config(champion, overlay=OVERLAY, strategy="ewc", overrides=("seed=3",))
    assert twice.digest() == once.digest()


@pytest.mark.parametrize(
    ("overlay", "overrides", "told"),
    [
        ({"shedule": {"epochs": 2}}, (), "unknown key shedule; did you mean schedule?"),
        ({"adapt": {"new_shares": 0.1}}, (), r"unknown key adapt\.new_shares; did you mean new_share\?"),
        ({"adapt": {"strategy": "guess"}}, (), r"adapt\.strategy is 'guess'"),
        ({}, ("schedule.epochs",), "expected key.path=value"),
    ],
    ids=["section", "key", "value", "override"],
)  # fmt: skip
def test_a_setting_that_is_none_is_named(
    champion: Path, overlay: dict[str, object], overrides: tuple[str, ...], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        candidate_config(champion, overlay=overlay, strategy=None, overrides=overrides)


def test_an_overlay_says_what_is_trained_and_what_the_gate_asks(tmp_path: Path) -> None:
    path = tmp_path / RETRAIN_FILE
    path.write_text("[schedule]\nepochs = 3\n[gate]\nmax_latency_ratio = 2.0\n")
    assert read_overlay(path) == ({"schedule": {"epochs": 3}}, GateSettings(max_latency_ratio=2.0))
    path.write_text("[schedule]\nepochs = 3\n")
    assert read_overlay(path) == ({"schedule": {"epochs": 3}}, GateSettings())


def test_the_template_of_a_workspace_can_be_read(repository: Path, champion: Path) -> None:
    overlay, gate = read_overlay(repository / "configs" / RETRAIN_FILE)
    assert gate == GateSettings()
    assert candidate_config(champion, overlay=overlay, strategy=None).adapt.strategy == "fine_tune"


def test_a_candidate_goes_on_from_the_champion_where_nobody_says_how_it_starts(champion: Path) -> None:
    config = candidate_config(champion, overlay={"schedule": {"epochs": 3}}, strategy=None)
    assert (config.adapt.strategy, config.schedule.epochs) == ("fine_tune", 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"[schedule", "no TOML"),
        (b"name = '\xff'", "no TOML"),
        (b"[gate]\nescape_margins = 1", r"gate\.escape_margins: .* known there: escape_margin, "),
        (b"[gate]\nmax_latency_ratio = 0.5", r"gate\.max_latency_ratio: .*greater than or equal to 1"),
        (b"gate = 3", "gate: "),
    ],
    ids=["cut off", "not UTF-8", "unknown key of the gate", "value of the gate", "no table"],
)  # fmt: skip
def test_an_overlay_that_cannot_be_used_is_named_with_what_is_wrong(
    tmp_path: Path, text: bytes, told: str
) -> None:
    path = tmp_path / RETRAIN_FILE
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=rf"retrain\.toml: {told}"):
        read_overlay(path)
