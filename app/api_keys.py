"""API keys: who may do what. The file holds their hashes alone, so that reading it lets nobody in."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

Scope = Literal["predict", "admin", "metrics"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""predict: send images, read the model and the recipes; admin: change the model; metrics: read them."""

# Names the key to people and to scanners for leaked secrets.
_PREFIX: Final = "segnet_"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class KeysError(ValueError):
    """A file of keys, or a new key, that cannot be used; no message ever holds a key."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key's name (for logs), what it allows, and the SHA-256 of the key itself in hex.

    A fast hash is enough here, because a key is 32 random bytes: there is nothing to guess.
    """

    name: str
    scopes: frozenset[Scope]
    sha256: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise KeysError(f"key name {self.name!r}: expected 1 to 64 of A-Z a-z 0-9 . _ -")
        if unknown := self.scopes.difference(SCOPES):
            raise KeysError(f"scope {', '.join(sorted(unknown))}: expected {', '.join(SCOPES)}")
        if not self.scopes:
            raise KeysError(f"key {self.name}: no scope; give at least one of {', '.join(SCOPES)}")
        if not _DIGEST.fullmatch(self.sha256):
            raise KeysError(f"key {self.name}: expected the SHA-256 of the key as 64 hexadecimal digits")

    def to_line(self) -> str:
        """Its line in the file, `name:scope,scope:sha256`, without the line's end."""
        return f"{self.name}:{','.join(sorted(self.scopes))}:{self.sha256}"

    @classmethod
    def from_line(cls, line: str) -> "ApiKey":
        """The reverse. Raises KeysError, which does not quote the line: somebody may have written the key there."""
        fields = line.strip().split(":")
        if len(fields) != 3:
            raise KeysError("expected name:scope,scope:sha256; make the line by: segnet keys new")
        name, scopes, sha256 = fields
        return cls(name, frozenset(_scope(scope.strip()) for scope in scopes.split(",")), sha256)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys of a service."""

    keys: tuple[ApiKey, ...]

    def __post_init__(self) -> None:
        names = [key.name for key in self.keys]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise KeysError(f"key {', '.join(twice)} stands there twice; remove one, or rename it")

    def find(self, presented: str) -> ApiKey | None:
        """The key whose hash fits, or None.

        Every key is compared, each in constant time, so that the time taken tells nothing of how near one came.
        """
        digest = _sha256(presented)
        found = None
        for key in self.keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found


def new_key(name: str, *, scopes: Iterable[str]) -> tuple[str, ApiKey]:
    """A fresh key, to be shown once and kept nowhere, and what of it may be kept.

    Raises:
        KeysError: an unusable name, an unknown scope, or none.
    """
    secret = _PREFIX + secrets.token_urlsafe(32)
    return secret, ApiKey(name, frozenset(map(_scope, scopes)), _sha256(secret))


def read_keys(path: Path) -> KeyRing:
    """The keys of a file: one a line; empty lines and those that begin with # are passed over.

    Raises:
        KeysError: a line that is no key, a name twice, or no key at all; says where.
        OSError: the file cannot be read.
    """
    keys = _parse(path.read_text(encoding="utf-8"), path=path)
    if not keys:
        raise KeysError(
            f"{path}: holds no key; make one by: segnet keys new NAME --scope predict --file {path}"
        )
    return _ring(keys, path=path)


def append_key(path: Path, key: ApiKey) -> None:
    """Add a key's line to a file, which is made where there is none.

    Raises:
        KeysError: a key of this name is there already, or a line of the file is no key.
        OSError: the file cannot be read or written.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    _ring((*_parse(text, path=path), key), path=path)
    # Appended, not replaced: the owner, the rights and a container's bind mount of this one file all survive.
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if text and not text.endswith("\n") else "") + key.to_line() + "\n")


def _parse(text: str, *, path: Path) -> tuple[ApiKey, ...]:
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                keys.append(ApiKey.from_line(line))
            except KeysError as error:
                raise KeysError(f"{path}, line {number}: {error}") from error
    return tuple(keys)


def _ring(keys: tuple[ApiKey, ...], *, path: Path) -> KeyRing:
    try:
        return KeyRing(keys)
    except KeysError as error:
        raise KeysError(f"{path}: {error}") from error


def _scope(name: str) -> Scope:
    for scope in SCOPES:
        if scope == name:
            return scope
    raise KeysError(f"scope {name!r}: expected {', '.join(SCOPES)}")


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
