"""Requests and answers of the Open Inference Protocol v2 over HTTP: a JSON object, with binary tensors behind it.

The protocol: https://github.com/kserve/open-inference-protocol (inference_rest.md), with its binary tensor data
extension. No model is known here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from app.errors import BadRequest, TooLarge
from app.tensors import InputTensor, OutputTensor, TensorSpec, read_bytes, read_json, to_buffers, to_entry

JSON_BYTES: Final = 4_000_000
"""Of one request, a million numbers: while they are parsed, for a tenth of a second or so, all others stand still."""

_Name = Annotated[str, Field(max_length=80)]
_Side = Annotated[int, Field(ge=1, strict=True)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True)


class _InputParameters(_Wire):
    """Unknown ones are refused: who asks for shared memory must not be answered as if there were any."""

    model_config = ConfigDict(extra="forbid")

    binary_data_size: int | None = Field(None, ge=0, strict=True)


class _OutputParameters(_Wire):
    """Unknown ones are refused, as above."""

    model_config = ConfigDict(extra="forbid")

    binary_data: bool | None = Field(None, strict=True)


class _Parameters(_Wire):
    """`timeout` is in µs. Others, such as a priority, are hints that a server may pass over."""

    binary_data_output: bool = Field(False, strict=True)
    timeout: int | None = Field(None, gt=0, strict=True)


class _Input(_Wire):
    name: _Name
    shape: tuple[_Side, ...] = Field(min_length=1, max_length=8)
    datatype: _Name
    parameters: _InputParameters = _InputParameters()
    data: list[Any] | None = None


class _Output(_Wire):
    name: _Name
    parameters: _OutputParameters = _OutputParameters()


class _Message(_Wire):
    id: str | None = None
    parameters: _Parameters = _Parameters()
    inputs: tuple[_Input, ...]
    outputs: tuple[_Output, ...] = ()


@dataclass(frozen=True, eq=False)
class Call:
    """What a client asks for.

    Attributes:
        id: to be said again in the answer.
        inputs: by name.
        outputs: names asked for, in order, and whether each comes as bytes; empty: all.
        binary_by_default: whether those not named come as bytes.
        timeout_s: how long the client would wait.
    """

    id: str | None
    inputs: dict[str, InputTensor]
    outputs: dict[str, bool]
    binary_by_default: bool
    timeout_s: float | None


@dataclass(frozen=True)
class Answer:
    """A body; its first `json_bytes` are JSON, None for all of it."""

    body: bytes
    json_bytes: int | None


def read_call(body: bytes, *, json_bytes: str | None) -> Call:
    """Take a request apart; `json_bytes` is its header Inference-Header-Content-Length, if it has one.

    It may take tenths of a second: call it in a thread.

    Raises:
        BadRequest: not of the form the protocol describes, or a tensor that its shape or datatype belies.
        TooLarge: more JSON than is taken.
    """
    split = _json_length(body, header=json_bytes)
    message = _parse(body[:split])
    _check_distinct([given.name for given in message.inputs], what="inputs")
    _check_distinct([wanted.name for wanted in message.outputs], what="outputs")
    default, timeout_us = message.parameters.binary_data_output, message.parameters.timeout
    asked = {wanted.name: wanted.parameters.binary_data for wanted in message.outputs}
    return Call(
        id=message.id,
        inputs={
            tensor.spec.name: tensor for tensor in _read(message.inputs, content=memoryview(body)[split:])
        },
        outputs={name: default if is_binary is None else is_binary for name, is_binary in asked.items()},
        binary_by_default=default,
        timeout_s=None if timeout_us is None else timeout_us / 1e6,
    )


def write_answer(head: dict[str, Any], *, outputs: Sequence[OutputTensor]) -> Answer:
    """An answer of the head's fields and these tensors. Call it in a thread."""
    text = to_json(head)[:-1] + b',"outputs":[' + b",".join(map(to_entry, outputs)) + b"]}"
    binary = [output for output in outputs if output.is_binary]
    if not binary:
        return Answer(text, json_bytes=None)
    buffers = [buffer for output in binary for buffer in to_buffers(output)]
    return Answer(b"".join([text, *buffers]), json_bytes=len(text))


def _json_length(body: bytes, *, header: str | None) -> int:
    if header is None:
        length = len(body)
    elif header.isdecimal() and len(header) <= 20 and int(header) <= len(body):
        length = int(header)
    else:
        raise BadRequest(
            f"Inference-Header-Content-Length {header[:40]!r}: expected how many of the body's {len(body)} bytes "
            "are JSON"
        )
    if length > JSON_BYTES:
        raise TooLarge(
            f"{length / 1e6:.1f} MB of JSON are more than the limit of {JSON_BYTES / 1e6:g} MB; send tensors as "
            "binary data (binary_data_size)"
        )
    return length


def _parse(text: bytes) -> _Message:
    try:
        return _Message.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part)[:80] for part in first["loc"]) or "the JSON object"
        said = "not known here; leave it out" if first["type"] == "extra_forbidden" else first["msg"]
        raise BadRequest(f"{where}: {said}") from error


def _check_distinct(names: Sequence[str], *, what: str) -> None:
    if len(set(names)) < len(names):
        raise BadRequest(f"{what} {', '.join(names)[:200]}: each may be there once")


def _read(inputs: Sequence[_Input], *, content: memoryview) -> Iterator[InputTensor]:
    """Each input; those that are binary take their bytes from `content`, one after another."""
    for given in inputs:
        spec = TensorSpec(given.name, datatype=given.datatype, shape=given.shape)
        size = given.parameters.binary_data_size
        if given.data is not None and size is None:
            yield read_json(spec, given.data)
        elif given.data is None and size is not None:
            yield read_bytes(spec, content[:size])
            content = content[size:]
        else:
            raise BadRequest(f"{given.name!r}: expected either data or the parameter binary_data_size")
    if content:
        raise BadRequest(f"{len(content)} bytes at the end of the body belong to no input")
