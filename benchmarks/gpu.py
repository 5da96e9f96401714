"""An NVIDIA GPU against the processor: do they say the same, does all of the graph run there, how fast is it.

Parity: labels, confidence and probabilities of drawn parts by both. Nodes: what ONNX Runtime's own profile says of
where each ran; on the CPU may stay what makes a few numbers, such as sizes. Speed: one image at a time, batches of 8
as the predictor makes them, and `segnet serve` under load from a second process.

Where there is no GPU it says so, and that is all.
"""

import json
import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from folder import Sizes, draw, draw_folder, make_model
from load import Load
from machine import Timing, describe, load, parser, time_in_turns
from numpy.typing import NDArray
from overload import warm_up
from seen import Seen, print_head, print_row, print_seen
from servers import segnet

from model.artifact import Artifact, open_artifact
from model.predictor import Predictor
from model.runtime import DEFAULT_OUTPUTS, IMAGE, has_nvidia_gpu

_CUDA: Final = "CUDAExecutionProvider"
# What makes no more than so many numbers works on sizes, not on pixels, and belongs on the CPU.
_FEW_NUMBERS: Final = 1024
_ERRORS_ONLY: Final = 3
_BATCH: Final = 8
_AGREEMENT_GOAL: Final = 0.999


def main() -> None:
    """Draw, export, compare, print; or say that there is nothing to compare."""
    options = parser(__doc__)
    options.add_argument(
        "--model", type=Path, metavar="FILE", help="this one, not our network without training"
    )
    given = options.parse_args()
    if not has_nvidia_gpu():
        print("There is no NVIDIA GPU here (no driver that sees one), so nothing was measured.")
        return
    load_before = load()
    side_px, rounds, requests = (64, 2, 16) if given.quick else (512, 50, 512)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = Sizes(size_hw=(side_px, side_px), tile_px=side_px, halo_px=0)
        model = given.model or make_model(folder / "model.onnx", sizes=sizes, quick=given.quick)
        artifact = open_artifact(model)
        images = [draw(number, size_hw=sizes.size_hw) for number in range(_BATCH)]
        print(describe(threads=given.threads, load_before=load_before))
        print(f"images    {side_px} x {side_px} px\n")
        by_cpu = Predictor.open(artifact, device="cpu", threads=given.threads)
        by_gpu = Predictor.open(artifact, device="cuda", require=True)
        print_parity(by_cpu, by_gpu, images=images)
        print_nodes(profile_nodes(artifact, providers=(_CUDA, "CPUExecutionProvider"), image=images[0]))
        print_speed(by_cpu, by_gpu, images=images, rounds=rounds)
        parts = draw_folder(folder / "parts", count=_BATCH, size_hw=sizes.size_hw)
        print_service(model, parts=parts, requests=requests)


def print_parity(by_cpu: Predictor, by_gpu: Predictor, *, images: Sequence[NDArray[np.uint8]]) -> None:
    """How far the two differ, the golden sample first, which also raises when the GPU is wrong."""
    print_row("golden sample, share that agrees", (f"{by_gpu.check_golden():.6f}",))
    shares, confidences, probabilities = [], [], []
    for image in images:
        one, other = (predictor.predict(image, want_probabilities=True) for predictor in (by_cpu, by_gpu))
        assert one.probabilities is not None, "asked for"
        assert other.probabilities is not None, "asked for"
        shares.append(float((one.labels == other.labels).mean()))
        apart = np.abs(one.confidence.astype(np.int16) - other.confidence.astype(np.int16))
        confidences.append(int(apart.max()))
        probabilities.append(float(np.abs(one.probabilities - other.probabilities).max()))
    print_row("labels that agree, mean and worst", (f"{np.mean(shares):.6f}", f"{min(shares):.6f}"))
    print_row("confidence, most apart (of 255)", (str(max(confidences)),))
    print_row("probability, most apart", (f"{max(probabilities):.6f}",))
    print(f"goal: labels agree on {_AGREEMENT_GOAL:.1%}\n", flush=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an operator ran; `is_large` where it made more than a few numbers."""

    provider: str
    operator: str
    is_large: bool


def profile_nodes(
    artifact: Artifact, *, providers: Sequence[str], image: NDArray[np.uint8]
) -> Counter[Place]:
    """How many nodes ran where, by ONNX Runtime's own profile of one run on `image`, uint8 [height, width, 3]."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(artifact.model_bytes, options, providers=list(providers))
        session.run(list(DEFAULT_OUTPUTS), {IMAGE: image[None]})
        events = json.loads(Path(session.end_profiling()).read_text())
    return Counter(
        Place(
            event["args"]["provider"], event["args"]["op_name"], is_large=_numbers_made(event) > _FEW_NUMBERS
        )
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    )


def _numbers_made(event: dict[str, Any]) -> int:
    """Of the largest output: `output_type_shape` is like [{"float": [1, 8, 64, 64]}]."""
    shapes = [shape for output in event["args"]["output_type_shape"] for shape in output.values()]
    return max((math.prod(shape) for shape in shapes), default=0)


def print_nodes(ran: Counter[Place]) -> None:
    """How many there are in all, and by name each that did not run on the GPU."""
    print_row("nodes", (str(ran.total()),))
    strays = [(place, count) for place, count in ran.most_common() if place.provider != _CUDA]
    for place, count in strays:
        kind = "on pixels" if place.is_large else "on sizes"
        print_row(f"  {place.operator} on {place.provider}", (str(count), kind))
    wrong = sum(count for place, count in strays if place.is_large)
    print(f"nodes that work on pixels and stayed on the CPU: {wrong}; goal 0\n", flush=True)


def print_speed(
    by_cpu: Predictor, by_gpu: Predictor, *, images: Sequence[NDArray[np.uint8]], rounds: int
) -> None:
    """Through the predictor, copies to the GPU and back included."""
    timings = time_in_turns(
        {
            "GPU, one image": lambda: by_gpu.predict(images[0]),
            f"GPU, {len(images)} images": lambda: by_gpu.predict_batch(images),
            "CPU, one image": lambda: by_cpu.predict(images[0]),
        },
        rounds=rounds,
        warmup=3,
    )
    counts = (1, len(images), 1)
    print_row("", ("median ms", "min ms", "images/s"))
    for (name, timing), count in zip(timings.items(), counts, strict=True):
        print_row(name, _speed_columns(timing, images=count))
    print(flush=True)


def _speed_columns(timing: Timing, *, images: int) -> tuple[str, str, str]:
    return (
        f"{1e3 * timing.median_s:.2f}",
        f"{1e3 * timing.min_s:.2f}",
        f"{images / timing.median_s:.1f}",
    )


def print_service(model: Path, *, parts: Path, requests: int) -> None:
    """The whole service on the GPU, for few and for many clients: whether its batches pay."""
    with segnet(model, threads=1, device="cuda") as server:
        warm_up(server, parts=parts)
        print_head("segnet serve on the GPU", "images/s")
        for clients in (1, 16, 64):
            seen = Seen()
            seen.add_round(
                server, Load(server.port, server.path, "image/png", str(parts), requests, clients=clients)
            )
            print_seen(f"to {clients}", seen)


if __name__ == "__main__":
    main()
