"""Everything that decides how a model is made, as one frozen tree read from TOML.

Unknown keys are errors that name the nearest known one: a misspelt setting that is silently ignored costs a night.
"""

import difflib
import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data.dataset import CropSettings

_NOT_DECIDING: Final[Any] = {"data": {"root", "cache_mb", "workers"}, "tracking": True}


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key, what was expected and what is near."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(_Section):
    """Where images come from. root: the data set (`--data`); cache_mb: decoded pixels kept in memory (10^6 bytes);
    workers: processes that prepare crops (None: one on a CPU, up to eight for a GPU; 0: none)."""

    root: Path | None = None
    cache_mb: int = Field(2000, ge=0)
    workers: int | None = Field(None, ge=0)


class NetworkSettings(_Section):
    """Which network. name: one of `model.segmenter`; options: its keyword arguments."""

    name: str = "residual_segnet"
    options: dict[str, Any] = {}

    @property
    def structural_options(self) -> dict[str, Any]:
        """The options without those that only say how weights start: for a network whose weights are loaded."""
        return {
            name: value for name, value in self.options.items() if name not in ("encoder_weights", "prior")
        }


class LossSettings(_Section):
    """The weighted sum to be minimised.

    terms: weight by name: balanced_ce, dice, lovasz, focal, presence. class_weights: from the training split's pixel
    counts, `median_frequency`, `effective_number` or `none`; gamma: softens them, w^gamma; clamp: their range after.
    binary_beta: for two classes, the balancing factor β of the defect class: a number in (0, 1), or `batch` for
    |Y-|/|Y| of each batch; None: class_weights count.
    """

    terms: dict[str, float] = {"balanced_ce": 1.0, "dice": 0.5}
    class_weights: Literal["median_frequency", "effective_number", "none"] = "median_frequency"
    gamma: float = Field(0.5, ge=0.0, le=1.0)
    clamp: tuple[float, float] = (0.1, 10.0)
    binary_beta: float | Literal["batch"] | None = None


class OptimizerSettings(_Section):
    """AdamW with linear warm-up and a cosine to `final_lr_share` of the peak.

    lr: the peak; encoder_lr_share: the encoder's part of it, below 1 where the encoder is pretrained and the rest
    begins at random; weight_decay: on convolution kernels only; clip_norm: largest norm of the gradient (0: none);
    accumulate: batches per optimiser step; ema_decay: of the averaged weights that are validated and exported
    (0: none).
    """

    lr: float = Field(2e-3, gt=0)
    encoder_lr_share: float = Field(1.0, gt=0, le=1)
    weight_decay: float = Field(0.05, ge=0)
    warmup_steps: int = Field(100, ge=0)
    final_lr_share: float = Field(0.01, ge=0, le=1)
    clip_norm: float = Field(1.0, ge=0)
    accumulate: int = Field(1, ge=1)
    ema_decay: float = Field(0.998, ge=0, lt=1)


class ScheduleSettings(_Section):
    """How long. An epoch is `crops_per_epoch` crops, then a validation on whole images.

    monitor: the validation score that decides which epoch is best: mean_defect_iou, mean_iou or loss;
    patience: epochs without a better one before the run ends (0: never early).
    """

    epochs: int = Field(20, ge=1)
    crops_per_epoch: int = Field(2000, ge=1)
    batch_size: int = Field(8, ge=1)
    monitor: Literal["mean_defect_iou", "mean_iou", "loss"] = "mean_defect_iou"
    patience: int = Field(0, ge=0)


class AdaptSettings(_Section):
    """How a candidate goes on from the champion (`segnet retrain`; `segnet train` has none, and starts from scratch).

    strategy: `scratch`: fresh weights; `fine_tune`: the champion's; `frozen_encoder`: the champion's, and its encoder
    stays; `ewc`: the champion's, each held back as far as its answers depend on it (for when the old data are gone).
    new_share: of the crops, drawn from samples that the champion has not seen (None: evenly over all);
    ewc_lambda: strength of that hold, see `training.ewc`; distill_weight: of the divergence from the champion's
    answers (0: none; None: 1 with `ewc`, else none), softened by distill_temperature.
    """

    strategy: Literal["scratch", "fine_tune", "frozen_encoder", "ewc"] = "scratch"
    new_share: float | None = Field(None, ge=0, le=1)
    # Stronger holds cost more of the new class than they kept of the old ones (docs/experiments.md, 2026-11-27).
    ewc_lambda: float = Field(100.0, ge=0)
    distill_weight: float | None = Field(None, ge=0)
    distill_temperature: float = Field(2.0, gt=0)

    @property
    def distillation(self) -> float:
        """The weight that counts. Together with EWC it kept .48 of IoU on old classes where EWC alone kept .17, at
        no cost; beside rehearsed images it kept nothing more, and cost a sixth of the new class (the same table)."""
        if self.distill_weight is not None:
            return self.distill_weight
        return 1.0 if self.strategy == "ewc" else 0.0


