"""Milliseconds per image of our default network, in PyTorch and as an exported file, beside the floor.

The floor is the time that the convolutions alone would take at this machine's measured peak: the best rate of a
large matrix product and of a large convolution, both through torch, counted as two operations for each
multiply-add. What a runtime spends above it is the gap to close: at most 2x for ONNX Runtime, 1.3x for OpenVINO.

Batch 1; asked for are the labels alone, though OpenVINO computes every output all the same. Exported files run in the
sessions that serve them. Speed depends on no weight, so the network is not trained.
"""

import copy
import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from machine import Timing, describe, load, parser, time_in_turns
from models import export, make_segmenter
from numpy.typing import NDArray
from torch import Tensor, nn

from data.synthetic import draw_part
from data.synthetic_surfaces import SURFACES
from model.artifact import Artifact
from model.pooling import set_export_form
from model.runtime import IMAGE, open_runtime
from model.segmenter import Segmenter
from training.onnx_graph import OPSET

Call = Callable[[], object]
_SIDE_PX, _QUICK_SIDE_PX = 256, 64
_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}
_GOALS: Final = {"ONNX Runtime": 2.0, "OpenVINO fp32": 1.3}


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest operations that a peak is measured with: their calls, and how many operations each makes."""

    calls: dict[str, Call]
    flops: dict[str, float]


def main() -> None:
    """Export, time all in turns, print."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=100, help="timed calls of each (default 100)")
    given = options.parse_args()
    load_before = load()
    side_px = _QUICK_SIDE_PX if given.quick else _SIDE_PX
    # OpenVINO compiles for a size when it has come a few times: that must be over when the clock starts.
    rounds, warmup = (2, 1) if given.quick else (given.rounds, 10)
    torch.set_num_threads(given.threads)
    torch.set_flush_denormal(True)
    images = np.stack([draw_part(n, surface=SURFACES[n], size_hw=(side_px, side_px)).image for n in range(2)])
    segmenter = make_segmenter(images, quick=given.quick)
    flops = count_convolution_flops(segmenter, images[:1])
    with tempfile.TemporaryDirectory() as folder:
        artifact = export(segmenter, images, out=Path(folder) / "model.onnx", tile_px=side_px, halo_px=0)
    peaks = {name: make_peak(dtype, quick=given.quick) for name, dtype in _DTYPES.items()}
    calls = torch_calls(segmenter, images[:1]) | file_calls(artifact, images[:1], threads=given.threads)
    calls["ONNX Runtime, MaxUnpool"] = max_unpool_call(segmenter, images[:1], threads=given.threads)
    for peak in peaks.values():
        calls |= peak.calls
    with torch.inference_mode():
        timings = time_in_turns(calls, rounds=rounds, warmup=warmup)
    print(describe(threads=given.threads, load_before=load_before))
    print(f"image     {side_px} x {side_px}, batch 1; {rounds} rounds after {warmup}\n")
    print_rows(timings, peaks=peaks, flops=flops)


