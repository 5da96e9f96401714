"""The same inspection over the nodes of a Ray cluster: actors hold the model, the driver alone writes the journal.

An actor that dies is started anew by Ray, on whatever node is left, and what it was at is done again: files are written
whole or not at all and rows only by the driver, so nothing is lost or told twice. The output folder has to be one that
every node sees at the same path.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray
from ray.util import ActorPool

from app.folder.inspection import Inspection
from app.folder.inspector import Inspector, Stems
from app.folder.sources import ImageFile, Source
from model.predictor import Predictor
from model.recipe import Recipe
from model.runtime import Device

_TRIES: Final = 5
"""How often an image is begun again when its actor died; an image that kills each is no accident."""

_STARTS: Final = 3
"""How often a cluster of this machine is begun; see `_start_here`."""


@dataclass(frozen=True)
class Job:
    """What every actor needs to know; all of it travels."""

    source: Source
    model: bytes
    recipe: Recipe
    out: Path
    write_overlays: bool
    device: Device
    require_device: bool
    threads: int

    @classmethod
    def of(
        cls, inspector: Inspector, *, model: bytes, device: Device, require_device: bool, threads: int
    ) -> "Job":
        """The same work as this inspector's; `model` is the bytes of its file, `threads` those of one inference."""
        return cls(
            source=inspector.source,
            model=model,
            recipe=inspector.recipe,
            out=inspector.out.resolve(),
            write_overlays=inspector.write_overlays,
            device=device,
            require_device=require_device,
            threads=threads,
        )


class _Actor:
    """One predictor in one process, on whichever node Ray puts it."""

    def __init__(self, job: Job) -> None:
        predictor = Predictor.open(
            job.model, device=job.device, require=job.require_device, threads=job.threads
        )
        self._inspector = Inspector(job.source, predictor, job.recipe, job.out, job.write_overlays)

    def inspect(self, file: ImageFile, stem: str) -> Inspection:
        return self._inspector.inspect(file, stem=stem)


@contextmanager
def ray_cluster(address: str | None, *, cpus: int) -> Iterator[None]:
    """Join a cluster, or without an address start one on this machine, which must have `cpus`; left at the end.

    Raises:
        ValueError: this machine has fewer CPUs: actors that ask for more than there are would wait for ever.
        OSError: no cluster at the address, or none comes up here.
    """
    if address is None:
        _start_here()
    else:
        ray.init(address, log_to_driver=False)
    try:
        cluster: Any = ray
        there = int(cluster.cluster_resources().get("CPU", 0))
        # A cluster may grow when more is asked for.
        if address is None and there < cpus:
            raise ValueError(
                f"workers x threads are {cpus} CPUs, and this machine has {there}; lower --workers or --threads"
            )
        yield
    finally:
        ray.shutdown()


def _start_here() -> None:
    """Start a cluster on this machine. Ray gives its processes 30 s, a constant in its code, and then raises a bare
    Exception: a machine that is busy for a moment would lose the whole inspection to it."""
    for left in reversed(range(_STARTS)):
        try:
            ray.init("local", log_to_driver=False, include_dashboard=False)
            return
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            if not left:
                raise OSError(
                    f"Ray did not come up on this machine in {_STARTS} tries of 30 s; is it very busy, or short of "
                    "memory? --engine threads needs no cluster"
                ) from error


def inspect_with_ray(
    files: Iterable[ImageFile | None], *, job: Job, stems: Stems, actors: int
) -> Iterator[Inspection]:
    """Rows of files in the order in which they are done, by `actors` processes of `job.threads` CPUs each; inside
    `ray_cluster`.

    Raises:
        ray.exceptions.RayError: an image that every actor died of, or no node left.
    """
    gpus = 1 if job.device in ("cuda", "tensorrt") else 0
    remote: Any = ray.remote(num_cpus=job.threads, num_gpus=gpus, max_restarts=-1, max_task_retries=_TRIES)(
        _Actor
    )
    shared = ray.put(job)
    pool: Any = ActorPool([remote.remote(shared) for _ in range(actors)])
    for file in files:
        if file is None:
            while pool.has_next():
                yield pool.get_next_unordered()
            continue
        stems.give([file.key])
        pool.submit(lambda actor, value: actor.inspect.remote(*value), (file, stems[file.key]))
        while pool.has_next() and not pool.has_free():
            yield pool.get_next_unordered()
    while pool.has_next():
        yield pool.get_next_unordered()
