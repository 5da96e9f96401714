"""What a model takes and gives as tensors of the Open Inference Protocol v2: images of any size, judged as one batch.

Inputs are `image`, UINT8 [batch, height, width, 3], RGB; or in its place `encoded_image`, BYTES [batch], files such as
JPEG or PNG of one size; and, if wanted, `decision_weights`, FP32 [classes], in place of the model's own.
Outputs are the fields of `model.predictor.Prediction`, with the batch as first axis.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from anyio import CapacityLimiter
from numpy.typing import NDArray
from pydantic import ValidationError

from app.engine import Engine
from app.errors import BadRequest, TooLarge, Unprocessable
from app.settings import Settings
from app.tensor_messages import Call
from app.tensors import BYTES, JSON_VALUES, MAX_BATCH, OutputTensor, TensorSpec
from app.uploads import decode
from app.worker import Judged
from data.images import Rgb
from model.contract import Contract, Decision

ANSWER_BYTES: Final = 1 << 28
"""Of one answer. The probabilities of 16 megapixels and four classes just fit."""

_IMAGE, _ENCODED, _WEIGHTS = "image", "encoded_image", "decision_weights"
_INPUTS: Final[Mapping[str, tuple[str, tuple[int, ...]]]] = {
    _IMAGE: ("UINT8", (-1, -1, -1, 3)),
    _ENCODED: (BYTES, (-1,)),
    _WEIGHTS: ("FP32", (-1,)),
}
"""Datatype and shape of each input; -1 stands for any length."""

_OUTPUTS: Final = {"labels": "UINT8", "confidence": "UINT8", "probabilities": "FP32"}


@dataclass(frozen=True)
class Limits:
    """How much one request may hold, and how many are worked on at a time.

    Attributes:
        max_pixels: of one image.
        max_batch_pixels: of several images together; more would never find room to wait.
        timeout_s: from the decoded images to their labels.
        reading, writing: threads for requests and for answers; who is nearly done waits for no newcomer.
    """

    max_pixels: int
    max_batch_pixels: int
    timeout_s: float
    reading: CapacityLimiter
    writing: CapacityLimiter

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Those of a service."""
        cores = os.cpu_count() or 1
        return cls(
            max_pixels=settings.max_pixels,
            max_batch_pixels=min(settings.max_pixels, settings.waiting_pixels),
            timeout_s=settings.request_timeout_s,
            reading=CapacityLimiter(cores),
            writing=CapacityLimiter(cores),
        )


def describe(contract: Contract) -> dict[str, Any]:
    """The model's metadata, as the protocol has it; sides of any length are -1."""
    classes = len(contract.classes)
    outputs = _output_specs(_OUTPUTS, batch=-1, size_hw=(-1, -1), classes=classes)
    return {
        "name": contract.name,
        **({} if contract.version is None else {"versions": [contract.version]}),
        "platform": "onnx_onnxv1",
        "inputs": [
            {
                "name": name,
                "datatype": datatype,
                "shape": [classes] if name == _WEIGHTS else shape,
                # The protocol has no word for it; clients pass over what they do not know.
                "parameters": {"optional": name != _IMAGE},
            }
            for name, (datatype, shape) in _INPUTS.items()
        ],
        "outputs": [asdict(spec) for spec in outputs],
    }


async def read_images(call: Call, *, limits: Limits) -> list[Rgb]:
    """The images of a request, of one size, uint8 [height, width, 3] each; encoded ones are decoded in threads.

    Raises:
        BadRequest: no image, inputs that are not known, or of another datatype or shape than `describe` tells.
        TooLarge: beyond the limits.
        UnsupportedImage, Unprocessable: of an encoded image; or those differ in size.
    """
    _check_known("input", call.inputs, known=_INPUTS)
    if (_IMAGE in call.inputs) == (_ENCODED in call.inputs):
        raise BadRequest(f"expected either the input {_IMAGE} or {_ENCODED}")
    if _IMAGE in call.inputs:
        tensor = _input(call, _IMAGE)
        _check_batch(len(tensor), size_hw=(tensor.shape[1], tensor.shape[2]), limits=limits)
        return list(tensor)
    images: list[Rgb] = []
    contents = _input(call, _ENCODED)
    for content in contents:
        image, _ = await decode(content, max_pixels=limits.max_pixels, limiter=limits.reading)
        images.append(image)
        size_hw = image.shape[0], image.shape[1]
        if image.shape != images[0].shape:
            raise Unprocessable(
                f"image {len(images)} is {size_hw[1]} x {size_hw[0]} px, the first {images[0].shape[1]} x "
                f"{images[0].shape[0]} px; the images of one tensor have one size: send others by themselves"
            )
        _check_batch(len(contents), size_hw=size_hw, limits=limits)
    return images


