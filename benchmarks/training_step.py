"""Speed and memory of training: our default network beside the U-Net that most people would take.

Both go through the very loop that trains (`training.state`, `training.loop`), each in a process of its own, so
that its peak memory is its own. The crops come from drawn parts, or from `--data DIR`.

Both start at random: pretrained weights change no step's time.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from machine import describe, load, parser, peak_mib

#: The part of a configuration that makes each network.
NETWORKS: Final[dict[str, dict[str, Any]]] = {
    "residual_segnet": {"name": "residual_segnet"},
    "U-Net, EfficientNet-lite0": {
        "name": "peer",
        "options": {"arch": "unet", "encoder": "tu-tf_efficientnet_lite0"},
    },
}
_CROP_PX, _BATCH_SIZE, _STEPS, _EPOCHS = 256, 8, 12, 3
_QUICK_PX, _QUICK_BATCH_SIZE = 64, 2
_PARTS: Final = {"train": 48, "val": 2}


@dataclass(frozen=True, slots=True)
class Measured:
    """One network: median and best epoch in images/s, median share of time spent waiting for data, peak resident
    memory of the process that trains (MiB; of which `before_mib` before the first step) and of the process that
    makes crops, peak of GPU memory (0 without one)."""

    parameters: int
    images_per_s: float
    best_images_per_s: float
    waiting_share: float
    peak_mib: float
    before_mib: float
    loader_mib: float
    gpu_mib: float
    precision: str


def main() -> None:
    """Draw the parts, measure each network in its own process, print."""
    options = parser(__doc__)
    options.add_argument(
        "--data", type=Path, metavar="DIR", help="crops of this data set, not of drawn parts"
    )
    options.add_argument("--measure", choices=NETWORKS, help="measure one in this process, print JSON")
    given = options.parse_args()
    if given.measure is not None:
        found = measure(given.measure, data=given.data, threads=given.threads, quick=given.quick)
        print(json.dumps(asdict(found)))
        return
    load_before = load()
    with tempfile.TemporaryDirectory() as folder:
        data = given.data or _draw(Path(folder) / "parts", quick=given.quick)
        rows = {name: _in_own_process(name, data=data, given=given) for name in NETWORKS}
    print(describe(threads=given.threads, load_before=load_before))
    _print_rows(rows, quick=given.quick)


def measure(name: str, *, data: Path, threads: int, quick: bool) -> Measured:
    """Train for one epoch that does not count and a few that do.

    Raises:
        DatasetError: `data` is no data set.
    """
    import torch

    from data.progress import meter
    from data.sources import open_dataset
    from training.config import parse_config
    from training.loop import train_epoch
    from training.state import build_state

    steps, epochs = (2, 1) if quick else (_STEPS, _EPOCHS)
    batch_size = _QUICK_BATCH_SIZE if quick else _BATCH_SIZE
    tree = {
        "network": NETWORKS[name],
        "crops": {"crop_px": _QUICK_PX if quick else _CROP_PX},
        "schedule": {
            "epochs": 1 + epochs,
            "crops_per_epoch": steps * batch_size,
            "batch_size": batch_size,
        },
        "compute": {"threads": threads},
    }
    state = build_state(parse_config(tree, origin=name), open_dataset(data))
    before_mib = peak_mib()
    batches = iter(state.loader())
    sums = []
    for epoch in range(1 + epochs):
        with meter(f"{name}, epoch {epoch}", total=steps) as bar:
            sums.append(train_epoch(state, batches, bar=bar))
    speeds = [one.images_per_s for one in sums[1:]]
    precision = "fp32" if state.accelerator.mixed_precision == "no" else state.accelerator.mixed_precision
    del batches  # ends the loader's process, whose memory is known from then on
    return Measured(
        parameters=sum(parameter.numel() for parameter in state.segmenter.parameters()),
        images_per_s=statistics.median(speeds),
        best_images_per_s=max(speeds),
        waiting_share=statistics.median(one.waiting_share for one in sums[1:]),
        peak_mib=peak_mib(),
        before_mib=before_mib,
        loader_mib=peak_mib(of_children=True),
        gpu_mib=torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0,
        precision=f"{precision} on {state.accelerator.device.type}",
    )


def _draw(destination: Path, *, quick: bool) -> Path:
    from data.synthetic import write_synthetic_dataset

    size_px = _QUICK_PX if quick else _CROP_PX
    counts = {"train": 2, "val": 1} if quick else _PARTS
    write_synthetic_dataset(destination, counts=counts, size_hw=(size_px, size_px))
    return destination


def _in_own_process(name: str, *, data: Path, given: Any) -> Measured:
    # Exits, with the child's message above it, when the child fails.
    words = [
        sys.executable,
        __file__,
        "--measure",
        name,
        "--data",
        str(data),
        "--threads",
        str(given.threads),
    ]
    words += ["--quick"] if given.quick else []
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: measuring failed; its message is above")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _print_rows(rows: dict[str, Measured], *, quick: bool) -> None:
    crop_px, batch_size = (_QUICK_PX, _QUICK_BATCH_SIZE) if quick else (_CROP_PX, _BATCH_SIZE)
    first = next(iter(rows.values()))
    print(f"batches of {batch_size} crops of {crop_px} x {crop_px}, {first.precision}\n")
    print(
        f"{'':28}{'params':>8}{'images/s':>10}{'best':>8}{'waiting':>9}"
        f"{'peak MiB':>10}{'start':>8}{'loader':>8}{'GPU':>8}"
    )
    for name, row in rows.items():
        print(
            f"{name:28}{row.parameters / 1e6:>7.2f}M{row.images_per_s:>10.1f}{row.best_images_per_s:>8.1f}"
            f"{row.waiting_share:>9.1%}{row.peak_mib:>10.0f}{row.before_mib:>8.0f}{row.loader_mib:>8.0f}"
            f"{row.gpu_mib:>8.0f}"
        )
    print(
        "\nimages/s: median epoch and best epoch; waiting: share of the time without data to train on; "
        "peak: most\nresident memory of the training process, start: what it was before the first step, "
        "loader: most resident\nmemory of the process that makes crops (shares pages with the first)"
    )


if __name__ == "__main__":
    main()
