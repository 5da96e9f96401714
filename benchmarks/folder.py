"""What `segnet inspect` takes for a folder beyond the network itself, whether tiles show, and how much memory it needs.

Speed: images/s of the whole command beside bare session.run (labels and confidence) on the very tiles that it cuts.
Seconds of all processors are printed, too: on a machine with other jobs they differ less from run to run.
Agreement: the share of pixels with the same label when an image is judged in tiles and when it is judged whole.
Memory: the command's peak over a few and over many small images, and for one large image.

The model is our default network, not trained, with weights that leave about as many defects as parts have, or
`--model FILE`. Images are drawn; for the agreement alone they may be those of a data set.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from machine import Cost, describe, load, parser, run_apart
from models import choose_calm_decision, export, make_segmenter
from numpy.typing import NDArray

from data.images import encode_jpeg, read_image
from data.progress import meter
from data.sources import open_dataset
from data.synthetic import draw_part
from data.synthetic_defects import DEFECTS
from data.synthetic_surfaces import SURFACES, SizeHw
from model.artifact import Artifact, open_artifact
from model.padding import pad_to_multiple
from model.predictor import Predictor
from model.runtime import DEFAULT_OUTPUTS, Output, Runtime, open_runtime

_PARTS: Final = ("memory", "speed", "agreement")
_SPEED_GOAL, _AGREEMENT_GOAL, _MEMORY_GOAL_MIB = 0.85, 0.999, 2.5e9 / 2**20
_JPEG_QUALITY: Final = 93
_SMALL_PX, _DRAWN_SMALL = 64, 5
_DRAWN_PX: Final = 1000
_CALIBRATION_PX: Final = 256


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of images in px and of folders in images; tiles as the default configuration has them, or smaller ones."""

    size_hw: SizeHw = (768, 1024)
    tile_px: int = 640
    halo_px: int = 96
    few: int = 100
    many: int = 10_000
    large_px: int = 10_000


_QUICK: Final = Sizes(size_hw=(96, 128), tile_px=64, halo_px=16, few=5, many=20, large_px=1_000)


