"""How a candidate is trained: the champion's own configuration, with what retraining changes laid over it."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from training.config import ConfigError, RunConfig, lay_over, parse_config
from training.gate.settings import GateSettings

#: In a workspace: the settings that its retraining lays over the champion's.
RETRAIN_FILE: Final = "retrain.toml"
#: In a candidate's folder: the configuration that the line's first champion was trained with. It goes from champion to
#: champion, so that what one retraining lays over it is not there for the next.
BASE_FILE: Final = "base.toml"


def read_overlay(path: Path) -> tuple[dict[str, Any], GateSettings]:
    """The tables of a retrain.toml: what is laid over the champion's configuration, and [gate].

    Raises:
        ConfigError: no TOML, or no settings of the gate. OSError: it cannot be read.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
        gate = GateSettings.model_validate(tree.pop("gate", {}))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, ("gate", *first["loc"])))
        known = ", ".join(GateSettings.model_fields)
        raise ConfigError(f"{path}: {key}: {first['msg']}; known there: {known}") from error
    return tree, gate


def candidate_config(
    champion: Path,
    *,
    overlay: Mapping[str, Any],
    strategy: str | None,
    overrides: Sequence[str] = (),
) -> RunConfig:
    """The configuration of a candidate.

    Args:
        champion: base.toml of the champion, or config.toml of the first one; its network, crops and loss stay.
        overlay: settings that retraining changes, such as [schedule] and [optimizer]; a network trained from scratch
            keeps the champion's own, as it has everything to learn again.
        strategy: of `training.config.AdaptSettings`; None: the overlay's, or fine_tune.
        overrides: `key.path=value`, laid over all.

    Raises:
        ConfigError: an unknown key, or a value that does not fit.
    """
    tree = tomllib.loads(champion.read_text(encoding="utf-8"))
    adapt = {"strategy": "fine_tune", **overlay.get("adapt", {})}
    if strategy is not None:
        adapt["strategy"] = strategy
    tree["adapt"] = adapt
    if adapt.get("strategy") != "scratch":
        for name, section in overlay.items():
            if name != "adapt":
                tree[name] = {**tree.get(name, {}), **section} if isinstance(section, dict) else section
    for override in overrides:
        lay_over(tree, override)
    return parse_config(tree, origin="the configuration of the retraining")
