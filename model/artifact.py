"""Open a model file: check that it is one of ours, read its contract, and give it a name by its content.

An ONNX file is a protobuf message. What is needed of it here are its top-level fields alone, so a walk over
them does: no onnx package in the service, and a contract is read in milliseconds without building a session.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from model.contract import FORMAT, METADATA_KEY, Contract

#: Field numbers of onnx.ModelProto, and of its StringStringEntryProto.
_GRAPH: Final = 7
_METADATA: Final = 14
_KEY: Final = 1
_VALUE: Final = 2

#: Protobuf wire types.
_VARINT: Final = 0
_FIXED64: Final = 1
_DELIMITED: Final = 2
_FIXED32: Final = 5

_SHOWN_CHARACTERS: Final = 12


class ArtifactError(ValueError):
    """The file is no model this program can run; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Artifact:
    """A model file, read whole.

    Attributes:
        path: where it was read; None when it came as bytes.
        model_bytes: the ONNX file, as an inference session takes it.
        contract: its promise.
        digest: sha256 (hex) of all but the metadata: equal digests compute the same, decision included.
    """

    path: Path | None
    model_bytes: bytes
    contract: Contract
    digest: str

    @property
    def short_digest(self) -> str:
        """The digest as people read it aloud: its first 12 characters."""
        return self.digest[:_SHOWN_CHARACTERS]


def open_artifact(source: Path | bytes) -> Artifact:
    """Read and check a model file.

    Raises:
        ArtifactError: it is no ONNX file, is cut off, carries no contract, a broken one or one of another
            format, or its graph is not the one the contract was stamped on.
        OSError: it cannot be read.
    """
    path, contents = (None, source) if isinstance(source, bytes) else (source, source.read_bytes())
    name = "the model" if path is None else str(path)
    try:
        metadata, digest = _read(contents)
    except _WireError as error:
        raise ArtifactError(
            f"{name}: no ONNX file, or one that was cut off ({error}); "
            "expected what `segnet export` wrote: copy it again, or export it anew"
        ) from error
    stamped = metadata.get(METADATA_KEY)
    if stamped is None:
        raise ArtifactError(
            f"{name}: an ONNX file without a contract (no metadata {METADATA_KEY!r}); "
            "expected a model written by `segnet export`"
        )
    contract = _parse(stamped, name=name)
    if contract.graph_sha256 and contract.graph_sha256 != digest:
        raise ArtifactError(
            f"{name}: the graph (sha256 {digest[:_SHOWN_CHARACTERS]}...) is not the one its contract was "
            f"stamped on ({contract.graph_sha256[:_SHOWN_CHARACTERS]}...): the file was damaged or edited; "
            "copy it again, or export it anew"
        )
    return Artifact(path=path, model_bytes=contents, contract=contract, digest=digest)


def graph_digest(contents: bytes) -> str:
    """sha256 (hex) of an ONNX file's bytes without its metadata, for the writer.

    Raises:
        ArtifactError: the bytes are no ONNX file.
    """
    try:
        return _read(contents)[1]
    except _WireError as error:
        raise ArtifactError(f"no ONNX file, or one that was cut off ({error})") from error


def _parse(stamped: bytes, *, name: str) -> Contract:
    """The contract of a file called `name`; a wrong format is told apart from a broken contract."""
    try:
        return Contract.model_validate_json(stamped)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
    for problem in problems:
        if problem["loc"] == ("format",):
            raise ArtifactError(
                f"{name}: its contract has format {problem['input']!r}, this program reads format {FORMAT}; "
                "use the version that wrote the file, or export it anew with this one"
            )
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    raise ArtifactError(
        f"{name}: its contract does not hold together ({where}: {first['msg']}); export the model anew"
    )


class _WireError(ValueError):
    """The bytes are no protobuf message of the expected kind."""


def _read(contents: bytes) -> tuple[dict[str, bytes], str]:
    """Metadata by key, and the sha256 (hex) of everything else.

    Metadata is told from the rest as it comes, so the digest does not depend on how many entries there are or
    where they stand.
    """
    whole = memoryview(contents)
    metadata: dict[str, bytes] = {}
    digest = hashlib.sha256()
    has_graph = False
    for number, field, payload in _fields(whole):
        if number == _METADATA:
            entry = {at: bytes(value) for at, _, value in _fields(payload)}
            metadata[entry.get(_KEY, b"").decode(errors="replace")] = entry.get(_VALUE, b"")
            continue
        has_graph = has_graph or number == _GRAPH
        digest.update(field)
    if not has_graph:
        raise _WireError("it holds no graph")
    return metadata, digest.hexdigest()


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """(field number, its bytes with tag, its payload) of a protobuf message, in order."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _varint(message, at)
        wire_type = tag & 7
        size = 0
        if wire_type == _VARINT:
            _, end = _varint(message, at)
            size = end - at
        elif wire_type == _DELIMITED:
            size, at = _varint(message, at)
        elif wire_type in (_FIXED64, _FIXED32):
            size = 8 if wire_type == _FIXED64 else 4
        else:
            raise _WireError(f"wire type {wire_type} at byte {start}")
        if at + size > len(message):
            raise _WireError(f"{at + size - len(message)} bytes are missing")
        yield tag >> 3, message[start : at + size], message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at byte `at`, seven bits a byte, and where the next thing begins."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise _WireError("it ends within a number")
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise _WireError("a number of more than ten bytes")
