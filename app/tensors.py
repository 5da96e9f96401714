"""Tensors of the Open Inference Protocol v2, between NumPy and the wire: numbers in JSON, or plain bytes.

As bytes they are little-endian and row-major; each element of the datatype BYTES has its length before it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from app.errors import BadRequest, TooLarge

BYTES: Final = "BYTES"
"""The datatype of elements of any length, such as files."""

MAX_BATCH: Final = 1024
"""Images, or files, of one request: each costs memory and time, however small it is."""

JSON_VALUES: Final = 1 << 20
"""Numbers of one answer in JSON: twenty bytes each, and all of the interpreter for as long as they are written."""

_CHUNK_VALUES: Final = 1 << 13
_LENGTH_BYTES: Final = 4
_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}
_JSON_KINDS: Final = {"UINT8": "iu", "FP32": "iuf"}
"""Kinds of NumPy that numbers in JSON may have: no fraction becomes a whole number, no truth or text a number."""


@dataclass(frozen=True)
class TensorSpec:
    """What is said of a tensor beside its values.

    Raises:
        BadRequest: a datatype that is not known here.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        known = (*_DTYPES, BYTES)
        if self.datatype not in known:
            raise BadRequest(f"{self.name!r}: datatype {self.datatype!r}; expected one of {', '.join(known)}")

    @property
    def count(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """What its numbers take as bytes."""
        return self.count * _DTYPES[self.datatype].itemsize


@dataclass(frozen=True, eq=False)
class InputTensor:
    """One tensor of a request: uint8, float32, or objects (bytes) for BYTES, of the spec's shape. Read-only."""

    spec: TensorSpec
    values: NDArray[Any]


@dataclass(frozen=True, eq=False)
class OutputTensor:
    """One tensor of an answer; `parts` are its slices along the first axis, so that none needs to be stacked."""

    spec: TensorSpec
    parts: Sequence[NDArray[Any]]
    is_binary: bool


def read_json(spec: TensorSpec, data: list[Any]) -> InputTensor:
    """A tensor from numbers in JSON, flat or nested.

    Raises:
        BadRequest: too many or too few, or none of the datatype.
    """
    if spec.datatype == BYTES:
        raise BadRequest(f"{spec.name!r}: BYTES cannot be told in JSON; send them as binary data")
    try:
        values = np.array(data)
    except ValueError as error:
        raise BadRequest(
            f"{spec.name!r}: its data is no array; rows differ in length, or in depth"
        ) from error
    if values.size != spec.count:
        raise _wrong_size(spec, got=f"{values.size} values")
    is_byte = spec.datatype == "UINT8"
    if values.dtype.kind not in _JSON_KINDS[spec.datatype] or (
        is_byte and not 0 <= values.min() <= values.max() <= 255
    ):
        expected = "whole numbers of 0 to 255" if is_byte else "numbers"
        raise BadRequest(f"{spec.name!r}: expected {expected}, as {spec.datatype} tells")
    with np.errstate(over="ignore"):  # what is too large for a float32 becomes infinite
        return InputTensor(spec, values.astype(_DTYPES[spec.datatype]).reshape(spec.shape))


def read_bytes(spec: TensorSpec, content: memoryview) -> InputTensor:
    """A tensor from bytes; its numbers are a view of them.

    Raises:
        BadRequest: too many or too few.
        TooLarge: too many elements of the datatype BYTES.
    """
    if spec.datatype == BYTES:
        if spec.count > MAX_BATCH:
            raise TooLarge(f"{spec.name!r}: {spec.count} elements are more than the limit of {MAX_BATCH}")
        elements = np.empty(spec.count, dtype=object)
        elements[:] = list(_elements(spec, content))
        return InputTensor(spec, elements.reshape(spec.shape))
    if len(content) != spec.size_bytes:
        raise _wrong_size(spec, got=f"{len(content)} bytes, not {spec.size_bytes}")
    return InputTensor(spec, np.frombuffer(content, _DTYPES[spec.datatype]).reshape(spec.shape))


def to_entry(output: OutputTensor) -> bytes:
    """A tensor in the JSON of an answer: with its numbers, or with how many bytes behind the JSON are its own."""
    spec = output.spec
    facts: dict[str, Any] = {"name": spec.name, "shape": spec.shape, "datatype": spec.datatype}
    if output.is_binary:
        return to_json(facts | {"parameters": {"binary_data_size": spec.size_bytes}})
    return to_json(facts)[:-1] + b',"data":[' + b",".join(_numbers(output)) + b"]}"


def to_buffers(output: OutputTensor) -> Iterator[memoryview]:
    """The bytes of a tensor, part by part."""
    for part in output.parts:
        yield np.ascontiguousarray(part, dtype=_DTYPES[output.spec.datatype]).data


def _elements(spec: TensorSpec, content: memoryview) -> Iterator[bytes]:
    at = 0
    for _ in range(spec.count):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(content[at:begin], "little")
        if at > len(content):
            raise _wrong_size(spec, got=f"{len(content)} bytes, which end within one of them")
        yield bytes(content[begin:at])
    if at < len(content):
        raise _wrong_size(spec, got=f"{len(content) - at} bytes beyond them")


def _wrong_size(spec: TensorSpec, *, got: str) -> BadRequest:
    return BadRequest(f"{spec.name!r} of shape {list(spec.shape)} has {spec.count} values; got {got}")


def _numbers(output: OutputTensor) -> Iterator[bytes]:
    """The numbers as JSON, some at a time: a long list in one go would stall every other request."""
    for part in output.parts:
        flat = part.ravel()
        for start in range(0, flat.size, _CHUNK_VALUES):
            yield to_json(flat[start : start + _CHUNK_VALUES].tolist())[1:-1]