def main() -> None:
    """Draw, export, measure each part, print as it goes."""
    options = parser(__doc__)
    options.add_argument(
        "--model", type=Path, metavar="FILE", help="this one, not our network without training"
    )
    options.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="agreement on test images of this data set, not on drawn ones",
    )
    options.add_argument("--images", type=int, default=60, help="drawn ones to take times with (default 60)")
    options.add_argument("--most", type=int, default=8, help="images to compare tiles on (default 8)")
    options.add_argument(
        "--only", nargs="+", choices=_PARTS, default=_PARTS, help="what to measure (default all)"
    )
    given = options.parse_args()
    load_before = load()
    sizes, images = (_QUICK, 2) if given.quick else (Sizes(), given.images)
    _keep_to_cores(given.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = given.model or make_model(folder / "model.onnx", sizes=sizes, quick=given.quick)
        artifact = open_artifact(model)
        print(describe(threads=given.threads, load_before=load_before))
        print(f"model     {artifact.contract.name}, tiles of {artifact.contract.tile_px} px\n", flush=True)
        if "memory" in given.only:
            print_memory(model, folder=folder, sizes=sizes)
        parts = draw_folder(folder / "parts", count=images, size_hw=sizes.size_hw)
        if "speed" in given.only:
            print_speed(model, parts=parts, folder=folder, threads=given.threads)
        if "agreement" in given.only:
            paths = sorted(parts.iterdir()) if given.data is None else find_test_images(given.data)
            print_agreement(artifact, paths=paths, most=given.most, threads=given.threads)


def make_model(out: Path, *, sizes: Sizes, quick: bool) -> Path:
    """The default network in a file, as if it had been trained."""
    side_px = min(_CALIBRATION_PX, *sizes.size_hw)
    # Crops, as the texture of a part drawn smaller is another one.
    images = np.stack([draw(number, size_hw=sizes.size_hw)[-side_px:, -side_px:] for number in range(4)])
    segmenter = make_segmenter(images, quick=quick)
    decision = choose_calm_decision(segmenter, images)
    export(segmenter, images, out=out, tile_px=sizes.tile_px, halo_px=sizes.halo_px, decision=decision)
    return out


def draw(seed: int, *, size_hw: SizeHw) -> NDArray[np.uint8]:
    """A part; every other one has a defect."""
    defects = () if seed % 2 else (DEFECTS[seed // 2 % len(DEFECTS)],)
    return draw_part(seed, surface=SURFACES[seed % len(SURFACES)], size_hw=size_hw, defects=defects).image


def draw_folder(folder: Path, *, count: int, size_hw: SizeHw) -> Path:
    """As many JPEGs of drawn parts."""
    folder.mkdir()
    with meter("draw", total=count) as bar:
        for number in range(count):
            content = encode_jpeg(draw(number, size_hw=size_hw), quality=_JPEG_QUALITY)
            (folder / f"{number:05}.jpg").write_bytes(content)
            bar.advance()
    return folder


def print_memory(model: Path, *, folder: Path, sizes: Sizes) -> None:
    """Peaks of the command: does it grow with the number of images, and is a large one within the goal."""
    size_hw = _SMALL_PX, _SMALL_PX
    drawn = sorted(draw_folder(folder / "small", count=_DRAWN_SMALL, size_hw=size_hw).iterdir())
    peaks_mib = []
    for count in (sizes.few, sizes.many):
        copies = folder / f"copies-{count}"
        copies.mkdir()
        for number in range(count):
            os.link(drawn[number % len(drawn)], copies / f"{number:05}.jpg")
        cost, _ = inspect(copies, model=model, out=folder / "out")
        peaks_mib.append(cost.peak_mib)
        _print_row(f"peak MiB, {count} images of {_SMALL_PX} x {_SMALL_PX}", f"{cost.peak_mib:.0f}")
        shutil.rmtree(copies)
    few_mib, many_mib = peaks_mib
    _print_row("growth from few to many", f"{many_mib / few_mib:.2f}")
    side_px = sizes.large_px
    large = folder / "large"
    large.mkdir()
    repeated = np.tile(
        draw(0, size_hw=(_DRAWN_PX, _DRAWN_PX)), (side_px // _DRAWN_PX, side_px // _DRAWN_PX, 1)
    )
    (large / "part.jpg").write_bytes(encode_jpeg(repeated, quality=_JPEG_QUALITY))
    cost, _ = inspect(large, model=model, out=folder / "out")
    goal = f"goal {_MEMORY_GOAL_MIB:.0f}"
    _print_row(f"peak MiB, one image of {side_px} x {side_px}", f"{cost.peak_mib:.0f}", note=goal)
    print(flush=True)


def print_speed(model: Path, *, parts: Path, folder: Path, threads: int) -> None:
    """The command between two halves of the bare session's work, so that a slow drift of the machine cancels."""
    images = [read_image(path) for path in sorted(parts.iterdir())]
    artifact = open_artifact(model)
    tiles = cut_as_predictor_does(artifact, images=images)
    runtime = open_runtime(artifact, device="cpu", threads=threads)
    runtime.run(tiles[0])
    before = _time_bare(runtime, tiles=tiles[::2])
    cost, images_per_s = inspect(parts, model=model, out=folder / "out")
    after = _time_bare(runtime, tiles=tiles[1::2])
    bare_s, bare_cpu_s = before[0] + after[0], before[1] + after[1]
    print(f"{len(images)} images in {len(tiles)} tiles on {runtime.provider}")
    print(f"{'':44}{'images/s':>10}{'of bare':>9}{'CPU s/image':>13}")
    for name, wall_s, cpu_s in (
        ("bare session.run", bare_s, f"{bare_cpu_s / len(images):.3f}"),
        ("segnet inspect, without its start", len(images) / images_per_s, ""),
        ("segnet inspect, whole", cost.wall_s, f"{cost.cpu_s / len(images):.3f}"),
    ):
        print(f"{name:44}{len(images) / wall_s:>10.2f}{bare_s / wall_s:>9.2f}{cpu_s:>13}")
    print(f"segnet inspect / bare: {bare_s / cost.wall_s:.2f}; goal {_SPEED_GOAL}\n", flush=True)


def _time_bare(runtime: Runtime, *, tiles: Sequence[NDArray[np.uint8]]) -> tuple[float, float]:
    """Seconds of these runs, and seconds of all processors together."""
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    for tile in tiles:
        runtime.run(tile)
    return time.perf_counter() - started_s, time.process_time() - started_cpu_s


def print_agreement(artifact: Artifact, *, paths: Sequence[Path], most: int, threads: int) -> None:
    """Tiles beside the whole image, which the runtime then takes at once."""
    runtime = open_runtime(artifact, device="cpu", threads=threads)
    predictor = Predictor(runtime, contract=artifact.contract, digest=artifact.digest)
    class_ids = np.asarray(artifact.contract.classes.defect_ids)
    shares, same_px, judged_px, same_defect_px, defect_px = [], 0, 0, 0, 0
    for image in _larger_than_a_tile(paths, tile_px=artifact.contract.tile_px, most=most):
        height, width = image.shape[:2]
        padded = pad_to_multiple(image, artifact.contract.stride)
        whole = runtime.run(padded[None], want=("labels",))["labels"][0, :height, :width]
        tiled = predictor.predict(image).labels
        same, is_defect = tiled == whole, np.isin(tiled, class_ids) | np.isin(whole, class_ids)
        shares.append(float(same.mean()))
        same_px, judged_px = same_px + int(same.sum()), judged_px + same.size
        same_defect_px += int(same[is_defect].sum())
        defect_px += int(is_defect.sum())
    if not shares:
        sys.exit(f"no image is larger than a tile of {artifact.contract.tile_px} px; give --data larger ones")
    print(
        f"tiles agree with the whole image: {same_px / judged_px:.4%} of {judged_px} px in {len(shares)} images, "
        f"worst {min(shares):.4%}; goal {_AGREEMENT_GOAL:.1%}"
    )
    print(f"where either finds a defect: {same_defect_px} of {defect_px} px")


def inspect(source: Path, *, model: Path, out: Path) -> tuple[Cost, float]:
    """Run the command once into an empty folder; what it cost, and images/s as it says itself."""
    words = [sys.executable, "-m", "cli.main", "inspect", str(source)]
    cost = run_apart([*words, "--model", str(model), "--out", str(out), "--device", "cpu"])
    images_per_s = float(json.loads((out / "summary.json").read_text())["images_per_s"])
    shutil.rmtree(out)
    return cost, images_per_s


class _Recorder:
    """A runtime that computes nothing and keeps what it was given."""

    provider = "none"
    is_gpu = False

    def __init__(self) -> None:
        self.batches: list[NDArray[np.uint8]] = []

    def run(
        self,
        image_batch: NDArray[np.uint8],
        *,
        decision_weights: Sequence[float] | None = None,
        want: Sequence[Output] = DEFAULT_OUTPUTS,
    ) -> dict[str, NDArray[np.uint8]]:
        self.batches.append(image_batch.copy())
        return {name: np.zeros(image_batch.shape[:3], np.uint8) for name in want}


def cut_as_predictor_does(
    artifact: Artifact, *, images: Sequence[NDArray[np.uint8]]
) -> list[NDArray[np.uint8]]:
    """What the session gets for these images, each uint8 [1, height, width, 3]."""
    recorder = _Recorder()
    Predictor(recorder, contract=artifact.contract, digest=artifact.digest).predict_batch(images)
    return recorder.batches


def find_test_images(data: Path) -> list[Path]:
    """Paths of a data set's test images. Raises DatasetError where there is no data set."""
    return [sample.image for sample in open_dataset(data).split("test")]


def _larger_than_a_tile(paths: Sequence[Path], *, tile_px: int, most: int) -> Iterator[NDArray[np.uint8]]:
    """At most so many images, spread over all."""
    step = max(1, len(paths) // most)
    spread = dict.fromkeys([*paths[::step], *paths])
    large = (image for image in map(read_image, spread) if max(image.shape[:2]) > tile_px)
    for _, image in zip(range(most), large, strict=False):
        yield image


def _keep_to_cores(count: int) -> None:
    """Hold this process and those it starts to so many cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def _print_row(name: str, value: str, *, note: str = "") -> None:
    print(f"{name:44}{value:>10}  {note}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
