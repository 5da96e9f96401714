"""What the model store knows: versions, what happened to them, and who is champion after all that.

One list of events is the truth. Which versions there are and which one serves is a fold over it, so nothing can
contradict the history.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue, ValidationError

STORE_SCHEME: Final = "store://"
"""What a reference to the store's versions may begin with, where a path to a file might stand as well."""

_FROZEN: Final = ConfigDict(frozen=True, extra="forbid")
_NUMBER: Final = re.compile(r"v?([0-9]+)")
_DIGEST_PREFIX: Final = re.compile(r"[0-9a-f]{6,64}")

Kind = Literal["added", "promoted", "refused", "rolled_back", "removed"]


class StoreError(ValueError):
    """The store has no such version, or cannot do this with it; says what there is."""


class StoreConflict(StoreError):
    """Somebody else changed the champion in between; names who it is now."""


class Parents(BaseModel):
    """What a version was made from, as far as it is known.

    Attributes:
        champion: digest of the model it was trained from. snapshot: digest of the labelled data.
        strategy: how, such as `fine_tune`. run: name of the training run.
    """

    model_config = _FROZEN

    champion: str | None = None
    snapshot: str | None = None
    strategy: str | None = None
    run: str | None = None


class Version(BaseModel):
    """One model file that was put into the store; it never changes.

    Attributes:
        number: 1, 2, … in the order of adding; never given twice. digest: the artefact's, as the service tells it.
        file_sha256: of the whole file, contract included: what makes it this version. name: the contract's.
        added_at, by: when and by whom. attachments: names of the files kept beside the model.
    """

    model_config = _FROZEN

    number: int
    digest: str
    file_sha256: str
    name: str
    added_at: AwareDatetime
    by: str
    parents: Parents
    attachments: tuple[str, ...]

    @property
    def label(self) -> str:
        """As people say it: v3."""
        return f"v{self.number}"


class Event(BaseModel):
    """One thing that happened.

    Attributes:
        version: the number of the version it happened to; of a roll-back, the one that lost its place.
        by, reason: who did it and why. forced: against the gate's verdict.
        numbers: what the decision rests on. record: of an added version, all about it; else None.
    """

    model_config = _FROZEN

    at: AwareDatetime
    kind: Kind
    version: int
    by: str
    reason: str
    forced: bool = False
    numbers: dict[str, JsonValue] = {}
    record: Version | None = None


@dataclass(frozen=True, kw_only=True)
class History:
    """All that happened, and what follows from it.

    Attributes:
        events: oldest first.
        versions: those there are, oldest first.
        champions: a stack: promotion pushes, roll-back pops, the last one serves. It holds nothing at or below a
            version that was removed: nobody can go back through it.
        open_candidates: versions that were neither promoted nor refused yet, oldest first.
    """

    events: tuple[Event, ...]
    versions: tuple[Version, ...]
    champions: tuple[Version, ...]
    open_candidates: tuple[Version, ...]

    @classmethod
    def fold(cls, entries: Iterable[Mapping[str, Any]]) -> "History":
        """What the lines of a history mean. Raises StoreError for one that makes no sense, with its number."""
        events: list[Event] = []
        versions: dict[int, Version] = {}
        champions: list[int] = []
        open_numbers: list[int] = []
        for line, entry in enumerate(entries, start=1):
            event = _event(entry, line=line)
            number = event.version
            if event.kind == "added":
                if event.record is None or event.record.number != number or number in versions:
                    _damaged(line, f"v{number} is added without its record, or twice")
                versions[number] = event.record
                open_numbers.append(number)
            elif number not in versions:
                _damaged(line, f"{event.kind} v{number}, which is not there")
            elif event.kind == "promoted":
                champions.append(number)
            elif event.kind == "rolled_back":
                if len(champions) < 2 or champions.pop() != number:
                    _damaged(line, f"v{number} is rolled back, but is no champion with one before it")
            elif event.kind == "removed":
                del versions[number]
                while number in champions:
                    del champions[: champions.index(number) + 1]
            if event.kind != "added" and number in open_numbers:
                open_numbers.remove(number)
            events.append(event)
        return cls(
            events=tuple(events),
            versions=tuple(versions.values()),
            champions=tuple(versions[number] for number in champions),
            open_candidates=tuple(versions[number] for number in open_numbers),
        )

    @property
    def champion(self) -> Version | None:
        """The version that serves."""
        return self.champions[-1] if self.champions else None

    @property
    def previous(self) -> Version | None:
        """The version that serves after a roll-back."""
        return self.champions[-2] if len(self.champions) > 1 else None

    @property
    def candidate(self) -> Version | None:
        """The newest version that was neither promoted nor refused."""
        return self.open_candidates[-1] if self.open_candidates else None

    @property
    def aliases(self) -> dict[str, Version]:
        """The names that stand for a version now."""
        named = {"champion": self.champion, "previous": self.previous, "candidate": self.candidate}
        return {name: version for name, version in named.items() if version is not None}

    @property
    def next_number(self) -> int:
        """The number of the next version: numbers of removed ones are not used again."""
        return 1 + sum(event.kind == "added" for event in self.events)

    def resolve(self, ref: str) -> Version:
        """The version that `ref` means: an alias, v3 or 3, or six or more characters of one of its two digests.

        Each may have `store://` before it. Raises StoreError for none, or several; lists those there are.
        """
        name = ref.removeprefix(STORE_SCHEME)
        if name in self.aliases:
            return self.aliases[name]
        number = _NUMBER.fullmatch(name)
        found = [one for one in self.versions if number and one.number == int(number[1])]
        if not found and _DIGEST_PREFIX.fullmatch(name):
            found = [one for one in self.versions if _has_digest(one, name)]
        if len(found) == 1:
            return found[0]
        if found:
            said = ", ".join(one.label for one in found)
            raise StoreError(f"{ref!r} may be any of {said}; give the number, or more of file_sha256")
        raise StoreError(f"no version {ref!r} in the store; {self.known()}")

    def standing_refusal(self, version: Version) -> Event | None:
        """The event by which a version was refused, if nothing came after that."""
        last = [event for event in self.events if event.version == version.number][-1]
        return last if last.kind == "refused" else None

    def check_known(self, version: Version) -> None:
        """Raise StoreError for a version that is not there, or not any more."""
        if version not in self.versions:
            raise StoreError(f"{version.label} is not in the store; {self.known()}")

    def check_champion(self, expected: Version | None) -> None:
        """Raise StoreConflict when the champion is another one than `expected`."""
        if self.champion != expected:
            now, then = (one.label if one else "no version" for one in (self.champion, expected))
            raise StoreConflict(f"{now} is the champion by now, not {then}; look again, then decide anew")

    def known(self) -> str:
        """The references there are, as the end of an error."""
        if not self.versions:
            return "it is empty: put a model in with `segnet models add`"
        aliases = (f"{name} ({version.label})" for name, version in self.aliases.items())
        return f"there is: {', '.join([*aliases, *(version.label for version in self.versions)])}"


def _event(entry: Mapping[str, Any], *, line: int) -> Event:
    try:
        return Event.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        _damaged(line, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


def _damaged(line: int, what: str) -> NoReturn:
    raise StoreError(f"the store's history makes no sense at line {line} ({what}); take it from a backup")


def _has_digest(version: Version, prefix: str) -> bool:
    return version.digest.startswith(prefix) or version.file_sha256.startswith(prefix)
