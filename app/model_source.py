"""Where the service's model comes from: one file, or whichever version of a model store is champion."""

import logging
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from model.locate import is_in_store, open_store
from model.store import STORE_SCHEME, ModelStore, StoreConflict, Version

_log: Final = logging.getLogger(__name__)


class NoModelYet(ValueError):
    """There is nothing to serve; there may be later."""


@dataclass(frozen=True)
class Offer:
    """A model that could be served.

    Attributes:
        path: its file.
        mark: another one for another model, or for the same file written anew.
        version: of the store; None for a file.
    """

    path: Path
    mark: object
    version: Version | None = None

    def __str__(self) -> str:
        """As the log has it."""
        return str(self.path) if self.version is None else self.version.label


class ModelSource(Protocol):
    """What offers models. Its methods read and write files: call them in a thread."""

    def look(self) -> Offer:
        """What should be served now; costs little.

        Raises:
            NoModelYet: nothing so far.
            OSError, StoreError, LogError: it cannot be told.
        """
        ...

    def stand_in(self, offer: Offer) -> Offer | None:
        """What to serve when this offer is no good from the start. Raises as `look`."""
        ...

    def reject(self, offer: Offer, *, reason: str) -> None:
        """Hear that an offer is no good, while another one works here; raises nothing that can be expected."""
        ...


@dataclass(frozen=True)
class FileSource:
    """One file, which may be replaced."""

    path: Path

    def look(self) -> Offer:
        """The file as it is."""
        facts = self.path.stat()
        return Offer(self.path, mark=(facts.st_ino, facts.st_size, facts.st_mtime_ns))

    def stand_in(self, offer: Offer) -> None:
        """There is no other."""

    def reject(self, offer: Offer, *, reason: str) -> None:
        """The file is whoever wrote it to deal with."""


@dataclass(frozen=True)
class StoreSource:
    """A version of a store: the champion, whoever that is, or any other reference such as v3."""

    store: ModelStore
    ref: str

    def look(self) -> Offer:
        """The version that the reference means now."""
        history = self.store.read()
        if self._is_champion and history.champion is None:
            raise NoModelYet("the model store has no champion yet; promote a version: segnet models promote")
        return self._offer(history.resolve(self.ref))

    def stand_in(self, offer: Offer) -> Offer | None:
        """The champion before it; for a fixed version none."""
        champions = self.store.read().champions if self._is_champion else ()
        others = [version for version in champions if version != offer.version]
        return self._offer(others[-1]) if others else None

    def reject(self, offer: Offer, *, reason: str) -> None:
        """Roll the store back, unless another one is champion by now; where it cannot be written, warn."""
        if not self._is_champion or offer.version is None:
            return
        by = f"service {platform.node()}:{os.getpid()}"
        try:
            self.store.roll_back(by=by, reason=reason, expected_champion=offer.version)
        except StoreConflict as conflict:
            _log.info("the store was not rolled back: %s", conflict)
        except (ValueError, OSError) as error:
            _log.warning(
                "the store was not rolled back, and %s is champion still (%s); roll it back by hand: "
                "segnet models rollback",
                offer,
                error,
            )
        else:
            _log.warning("the store was rolled back from %s: %s", offer, reason)

    @property
    def _is_champion(self) -> bool:
        return self.ref.removeprefix(STORE_SCHEME) == "champion"

    def _offer(self, version: Version) -> Offer:
        return Offer(self.store.model_path(version), mark=version.file_sha256, version=version)


def open_source(model: str | Path, *, store: Path | None) -> ModelSource:
    """The source of a model that is told as a path or as `store://REF`. Raises StoreError without its store."""
    if is_in_store(model):
        return StoreSource(open_store(store, wanted=str(model)), ref=str(model))
    return FileSource(Path(model))
