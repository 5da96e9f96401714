"""The inference session behind one small interface: which device runs the graph, and which one really did.

ONNX Runtime falls back to the CPU without a word while it goes on listing CUDA as available, so what is
reported here is what the session itself says, and whoever must have a device asks with `require=True`.
"""

import contextlib
import ctypes
import importlib.util
import io
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _ort_errors

from model.artifact import Artifact, ArtifactError

Device = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]
Output = Literal["labels", "confidence", "probabilities"]

#: Names of the graph's inputs; the outputs are `Output`.
IMAGE: Final = "image"
DECISION_WEIGHTS: Final = "decision_weights"
DEFAULT_OUTPUTS: Final[tuple[Output, ...]] = ("labels", "confidence")

_PROVIDERS: Final[Mapping[str, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    # An exhaustive search for the fastest convolution is repeated for every new shape, and takes memory.
    "CUDAExecutionProvider": {
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    },
}
#: ONNX Runtime's exceptions have no parent of their own; these are what a bad file or graph raises.
_LOAD_ERRORS: Final = (
    _ort_errors.Fail,
    _ort_errors.InvalidArgument,
    _ort_errors.InvalidGraph,
    _ort_errors.InvalidProtobuf,
    _ort_errors.NotImplemented,
    _ort_errors.RuntimeException,
)
_ERRORS_ONLY: Final = 3
_log: Final = logging.getLogger(__name__)


class DeviceError(ValueError):
    """The device that was asked for is not there, or cannot do what was asked of it."""


@runtime_checkable
class Runtime(Protocol):
    """A graph ready to run. One thread at a time: CUDA sessions have failed under several."""

    @property
    def provider(self) -> str:
        """What really runs the graph, such as CUDAExecutionProvider."""

    @property
    def is_gpu(self) -> bool:
        """Whether images in one batch cost less than one after the other."""

    def run(
        self,
        image_batch: NDArray[np.uint8],
        *,
        decision_weights: Sequence[float] | None = None,
        want: Sequence[Output] = DEFAULT_OUTPUTS,
    ) -> dict[str, NDArray[Any]]:
        """Run uint8 [batch, height, width, 3], sides multiples of the stride; return what is wanted.

        Labels uint8 and confidence uint8 (probability of the label x 255) are [batch, height, width],
        probabilities float32 [batch, classes, height, width]. `decision_weights` None is the file's own
        decision.
        """


def open_runtime(
    artifact: Artifact, *, device: Device = "auto", require: bool = False, threads: int | None = None
) -> Runtime:
    """Make a session for a model.

    Args:
        artifact: the opened model file.
        device: "auto" takes an NVIDIA GPU where there is one, else the CPU.
        require: raise when `device` is not what the session got, instead of a warning in the log.
        threads: processor threads within one operation; None lets the runtime take every core.

    Raises:
        DeviceError: the device is required and was not got, or OpenVINO is not installed.
        ArtifactError: the graph cannot be loaded.
    """
    if threads is not None and threads < 1:
        raise DeviceError(f"threads is {threads}; expected at least 1, or none for every core")
    if device == "openvino":
        return _OpenVino(artifact, threads=threads)
    if device == "auto":
        device = "cuda" if has_nvidia_gpu() and _PROVIDERS["cuda"] in _available() else "cpu"
    runtime = _OnnxRuntime(artifact, providers=_wanted_providers(device), threads=threads)
    if runtime.provider != _PROVIDERS[device]:
        message = (
            f"asked for {device}, but the session runs on {runtime.provider}; this ONNX Runtime has "
            f"{', '.join(_available())}: check the driver and the CUDA and cuDNN libraries, or ask for "
            "the device that is there"
        )
        if require:
            raise DeviceError(message)
        _log.warning("%s", message)
    return runtime


def has_nvidia_gpu() -> bool:
    """Whether a driver sees a GPU; without one a CUDA session logs errors and runs on the CPU."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def _available() -> list[str]:
    return list(onnxruntime.get_available_providers())


def _wanted_providers(device: str) -> list[str]:
    """What to ask for, best first; TensorRT hands what it cannot run to CUDA."""
    names = ["tensorrt", "cuda", "cpu"] if device == "tensorrt" else [device, "cpu"]
    providers = list(dict.fromkeys(_PROVIDERS[name] for name in names))
    return [provider for provider in providers if provider in _available()]


class _OnnxRuntime:
    """A graph in ONNX Runtime."""

    def __init__(self, artifact: Artifact, *, providers: Sequence[str], threads: int | None) -> None:
        if any(provider != _PROVIDERS["cpu"] for provider in providers):
            _preload_cuda()
        options = onnxruntime.SessionOptions()
        # It warns that decision_weights, an input with a default, cannot be folded: that is its purpose.
        options.log_severity_level = _ERRORS_ONLY
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                artifact.model_bytes,
                options,
                providers=[(provider, dict(_OPTIONS.get(provider, {}))) for provider in providers],
            )
        except _LOAD_ERRORS as error:
            raise _unloadable(artifact, error) from error
        # Without it a failed CUDA call makes the session start over on the CPU, again without a word.
        self._session.disable_fallback()
        # Fetching labels alone must not pay for probabilities.
        self._run_options = onnxruntime.RunOptions()
        self._run_options.only_execute_path_to_fetches = True

    @property
    def provider(self) -> str:
        return str(self._session.get_providers()[0])

    @property
    def is_gpu(self) -> bool:
        return self.provider != _PROVIDERS["cpu"]

    def run(
        self,
        image_batch: NDArray[np.uint8],
        *,
        decision_weights: Sequence[float] | None = None,
        want: Sequence[Output] = DEFAULT_OUTPUTS,
    ) -> dict[str, NDArray[Any]]:
        feeds: dict[str, NDArray[Any]] = {IMAGE: np.ascontiguousarray(image_batch)}
        if decision_weights is not None:
            feeds[DECISION_WEIGHTS] = np.asarray(decision_weights, np.float32)
        outputs = self._session.run(list(want), feeds, self._run_options)
        return dict(zip(want, outputs, strict=True))


class _OpenVino:
    """A graph in OpenVINO, through its own interface: it folds the default decision, which is then fixed."""

    def __init__(self, artifact: Artifact, *, threads: int | None) -> None:
        if importlib.util.find_spec("openvino") is None:
            raise DeviceError(
                "asked for openvino, which is not installed; install the extra `openvino`, or ask for cpu"
            )
        from model.openvino_graph import OpenVinoGraph

        self._weights = artifact.contract.decision.weights
        # float32: on processors with bfloat16 units it would round otherwise, and labels would differ.
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._graph = OpenVinoGraph(artifact.model_bytes, settings=settings)
        except RuntimeError as error:
            raise _unloadable(artifact, error) from error

    @property
    def provider(self) -> str:
        return f"OpenVINO {' '.join(self._graph.devices)}"

    @property
    def is_gpu(self) -> bool:
        return False

    def run(
        self,
        image_batch: NDArray[np.uint8],
        *,
        decision_weights: Sequence[float] | None = None,
        want: Sequence[Output] = DEFAULT_OUTPUTS,
    ) -> dict[str, NDArray[Any]]:
        if decision_weights is not None and tuple(decision_weights) != self._weights:
            raise DeviceError(
                f"OpenVINO cannot change decision weights per call (asked for {tuple(decision_weights)}, the "
                f"file has {self._weights}); ask for cpu, or write them into the file: `segnet calibrate`"
            )
        return self._graph.run(image_batch, want=want)


def _unloadable(artifact: Artifact, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{artifact.path or 'the model'}: its contract is fine, but the graph does not load ({error}); "
        "export it anew"
    )


def _preload_cuda() -> None:
    """Load CUDA and cuDNN from the nvidia packages beside this program; it prints, where we log."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls()
    if said.getvalue().strip():
        _log.debug("preloading CUDA: %s", said.getvalue().strip())
