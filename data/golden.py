"""The golden set: test images that are frozen once, so that every candidate is judged on the very same ones."""

import hashlib
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from data.files import write_atomically
from data.layout import LabelledImage, write_layout
from data.manifest import DatasetError, Manifest
from data.pairs import files_in
from data.pixels import read_pair
from data.sources import open_dataset

SEAL_FILE: Final = "seal.json"
GOLDEN_SPLIT: Final = "test"
_NAMED_AT_MOST: Final = 3


class GoldenError(DatasetError):
    """There is no golden set, or it is not the one that was frozen; names the file where it can."""


class Golden(BaseModel):
    """What seal.json says: the manifest's digest, the count of images, and the sha256 of every file by its path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    digest: str
    images: int
    frozen_at: datetime
    files: dict[str, str]


def freeze(manifest: Manifest, *, split: str, destination: Path) -> Golden:
    """Copy one split to `destination` as its split `test`, groups and all, and seal it; whole or not at all.

    Raises:
        GoldenError: `destination` holds something. DatasetError: the split is empty, or a file cannot be read.
    """
    if has_golden(destination):
        raise GoldenError(
            f"{destination} is not empty, and a golden set stays what it is; to judge on other images, "
            "name a new folder"
        )
    chosen = manifest.split(split)

    def images() -> Iterator[LabelledImage]:
        for sample in chosen:
            _, labels = read_pair(sample, class_map=manifest.class_map)
            yield LabelledImage(
                name=sample.name,
                split=GOLDEN_SPLIT,
                content=sample.image.read_bytes(),
                labels=labels,
                origin=str(sample.image),
                group=sample.group,
            )

    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent) as beside:
        folder = Path(beside) / destination.name
        write_layout(images(), class_map=manifest.class_map, destination=folder)
        golden = Golden(
            digest=open_dataset(folder).digest(),
            images=len(chosen),
            frozen_at=datetime.now(UTC),
            files=_hash_files(folder),
        )
        write_atomically(folder / SEAL_FILE, golden.model_dump_json(indent=2).encode())
        for path in _walk(folder):
            path.chmod(0o444)
        if destination.exists():
            destination.rmdir()
        folder.rename(destination)
    return golden


def has_golden(folder: Path) -> bool:
    """Whether anything stands in the folder; what does is looked at by `find_golden`."""
    return folder.is_dir() and any(folder.iterdir())


def open_golden(folder: Path) -> Manifest:
    """The frozen images, as the one split `test`, after every file was hashed: a second for 1000 of 0.5 MB.

    Raises:
        GoldenError: nothing is frozen there, or it was changed since; names the files.
    """
    manifest = find_golden(folder)
    if manifest is None:
        raise GoldenError(
            f"{folder} holds no golden set, which candidates are judged on; "
            "`segnet init DIR --data DATA` freezes the test split of DATA"
        )
    return manifest


def find_golden(folder: Path) -> Manifest | None:
    """As `open_golden`; None where nothing stands in the folder. Raises GoldenError when it was changed."""
    if not has_golden(folder):
        return None
    seal = read_seal(folder)
    found = _hash_files(folder)
    changes = {
        "missing": seal.files.keys() - found.keys(),
        "added": found.keys() - seal.files.keys(),
        "changed": {name for name in seal.files.keys() & found.keys() if seal.files[name] != found[name]},
    }
    said = [f"{_named(names)} {what}" for what, names in changes.items() if names]
    if said:
        raise GoldenError(
            f"{folder} is not what was frozen on {seal.frozen_at:%Y-%m-%d}: {', '.join(said)}; "
            "take it from a backup, or freeze another set in a new folder"
        )
    manifest = open_dataset(folder)
    if manifest.digest() != seal.digest:
        raise GoldenError(
            f"{folder / SEAL_FILE} does not belong to the images beside it; take it from a backup"
        )
    return manifest


def read_seal(folder: Path) -> Golden:
    """What was frozen, and when, by seal.json. Raises GoldenError when it is missing or damaged."""
    path = folder / SEAL_FILE
    try:
        return Golden.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise GoldenError(
            f"{folder} has no {SEAL_FILE}, so it is no golden set; name a folder that `segnet init` froze"
        ) from error
    except ValidationError as error:
        raise GoldenError(f"{path}: damaged ({error.errors()[0]['msg']}); take it from a backup") from error


def _hash_files(folder: Path) -> dict[str, str]:
    """sha256 (hex) of every file but the seal, by its path in the folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in _walk(folder)
        if path != folder / SEAL_FILE
    }


def _walk(folder: Path) -> Iterator[Path]:
    """Every file that is not hidden, nor a file manager's."""
    yield from files_in(folder)
    for below in sorted(folder.iterdir()):
        if below.is_dir() and not below.name.startswith("."):
            yield from _walk(below)


def _named(names: set[str]) -> str:
    listed = ", ".join(sorted(names)[:_NAMED_AT_MOST])
    return listed + (f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else "")
