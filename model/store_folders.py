"""The folders of a model store's versions: each appears whole and read-only, or not at all."""

import hashlib
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from data.files import write_atomically
from model.store_records import StoreError, Version

MODEL_FILE: Final = "model.onnx"
RECORD_FILE: Final = "version.json"
_INCOMING: Final = ".incoming"


class VersionFolders:
    """Folders by the sha256 of their model file, in the folder `root`; one process writes at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, version: Version) -> Path:
        """Where a version's files are."""
        return self.root / version.file_sha256

    def place(self, version: Version, *, model_bytes: bytes, attachments: Mapping[str, bytes]) -> None:
        """Write a version's files; when its folder appears, they are whole and on disk.

        A folder of the same name, left by a crash before the history told of it, is replaced.
        """
        self.discard(version)
        incoming = self.root / _INCOMING
        incoming.mkdir(parents=True)
        record = version.model_dump_json(indent=2).encode()
        for name, content in {MODEL_FILE: model_bytes, RECORD_FILE: record, **attachments}.items():
            write_atomically(incoming / name, content).chmod(0o444)
        _sync_names(incoming)
        incoming.rename(self.path(version))
        _sync_names(self.root)

    def discard(self, version: Version) -> None:
        """Remove what there may be of a version that the history does not tell of."""
        for left_over in (self.root / _INCOMING, self.path(version)):
            if left_over.exists():
                shutil.rmtree(left_over)

    def sweep(self, *, known: Collection[Version]) -> None:
        """Remove every folder that is of none of these versions."""
        kept = {self.path(version) for version in known}
        for folder in self.root.glob("*"):
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def verify(self, version: Version) -> None:
        """Hash a version's model file. Raises StoreError when it is another one, OSError when it cannot be read."""
        path = self.path(version) / MODEL_FILE
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != version.file_sha256:
            raise StoreError(
                f"{path}: sha256 {found[:12]}..., expected {version.file_sha256[:12]}...; "
                "the file was damaged: take it from a backup, or roll back"
            )


def check_names(attachments: Mapping[str, object]) -> None:
    """Raise StoreError for an attachment's name that is a path, hidden, or one of the store's own."""
    for name in attachments:
        if not name or name != Path(name).name or name.startswith(".") or name in (MODEL_FILE, RECORD_FILE):
            raise StoreError(
                f"attachment {name!r}: expected a plain file name other than {MODEL_FILE} and {RECORD_FILE}"
            )


def _sync_names(folder: Path) -> None:
    """Force to disk which names a folder holds."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
