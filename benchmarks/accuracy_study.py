"""A study as a TOML file: one data set, recipe and budget, and the rows of a table: what is compared."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.config import RunConfig, parse_config

Tree = dict[str, Any]


class StudyError(ValueError):
    """A study that cannot be run; the message says what is wrong with which file."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Part):
    """One row of the table. change: configuration laid over the study's; group: rows that are judged against each
    other, such as those that begin from scratch."""

    name: str = Field(min_length=1)
    group: str = ""
    change: Tree = {}

    @property
    def folder(self) -> str:
        """Its name as one of a folder: letters, digits and what stands between them."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")


class Study(_Part):
    """What is compared, on what, and with how much work.

    Attributes:
        name: of the study, and of its folder.
        data: a folder below the data sets' folder.
        part_column: of its split.csv, where it says which test images show one part: intervals draw whole parts.
            Training does not look at it.
        folds: the parts that train and val show are dealt anew into as many. One run of each is judged on its fold,
            picks its best epoch on the next and trains on the others, so that each part is judged once. The data
            set's own test stays out: such a study may choose a design. Runs are judged by argmax alone.
        size_hw: (height, width) in px that every image is brought to first; None: as they are.
        scenes: the classes are what scenes are made of, none is a defect: no OK and NG, nothing to calibrate.
        seeds: one run of every row for each.
        crops: of training, for every row alike. cpu_minutes: instead of it, processor time that the training steps of
            one run may take on one thread; each row gets as many crops as fit. Exactly one of them is given.
        epochs: validations, which are not counted, at equal distances.
        base: configuration that all rows share; a row's `change` is laid over it.
        rows: [[row]] in the file, in the order of the table.
    """

    name: str = Field(pattern=r"[a-z0-9_-]+")
    data: str
    part_column: str | None = None
    folds: int | None = Field(None, ge=3)
    size_hw: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] | None = None
    scenes: bool = False
    seeds: tuple[int, ...] = Field(min_length=1)
    crops: int | None = Field(None, ge=1)
    cpu_minutes: float | None = Field(None, gt=0)
    epochs: int = Field(ge=1)
    base: Tree = {}
    rows: tuple[Row, ...] = Field(alias="row", min_length=1)

    @model_validator(mode="after")
    def _is_one_comparison(self) -> Self:
        if (self.crops is None) == (self.cpu_minutes is None):
            raise ValueError("give either crops or cpu_minutes: that is what the rows have in common")
        if self.folds is not None and (self.scenes or self.size_hw is not None):
            raise ValueError(
                "folds are dealt by the defects of the data set as it lies: leave scenes and size_hw out"
            )
        folders = [row.folder for row in self.rows]
        twice = sorted({row.name for row in self.rows if folders.count(row.folder) > 1})
        if twice:
            raise ValueError(f"rows of one name, or nearly: {', '.join(twice)}; each needs its own")
        return self

    @classmethod
    def read(cls, path: Path) -> "Study":
        """The study in a TOML file, every row's configuration checked.

        Raises:
            StudyError: no TOML, an unknown key, a row's configuration that makes none. OSError: it cannot be read.
        """
        try:
            study = cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise StudyError(f"{path}: no TOML: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "the study"
            raise StudyError(f"{path}: {key}: {first['msg'].removeprefix('Value error, ')}") from error
        for row in study.rows:
            study.config(row, seed=study.seeds[0], crops=study.epochs * 8, threads=1)
        return study

    @property
    def decides(self) -> bool:
        """Whether runs are calibrated, and judged as their files decide too."""
        return not self.scenes and self.folds is None

    @property
    def runs(self) -> tuple[tuple[int, int | None], ...]:
        """(seed, fold) of every run of a row, fold by fold: a study that was cut off has every row."""
        folds = (None,) if self.folds is None else tuple(range(self.folds))
        return tuple((seed, fold) for seed in self.seeds for fold in folds)

    @property
    def monitor(self) -> str:
        """The validation score that chooses the best epoch: over all classes of a scene, else over the defects."""
        return "mean_iou" if self.scenes else "mean_defect_iou"

    def config(self, row: Row, *, seed: int, crops: int, threads: int) -> RunConfig:
        """The configuration of one run; `crops` are rounded to whole batches in equal epochs. Raises ConfigError."""
        tree = merged(self.base, row.change)
        batch_size = tree.get("schedule", {}).get("batch_size", RunConfig().schedule.batch_size)
        steps = max(1, round(crops / self.epochs / batch_size))
        tree = merged(
            tree,
            {
                "name": row.folder,
                "seed": seed,
                "schedule": {
                    "epochs": self.epochs,
                    "crops_per_epoch": steps * batch_size,
                    "monitor": self.monitor,
                },
                "compute": {"threads": threads},
                # In the process itself, so that its processor time is all there is, and two runs fit on two cores.
                "data": {"workers": 0},
            },
        )
        return parse_config(tree, origin=f"{self.name}, row {row.name!r}")


def merged(tree: Mapping[str, Any], change: Mapping[str, Any]) -> Tree:
    """`change` laid over a nested mapping. `loss.terms` are one sum and replaced whole; a change that names the
    network starts without the old one's options, which another network does not know."""
    result = dict(tree)
    if "name" in change:
        result.pop("options", None)
    for key, value in change.items():
        section = result.get(key)
        result[key] = (
            merged(section, value)
            if isinstance(section, Mapping) and isinstance(value, Mapping) and key != "terms"
            else value
        )
    return result
