"""A graph in OpenVINO: compiled for any size, and anew for the sizes that keep coming.

Compiled for one size OpenVINO fuses what it cannot fuse for any: 1.22 to 1.25 x the time of the convolutions alone
instead of 1.64 x (docs/experiments.md). What comes out is the same: to the bit, for our network at six sizes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import openvino
from numpy.typing import NDArray

# Compiling takes 0.2 s and more, and saves a quarter of each call: a folder in which every image has another size
# must not wait for it, and a camera's one size should soon be fast.
_CALLS_BEFORE_COMPILING: Final = 8
# Each takes as much memory as it needs for its size: 40 MB for one image of 256 x 256, 120 MB for 512 x 512.
_MOST_SIZES: Final = 4


class OpenVinoGraph:
    """A graph of one input on the CPU. One thread at a time."""

    def __init__(self, model_bytes: bytes, *, settings: Mapping[str, Any]) -> None:
        """Compile for any size; RuntimeError when the graph does not load."""
        self._core = openvino.Core()
        self._model = self._core.read_model(model_bytes)
        self._settings = dict(settings)
        self._any_size = self._compile(self._model)
        self._of_size: dict[tuple[int, ...], openvino.InferRequest] = {}
        self._calls: Counter[tuple[int, ...]] = Counter()

    @property
    def devices(self) -> list[str]:
        """Where it runs, such as CPU."""
        return list(self._any_size.get_compiled_model().get_property("EXECUTION_DEVICES"))

    def run(self, image_batch: NDArray[np.uint8], *, want: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The outputs of these names for uint8 [batch, height, width, 3]."""
        request = self._request(image_batch.shape)
        request.infer(np.ascontiguousarray(image_batch))
        # Copies: the request's own memory is overwritten by the next call.
        return {name: np.array(request.get_tensor(name).data) for name in want}

    def _request(self, shape: tuple[int, ...]) -> openvino.InferRequest:
        """What runs this shape: made for it, or for any until it came often enough."""
        if shape in self._of_size:
            return self._of_size[shape]
        self._calls[shape] += 1
        if self._calls[shape] < _CALLS_BEFORE_COMPILING:
            return self._any_size
        # Its count starts over, so that a size that was dropped earns its place again.
        del self._calls[shape]
        if len(self._of_size) == _MOST_SIZES:
            del self._of_size[next(iter(self._of_size))]
        model = self._model.clone()
        model.reshape(list(shape))
        self._of_size[shape] = self._compile(model)
        return self._of_size[shape]

    def _compile(self, model: openvino.Model) -> openvino.InferRequest:
        return self._core.compile_model(model, "CPU", self._settings).create_infer_request()
