"""What the service adds to its model's time, beside a bare loop and LitServe, and what it does when too much comes.

http: a network that costs nothing, so that all of the time is that of the HTTP path; JPEG in, mask as PNG out.
speed: our default network at 1 to 64 clients, beside bare session.run on the same tiles; where the time goes by stage.
openvino: the same by OpenVINO.
memory: what the service holds after few and after many images of mixed sizes.
overload: ten times what it can bear.

The load comes from a second process, benchmarks/load.py, and is the same for all. Each candidate has a short round,
then all again. Milliseconds of all processors per request are printed, too: on a machine with other jobs they differ
less from run to run. LitServe (extra `bench`) decodes, judges and encodes by the very same code.
"""

import importlib.util
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from folder import Sizes, cut_as_predictor_does, draw, make_model
from load import Load
from machine import describe, load, parser
from models import export_empty
from numpy.typing import NDArray
from overload import print_overload, warm_up
from seen import Seen, print_against_litserve, print_bare, print_head, print_row, print_seen, print_stages
from servers import Server, has_litserve, litserve, segnet

from data.images import encode_jpeg, read_image
from data.synthetic_surfaces import SizeHw
from model.artifact import open_artifact
from model.runtime import Runtime, open_runtime

_HTTP_GOAL, _SPEED_GOAL, _OPENVINO_GOAL, _MEMORY_GOAL = 1.8, 0.92, 1.8, 1.03
_CLIENTS: Final = 16
_PNG, _JSON = "image/png", "application/json"
_SMALLEST_PX: Final = 64
# Where speed is compared nobody is sent away, however slow the machine: LitServe sends nobody away either.
_PATIENCE: Final = {"SEGNET_MAX_WAIT_S": "600", "SEGNET_REQUEST_TIMEOUT_S": "600"}


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured: images and their sides in px, counts of clients, numbers of requests, seconds."""

    side_px: int = 256
    images: int = 16
    clients: Sequence[int] = (1, 4, 16, 64)
    http: int = 1_000
    speed: int = 64
    few: int = 2_000
    many: int = 20_000
    sizes: int = 60
    overload_s: float = 10.0


_QUICK: Final = Extent(
    side_px=64, images=2, clients=(4,), http=20, speed=8, few=20, many=40, sizes=4, overload_s=0.5
)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all parts measure with: a folder of drawn parts, an empty one, processor threads of one inference."""

    parts: Path
    folder: Path
    extent: Extent
    rounds: int
    threads: int

    def load(self, server: Server, *, requests: int, clients: int, accept: str = _PNG) -> Load:
        """So many of the parts."""
        return Load(server.port, server.path, accept, str(self.parts), requests, clients=clients)

    def in_turns(self, servers: Mapping[str, Server], *, requests: int) -> dict[str, Seen]:
        """All rounds of all, 16 clients each."""
        seen = {name: Seen() for name in servers}
        for _ in range(self.rounds):
            for name, server in servers.items():
                seen[name].add_round(server, self.load(server, requests=requests, clients=_CLIENTS))
        return seen

    def open_all(self, model: Path, *, stack: ExitStack) -> dict[str, Server]:
        """Ours, and LitServe where it is installed; warm."""
        servers = [stack.enter_context(segnet(model, threads=self.threads, settings=_PATIENCE))]
        if has_litserve():
            servers.append(stack.enter_context(litserve(model, threads=self.threads)))
        for server in servers:
            warm_up(server, parts=self.parts)
        return {server.name: server for server in servers}


