"""All versions of a model in one folder: which one serves, which did before, and how that came about.

    ROOT/history.jsonl                        what happened: the only truth, appended to and never changed
    ROOT/versions/SHA256-OF-FILE/model.onnx   a version; version.json (its record) and attachments beside it

A version's folder is complete before the history tells of it, and is taken away only after the history told that:
so a crash at any moment leaves folders that nobody knows of, never a version without its file. Reading takes
no lock and works where nothing can be written.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from data.append_log import AppendLog, Writer
from model.artifact import open_artifact
from model.store_folders import MODEL_FILE, VersionFolders, check_names
from model.store_records import (
    STORE_SCHEME,
    Event,
    History,
    Kind,
    Parents,
    StoreConflict,
    StoreError,
    Version,
)

__all__ = [
    "STORE_SCHEME", "Event", "History", "ModelStore", "Parents", "StoreConflict", "StoreError", "Version",
]  # fmt: skip

_NO_PARENTS: Final = Parents()
_log: Final = logging.getLogger(__name__)


class ModelStore:
    """The store in the folder `root`, which need not exist before something is added.

    What is written waits up to 30 s for other writers. Raises LockedError after that, OSError where the folder
    cannot be written to or the disk is full (then nothing happened), StoreError for a damaged history.
    """

    def __init__(self, root: Path) -> None:
        self._history = root / "history.jsonl"
        self._folders = VersionFolders(root / "versions")
        self._log = AppendLog(self._history)

    def read(self) -> History:
        """Everything at one moment; the properties and methods below look anew each time."""
        return History.fold(self._log.read())

    def versions(self) -> tuple[Version, ...]:
        """Those there are, oldest first."""
        return self.read().versions

    def history(self) -> tuple[Event, ...]:
        """All that happened, oldest first."""
        return self.read().events

    @property
    def champion(self) -> Version | None:
        """The version that serves."""
        return self.read().champion

    @property
    def previous(self) -> Version | None:
        """The version that serves after a roll-back."""
        return self.read().previous

    @property
    def candidate(self) -> Version | None:
        """The newest version that was neither promoted nor refused."""
        return self.read().candidate

    def resolve(self, ref: str) -> Version:
        """See `History.resolve`."""
        return self.read().resolve(ref)

    def model_path(self, version: Version) -> Path:
        """Its model file."""
        return self._folders.path(version) / MODEL_FILE

    def attachment(self, version: Version, name: str) -> Path | None:
        """A file that was added with it; None when it has none of that name."""
        return self._folders.path(version) / name if name in version.attachments else None

    def verify(self, version: Version) -> None:
        """Hash its model file. Raises StoreError when it is not what was added; OSError when it cannot be read."""
        self._folders.verify(version)

    def add(
        self,
        model: Path,
        *,
        by: str,
        reason: str = "",
        parents: Parents = _NO_PARENTS,
        attachments: Mapping[str, Path | bytes] = {},
    ) -> Version:
        """Put a copy of a model file in, read-only, with its attachments; it becomes the candidate.

        A file that is in already stays the version it is, with the attachments it came with.

        Raises:
            ArtifactError: it is no model file. StoreError: an attachment's name cannot be used.
        """
        check_names(attachments)
        artifact = open_artifact(model)
        kept = {
            name: one if isinstance(one, bytes) else one.read_bytes() for name, one in attachments.items()
        }
        file_sha256 = hashlib.sha256(artifact.model_bytes).hexdigest()
        with self._writing() as writer:
            before = self.read()
            for known in before.versions:
                if known.file_sha256 == file_sha256:
                    _log.info("%s is in the store already, as %s", model, known.label)
                    return known
            version = Version(
                number=before.next_number,
                digest=artifact.digest,
                file_sha256=file_sha256,
                name=artifact.contract.name,
                added_at=datetime.now(UTC),
                by=by,
                parents=parents,
                attachments=tuple(kept),
            )
            try:
                self._folders.place(version, model_bytes=artifact.model_bytes, attachments=kept)
                _append(writer, "added", version, by=by, reason=reason, record=version)
            except OSError:
                # On a full disk nothing may stay; the history is asked, since its line may have gone through.
                if version not in self.versions():
                    self._folders.discard(version)
                raise
        return version

    def promote(
        self,
        version: Version,
        *,
        by: str,
        reason: str,
        expected_champion: Version | None,
        numbers: Mapping[str, JsonValue] = {},
        forced: bool = False,
    ) -> Event:
        """Make a version champion, if the champion is still the one that the decision was made against.

        Args:
            version: one that is there and is not champion.
            by, reason: who, and why.
            expected_champion: the champion it was compared with; None for a store that has none yet.
            numbers: what the decision rests on.
            forced: against the gate's verdict.

        Raises:
            StoreConflict: another one is champion by now. StoreError: it is champion already, or not there.
        """
        with self._writing() as writer:
            now = self.read()
            now.check_champion(expected_champion)
            now.check_known(version)
            if version == now.champion:
                raise StoreError(f"{version.label} is the champion already")
            return _append(
                writer, "promoted", version, by=by, reason=_said(reason), numbers=numbers, forced=forced
            )

    def refuse(
        self, version: Version, *, by: str, reason: str, numbers: Mapping[str, JsonValue] = {}
    ) -> Event:
        """Note that a version was not promoted, and why. Raises StoreError for the champion, or one not there."""
        with self._writing() as writer:
            now = self.read()
            now.check_known(version)
            if version == now.champion:
                raise StoreError(f"{version.label} is the champion and cannot be refused; roll back instead")
            return _append(writer, "refused", version, by=by, reason=_said(reason), numbers=numbers)

    def roll_back(
        self,
        *,
        by: str,
        reason: str,
        numbers: Mapping[str, JsonValue] = {},
        expected_champion: Version | None = None,
    ) -> Event:
        """Undo the last promotion that stands: the champion before it serves again.

        Args:
            by, reason, numbers: as in `promote`.
            expected_champion: the one to be rolled back; None for whoever it is.

        Raises:
            StoreConflict: another one is champion by now. StoreError: there is none to go back to.
        """
        with self._writing() as writer:
            now = self.read()
            if expected_champion is not None:
                now.check_champion(expected_champion)
            if now.champion is None or now.previous is None:
                raise StoreError(f"no champion before this one to go back to; {now.known()}")
            return _append(writer, "rolled_back", now.champion, by=by, reason=_said(reason), numbers=numbers)

    def gc(self, *, keep: int, by: str) -> tuple[Version, ...]:
        """Remove what nobody needs, and what crashes left; returns the removed versions, oldest first.

        Args:
            keep: how many champions stay, counted from the one that serves, 1 or more; what has an alias stays too.
            by: who.
        """
        if keep < 1:
            raise StoreError(f"keep {keep} champions; expected 1 or more")
        with self._writing() as writer:
            now = self.read()
            needed = {one.number for one in (*now.champions[-keep:], *now.aliases.values())}
            removed = tuple(one for one in now.versions if one.number not in needed)
            for version in removed:
                _append(writer, "removed", version, by=by, reason=f"gc, keeping {keep} champions")
            self._folders.sweep(known=self.versions())
        return removed

    @contextmanager
    def _writing(self) -> Iterator[Writer]:
        """The right to write. Raises StoreError for versions without a history: numbers would begin anew."""
        # In this order: whoever adds the first version makes the history before the folder.
        if self._folders.root.exists() and not self._history.exists():
            raise StoreError(
                f"{self._history} is missing, but {self._folders.root} is there; take it from a backup"
            )
        self._history.parent.mkdir(parents=True, exist_ok=True)
        with self._log.writing() as writer:
            yield writer


def _append(
    writer: Writer,
    kind: Kind,
    version: Version,
    *,
    by: str,
    reason: str,
    numbers: Mapping[str, JsonValue] = {},
    forced: bool = False,
    record: Version | None = None,
) -> Event:
    event = Event(
        at=datetime.now(UTC),
        kind=kind,
        version=version.number,
        by=by,
        reason=reason,
        forced=forced,
        numbers=dict(numbers),
        record=record,
    )
    writer.append(event.model_dump(mode="json", exclude_defaults=True))
    return event


def _said(reason: str) -> str:
    """The reason. Raises StoreError for an empty one: the history is there to tell why."""
    if not reason.strip():
        raise StoreError("no reason given; say why, for whoever reads the history")
    return reason
