"""The one folder that a line's models, data and runs live in, and where in it each thing is."""

import tomllib
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from data.files import write_atomically

WORKSPACE_FILE: Final = "workspace.toml"
_HEAD: Final = "# Where things are; paths are relative to this file's folder, or absolute.\n"


class WorkspaceError(ValueError):
    """A folder that is no workspace, or one whose file cannot be used; says what to do."""


class Workspace(BaseModel):
    """Paths of a workspace; each may be set in workspace.toml, relative to the folder that holds it.

    Attributes:
        datasets: snapshots of labelled data (`data.snapshots`).
        models: the model store (`model.store`).
        recipes: rules for verdicts.
        inbox: new labelled images and corrected masks, as people put them there.
        runs: training runs and their reports.
        golden: the frozen test set that no training may touch (`data.golden`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    datasets: Path = Path("datasets")
    models: Path = Path("models")
    recipes: Path = Path("recipes")
    inbox: Path = Path("inbox")
    runs: Path = Path("runs")
    golden: Path = Path("golden")

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Make the folders and workspace.toml where they are missing; what is there stays. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / WORKSPACE_FILE).exists():
            lines = [f'{name} = "{path}"\n' for name, path in cls().paths().items()]
            write_atomically(folder / WORKSPACE_FILE, "".join([_HEAD, *lines]).encode())
        workspace = cls.open(folder)
        for path in workspace.paths().values():
            path.mkdir(parents=True, exist_ok=True)
        return workspace

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The workspace in `folder`, its paths made absolute.

        Raises:
            WorkspaceError: there is none, or its file holds an unknown key or no TOML.
        """
        file = folder / WORKSPACE_FILE
        try:
            told = cls.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise WorkspaceError(
                f"{folder} is no workspace (no {WORKSPACE_FILE}); make one with `segnet init {folder}`"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise WorkspaceError(f"{file}: no TOML: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            raise WorkspaceError(
                f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}; "
                f"known here: {', '.join(cls.model_fields)}"
            ) from error
        return cls(**{name: (folder / path).resolve() for name, path in told.paths().items()})

    def paths(self) -> dict[str, Path]:
        """Each path by its name."""
        return {name: getattr(self, name) for name in type(self).model_fields}