def main() -> None:
    """Draw, export, measure each part, print as it goes."""
    measures = {
        "http": print_http,
        "speed": print_speed,
        "openvino": print_openvino,
        "memory": print_memory,
        "overload": print_flood,
    }
    options = parser(__doc__)
    options.add_argument(
        "--model", type=Path, metavar="FILE", help="this one, not our network without training"
    )
    options.add_argument("--rounds", type=int, default=3, help="rounds of each candidate (default 3)")
    options.add_argument(
        "--only", nargs="+", choices=measures, default=measures, help="what to measure (default all)"
    )
    given = options.parse_args()
    load_before = load()
    extent, rounds = (_QUICK, 1) if given.quick else (Extent(), given.rounds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size_hw = (extent.side_px, extent.side_px)
        parts = draw_jpegs(folder / "parts", sizes_hw=[size_hw] * extent.images)
        tiles = Sizes(size_hw=size_hw, tile_px=extent.side_px, halo_px=0)
        model = given.model or make_model(folder / "model.onnx", sizes=tiles, quick=given.quick)
        print(describe(threads=given.threads, load_before=load_before))
        print(f"images    {extent.side_px} x {extent.side_px} px; {rounds} rounds")
        if not has_litserve():
            print("LitServe  is not installed, so not measured; it is the extra `bench`")
        for part in given.only:
            print(flush=True)
            measures[part](Bench(parts, folder, extent, rounds, given.threads), model)


def draw_jpegs(folder: Path, *, sizes_hw: Iterable[SizeHw]) -> Path:
    """A drawn part for each size."""
    folder.mkdir()
    for number, size_hw in enumerate(sizes_hw):
        (folder / f"{number:03}.jpg").write_bytes(encode_jpeg(draw(number, size_hw=size_hw)))
    return folder


def print_http(bench: Bench, _: Path) -> None:
    """What the HTTP path can bear, since all else is next to nothing."""
    model = bench.folder / "empty.onnx"
    export_empty(read_image(next(bench.parts.iterdir())), out=model)
    with ExitStack() as stack:
        seen = bench.in_turns(bench.open_all(model, stack=stack), requests=bench.extent.http)
    print_head(f"empty network, {_CLIENTS} clients", "requests/s")
    for name, of_one in seen.items():
        print_seen(f"{name}, empty", of_one)
    print_against_litserve(seen, goal=_HTTP_GOAL)


def print_speed(bench: Bench, model: Path) -> None:
    """What comes on top of the network's own time, by the number of clients; our JSON tells where."""
    images = [read_image(path) for path in sorted(bench.parts.iterdir())]
    artifact = open_artifact(model)
    tiles = cut_as_predictor_does(artifact, images=images)
    runtime = open_runtime(artifact, device="cpu", threads=bench.threads)
    runtime.run(tiles[0])
    with ExitStack() as stack:
        servers = bench.open_all(model, stack=stack)
        for clients in bench.extent.clients:
            requests = max(bench.extent.speed, 3 * clients)
            seen = {name: Seen() for name in servers}
            in_json = Seen()
            bare_s, bare_cpu_s = 0.0, 0.0
            for _ in range(bench.rounds):
                wall_s, cpu_s = run_bare(runtime, tiles=tiles, times=requests * len(tiles) // len(images))
                bare_s, bare_cpu_s = bare_s + wall_s, bare_cpu_s + cpu_s
                for name, server in servers.items():
                    seen[name].add_round(server, bench.load(server, requests=requests, clients=clients))
                ours = servers["segnet serve"]
                in_json.add_round(ours, bench.load(ours, requests=requests, clients=clients, accept=_JSON))
            asked = bench.rounds * requests
            print_head(f"{clients} clients" if clients > 1 else "1 client", "images/s")
            print_bare(f"bare session.run beside {clients}", asked / bare_s, cpu_s=bare_cpu_s / asked)
            for name, of_one in {**seen, "segnet serve, JSON": in_json}.items():
                print_seen(f"{name} to {clients}", of_one, bare_per_s=asked / bare_s)
            print_stages(in_json)
            ratio = seen["segnet serve"].per_s * bare_s / asked
            goal = f"; goal {_SPEED_GOAL}" if clients == _CLIENTS else ""
            print(f"segnet serve / bare at {clients}: {ratio:.2f}{goal}")
            print_against_litserve(seen, goal=1.0)
            print(flush=True)


def run_bare(runtime: Runtime, *, tiles: Sequence[NDArray[np.uint8]], times: int) -> tuple[float, float]:
    """Seconds of so many runs, and of all processors together."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    for number in range(times):
        runtime.run(tiles[number % len(tiles)])
    return time.perf_counter() - began_s, time.process_time() - began_cpu_s


def print_openvino(bench: Bench, model: Path) -> None:
    """Our service on two devices."""
    if importlib.util.find_spec("openvino") is None:
        print("OpenVINO is not installed, so not measured; it is the extra `openvino`")
        return
    with (
        segnet(model, threads=bench.threads) as by_onnxruntime,
        segnet(model, threads=bench.threads, device="openvino") as by_openvino,
    ):
        servers = {"ONNX Runtime CPU": by_onnxruntime, "OpenVINO": by_openvino}
        for server in servers.values():
            warm_up(server, parts=bench.parts)
        seen = bench.in_turns(servers, requests=bench.extent.speed)
    print_head(f"segnet serve to {_CLIENTS} clients by", "images/s")
    for name, of_one in seen.items():
        print_seen(name, of_one)
    ratio = seen["OpenVINO"].per_s / seen["ONNX Runtime CPU"].per_s
    print(f"OpenVINO / ONNX Runtime CPU: {ratio:.2f}; goal {_OPENVINO_GOAL}")


def print_memory(bench: Bench, model: Path) -> None:
    """JPEGs of many sizes, up to that of the other parts: each a shape of its own to the runtime."""
    extent = bench.extent
    random = np.random.default_rng(0)
    sides = random.integers(_SMALLEST_PX, max(extent.side_px, 2 * _SMALLEST_PX) + 1, (extent.sizes, 2))
    mixed = draw_jpegs(
        bench.folder / "mixed", sizes_hw=[(int(height), int(width)) for height, width in sides]
    )
    held_mib = []
    with segnet(model, threads=bench.threads) as server:
        warm_up(server, parts=bench.parts)
        for requests in (extent.few, extent.many - extent.few):
            Seen().add_round(
                server, Load(server.port, server.path, _PNG, str(mixed), requests, clients=_CLIENTS)
            )
            held_mib.append(server.resident_mib)
    for requests, mib in zip((extent.few, extent.many), held_mib, strict=True):
        print_row(f"resident MiB after {requests} requests", (f"{mib:.1f}",))
    print(f"growth: {held_mib[1] / held_mib[0]:.3f}; goal {_MEMORY_GOAL}")


def print_flood(bench: Bench, model: Path) -> None:
    """Ten times what it can bear."""
    print_overload(
        model,
        parts=bench.parts,
        requests=bench.extent.speed,
        seconds=bench.extent.overload_s,
        threads=bench.threads,
    )


if __name__ == "__main__":
    main()