def read_decision(call: Call) -> Decision | None:
    """What stands in for the model's own decision. Raises BadRequest, or Unprocessable for weights that are none."""
    if _WEIGHTS not in call.inputs:
        return None
    weights = _input(call, _WEIGHTS)
    try:
        return Decision(weights=tuple(weights.tolist()))
    except ValidationError as error:
        raise Unprocessable(f"{_WEIGHTS}: {error.errors()[0]['msg']}") from error


def choose_outputs(call: Call, *, images: Sequence[Rgb], contract: Contract) -> Mapping[str, bool]:
    """The names of the outputs to send, and whether each goes as bytes.

    Raises:
        BadRequest: an output that is not known.
        TooLarge: more than one answer may hold, or more JSON.
    """
    outputs = call.outputs or dict.fromkeys(_OUTPUTS, call.binary_by_default)
    _check_known("output", outputs, known=_OUTPUTS)
    height, width = images[0].shape[:2]
    specs = _output_specs(outputs, batch=len(images), size_hw=(height, width), classes=len(contract.classes))
    answer_bytes = sum(spec.size_bytes for spec in specs)
    if answer_bytes > ANSWER_BYTES:
        raise TooLarge(
            f"the answer would be {answer_bytes / 1e6:.0f} MB, the limit is {ANSWER_BYTES / 1e6:.0f} MB; "
            "ask for fewer outputs, or send fewer images at once"
        )
    json_values = sum(spec.count for spec in specs if not outputs[spec.name])
    if json_values > JSON_VALUES:
        raise TooLarge(
            f"the answer would be {json_values} numbers as JSON, the limit is {JSON_VALUES}; "
            "ask for binary data (binary_data), or for fewer outputs"
        )
    return outputs


async def judge(
    engine: Engine,
    images: Sequence[Rgb],
    *,
    decision: Decision | None,
    want_probabilities: bool,
    timeout_s: float | None,
) -> list[Judged]:
    """Judge images by one and the same model: where another took over in between, all of them again.

    Raises:
        ServiceError: as `Engine.predict` does of the first image that fails; the others are given up.
    """
    while True:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(
                        engine.predict(
                            image,
                            decision=decision,
                            want_probabilities=want_probabilities,
                            timeout_s=timeout_s,
                        )
                    )
                    for image in images
                ]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        judged = [task.result() for task in tasks]
        if all(one.model is judged[0].model for one in judged):
            return judged


def to_outputs(judged: Sequence[Judged], *, outputs: Mapping[str, bool]) -> list[OutputTensor]:
    """The tensors of an answer, in the order they were asked for."""
    height, width = judged[0].prediction.labels.shape
    specs = _output_specs(
        outputs,
        batch=len(judged),
        size_hw=(height, width),
        classes=len(judged[0].model.contract.classes),
    )
    return [
        OutputTensor(
            spec,
            parts=[getattr(one.prediction, spec.name) for one in judged],
            is_binary=outputs[spec.name],
        )
        for spec in specs
    ]


def _output_specs(
    names: Iterable[str], *, batch: int, size_hw: tuple[int, int], classes: int
) -> list[TensorSpec]:
    return [
        TensorSpec(
            name,
            datatype=_OUTPUTS[name],
            shape=(batch, classes, *size_hw) if name == "probabilities" else (batch, *size_hw),
        )
        for name in names
    ]


def _check_known(what: str, names: Iterable[str], *, known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise BadRequest(f"unknown {what} {name[:80]!r}; there are {', '.join(known)}")


def _input(call: Call, name: str) -> NDArray[Any]:
    """The values of an input, which has the datatype and shape that it must have."""
    spec, (datatype, shape) = call.inputs[name].spec, _INPUTS[name]
    fits = len(spec.shape) == len(shape) and all(
        side in (-1, got) for side, got in zip(shape, spec.shape, strict=True)
    )
    if spec.datatype != datatype or not fits:
        raise BadRequest(
            f"{name!r}: {spec.datatype} {list(spec.shape)}; expected {datatype} {list(shape)}, -1 for any length"
        )
    return call.inputs[name].values


def _check_batch(batch: int, *, size_hw: tuple[int, int], limits: Limits) -> None:
    height, width = size_hw
    limit = limits.max_pixels if batch == 1 else limits.max_batch_pixels
    if batch > MAX_BATCH or batch * height * width > limit:
        raise TooLarge(
            f"{batch} images of {width} x {height} px are more than the limit of {limit / 1e6:g} megapixels, or "
            f"of {MAX_BATCH} images; cut them, or send fewer at once"
        )