class ComputeSettings(_Section):
    """On what. device: auto, cpu, cuda; precision of the forward pass: auto (bf16 where it is fast, else fp32), bf16,
    fp16 (GPU only) or fp32; threads: of one process on a CPU (None: torch's choice)."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    threads: int | None = Field(None, ge=1)


class ArtefactSettings(_Section):
    """What the model file promises. tile_px, halo_px: how larger images are cut; max_escape_rate: calibration's target,
    the share of NG images that may be called OK."""

    tile_px: int = Field(640, ge=64, multiple_of=32)
    halo_px: int = Field(96, ge=0, multiple_of=32)
    max_escape_rate: float = Field(0.05, ge=0, lt=1)

    @model_validator(mode="after")
    def _tile_has_a_core(self) -> Self:
        # Found out here, not by the export when the training is over.
        if 2 * self.halo_px >= self.tile_px:
            raise ValueError(
                f"a halo_px of {self.halo_px} on both sides leaves nothing of a tile_px of {self.tile_px}"
            )
        return self


class TrackingSettings(_Section):
    """Who else hears of it: TensorBoard always; mlflow: also MLflow, when it is installed."""

    mlflow: bool = False


class RunConfig(_Section):
    """The whole tree; every default is a choice that `configs/scratch.toml` runs with."""

    name: str = "residual-segnet"
    seed: int = Field(0, ge=0)
    data: DataSettings = DataSettings()
    crops: CropSettings = CropSettings()
    network: NetworkSettings = NetworkSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    adapt: AdaptSettings = AdaptSettings()
    compute: ComputeSettings = ComputeSettings()
    artefact: ArtefactSettings = ArtefactSettings()
    tracking: TrackingSettings = TrackingSettings()

    def to_toml(self) -> str:
        """The tree as TOML that `read_config` reads back to the same tree; what is None is left out."""
        return tomli_w.dumps(_without_none(self.model_dump(mode="json")))

    def with_data(self, root: Path) -> "RunConfig":
        """The same for another data set."""
        return self.model_copy(update={"data": self.data.model_copy(update={"root": root})})

    def deciding(self) -> dict[str, Any]:
        """What decides how the model turns out, as plain values: all but where the data lie and who listens."""
        return self.model_dump(mode="json", exclude=_NOT_DECIDING)

    def digest(self) -> str:
        """sha256 (hex) of what decides."""
        return hashlib.sha256(tomli_w.dumps(_without_none(self.deciding())).encode()).hexdigest()


def read_config(path: Path, *, overrides: Sequence[str] = ()) -> RunConfig:
    """The tree in a TOML file, with `key.path=value` overrides (`--set`) laid over it.

    Raises:
        ConfigError: no TOML, an unknown key (the nearest known one is named), or a value that does not fit.
        OSError: the file cannot be read.
    """
    try:
        tree = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no TOML: {error}") from error
    for override in overrides:
        lay_over(tree, override)
    return parse_config(tree, origin=str(path))


def parse_config(tree: Mapping[str, Any], *, origin: str) -> RunConfig:
    """A nested mapping as a tree. Raises ConfigError as `read_config` does."""
    try:
        return RunConfig.model_validate(dict(tree))
    except ValidationError as error:
        lines = [_explain(one["loc"], one["type"], one["msg"], one["input"]) for one in error.errors()]
        raise ConfigError("\n".join(f"{origin}: {line}" for line in lines)) from error


def lay_over(tree: dict[str, Any], override: str) -> None:
    """Set one `key.path=value`; the value is TOML, a bare word that is none is text. Raises ConfigError."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {override}: expected key.path=value, such as schedule.epochs=5")
    try:
        value: Any = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for part in parts[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {override}: {part} is a value, not a section")
    tree[parts[-1]] = value


def _explain(location: Sequence[int | str], kind: str, message: str, value: object) -> str:
    key = ".".join(str(part) for part in location)
    if kind == "value_error":
        return f"{key}: {message.removeprefix('Value error, ')}"
    if kind != "extra_forbidden":
        return f"{key} is {value!r}: {message}"
    known = _keys_of(location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    hint = f"did you mean {near[0]}?" if near else "there is no such setting;"
    return f"unknown key {key}; {hint} Known here: {', '.join(known)}"


def _keys_of(location: Sequence[int | str]) -> list[str]:
    """The known keys of the section at `location`."""
    section: type[BaseModel] = RunConfig
    for part in location:
        kind = section.model_fields[str(part)].annotation
        assert isinstance(kind, type), f"{part} is a section"
        section = kind
    return sorted(section.model_fields)


def _without_none(tree: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has no null: None means the default, and is left out."""
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in tree.items()
        if value is not None
    }