def count_convolution_flops(segmenter: nn.Module, image: NDArray[np.uint8]) -> float:
    """Operations of all convolutions for one image, two for each multiply-add."""
    total = 0.0

    def count(conv: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(conv, nn.Conv2d)
        total += 2.0 * output.numel() * conv.weight[0].numel()

    hooks = [part.register_forward_hook(count) for part in segmenter.modules() if isinstance(part, nn.Conv2d)]
    with torch.inference_mode():
        segmenter(torch.from_numpy(image))
    for hook in hooks:
        hook.remove()
    return total


def make_peak(dtype: torch.dtype, *, quick: bool) -> Peak:
    """A product of square matrices, and a 3x3 convolution of 128 to 128 channels, channels last."""
    side, map_px = (64, 16) if quick else (1536, 96)
    left, right = torch.rand(side, side, dtype=dtype), torch.rand(side, side, dtype=dtype)
    conv = nn.Conv2d(128, 128, 3, padding=1, bias=False).to(dtype).to(memory_format=torch.channels_last)
    planes = torch.rand(1, 128, map_px, map_px, dtype=dtype).to(memory_format=torch.channels_last)
    product, convolution = (
        f"product of {side} x {side}, {dtype}",
        f"convolution of {map_px} x {map_px}, {dtype}",
    )
    return Peak(
        calls={product: lambda: left @ right, convolution: lambda: conv(planes)},
        flops={product: 2.0 * side**3, convolution: 2.0 * 9 * 128 * 128 * map_px**2},
    )


def torch_calls(segmenter: Segmenter, image: NDArray[np.uint8]) -> dict[str, Call]:
    """Eager, channels last, argmax included; in the form of training, and once in the form for export."""
    exportable = copy.deepcopy(segmenter)
    set_export_form(exportable, True)
    pixels = torch.from_numpy(image)

    def run(network: nn.Module, *, bf16: bool) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            labels: Tensor = network(pixels).argmax(1).to(torch.uint8)
        return labels

    return {
        "PyTorch fp32": lambda: run(segmenter, bf16=False),
        "PyTorch bf16 (autocast)": lambda: run(segmenter, bf16=True),
        "PyTorch fp32, form for export": lambda: run(exportable, bf16=False),
    }


def file_calls(artifact: Artifact, image: NDArray[np.uint8], *, threads: int) -> dict[str, Call]:
    """The exported file in the sessions that serve it: ONNX Runtime, and OpenVINO where that is installed."""
    runtime = open_runtime(artifact, device="cpu", threads=threads)
    calls: dict[str, Call] = {"ONNX Runtime": lambda: runtime.run(image, want=("labels",))}
    if importlib.util.find_spec("openvino") is None:
        return calls
    from model.openvino_graph import OpenVinoGraph

    served = open_runtime(artifact, device="openvino", threads=threads)
    calls["OpenVINO fp32"] = lambda: served.run(image, want=("labels",))
    # Nobody is served in bf16, where labels differ; the row shows what that forgoes.
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": threads}
    in_bf16 = OpenVinoGraph(artifact.model_bytes, settings=settings)
    calls["OpenVINO bf16"] = lambda: in_bf16.run(image, want=("labels",))
    return calls


def max_unpool_call(segmenter: Segmenter, image: NDArray[np.uint8], *, threads: int) -> Call:
    """The same network with the operators MaxPool and MaxUnpool in its file, of this one size.

    Left to itself torch exports ScatterND, slower still; so its translation is given here.
    """
    from onnxscript import opset20 as op

    def max_unpool2d(x: Any, positions: Any, _output_size: Any) -> Any:
        # torch counts positions within a channel, ONNX through the whole tensor.
        _, channels, height, width = (int(length) for length in x.shape)
        first = np.arange(channels, dtype=np.int64).reshape(1, -1, 1, 1) * (4 * height * width)
        flat = op.Add(positions, op.Constant(value=onnx.numpy_helper.from_array(first)))
        return op.MaxUnpool(x, flat, kernel_shape=[2, 2], strides=[2, 2])

    class Labels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.segmenter = segmenter

        def forward(self, pixels: Tensor) -> Tensor:
            labels: Tensor = self.segmenter(pixels).argmax(1).to(torch.uint8)
            return labels

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of deprecated functions
        program = torch.onnx.export(
            Labels().eval(),
            (torch.from_numpy(image),),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            custom_translation_table={torch.ops.aten.max_unpool2d.default: max_unpool2d},
            input_names=[IMAGE],
            verbose=False,
        )
    assert program is not None, "the dynamo exporter returns its program"
    model = program.model_proto
    assert any(node.op_type == "MaxUnpool" for node in model.graph.node), "the translation was not used"
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, ["CPUExecutionProvider"])
    expected = Labels()(torch.from_numpy(image)).numpy()
    assert (session.run(None, {IMAGE: image})[0] == expected).mean() > 0.999, "another network"
    return lambda: session.run(None, {IMAGE: image})


def print_rows(timings: Mapping[str, Timing], *, peaks: Mapping[str, Peak], flops: float) -> None:
    """The peaks, the floors, a row for each way to run the network, and the two ratios that have a goal."""
    floors_s = {}
    for precision, peak in peaks.items():
        rates = {name: count / timings[name].min_s for name, count in peak.flops.items()}
        best = max(rates, key=lambda name: rates[name])
        floors_s[precision] = flops / rates[best]
        print(f"peak {precision} {rates[best] / 1e9:8.0f} GFLOP/s ({best}, best of {len(rates)} kinds)")
    print(f"convolutions {flops / 1e9:6.2f} GFLOP\n")
    print(f"{'':34}{'median ms':>10}{'min ms':>9}{'min / fp32 floor':>18}")
    for precision, floor_s in floors_s.items():
        ratio = floor_s / floors_s["fp32"]
        print(f"{'floor ' + precision:34}{'':10}{1e3 * floor_s:>9.1f}{ratio:>18.2f}")
    of_peaks = {name for peak in peaks.values() for name in peak.calls}
    for name, timing in timings.items():
        if name not in of_peaks:
            ratio = timing.min_s / floors_s["fp32"]
            print(f"{name:34}{1e3 * timing.median_s:>10.1f}{1e3 * timing.min_s:>9.1f}{ratio:>18.2f}")
    print()
    for name, goal in _GOALS.items():
        if name in timings:
            median, least = (
                taken / floors_s["fp32"] for taken in (timings[name].median_s, timings[name].min_s)
            )
            print(f"{name} / floor: {least:.2f} (min), {median:.2f} (median); goal {goal}")


if __name__ == "__main__":
    main()
