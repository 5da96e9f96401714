"""`segnet inspect`: a folder of parts becomes masks, measured defects, verdicts and a report."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.options import Model, Store

if TYPE_CHECKING:
    from app.folder.inspection import Inspection
    from app.folder.inspector import Inspector, Stems
    from app.folder.run import Engine, Folder
    from app.folder.sources import Source
    from model.contract import Contract
    from model.recipe import Recipe
    from model.runtime import Device

_ERRORS = 3
"""Exit code: the run went to its end, but some images could not be judged."""


def command(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A folder, an image, a glob in quotes, a list (.txt), a URL."),
    ],
    model: Model,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where masks, tables and the report go.")],
    store: Store = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Rules for OK, NG and REVIEW (TOML); default: the model's own.")
    ] = None,
    mm_per_px: Annotated[
        float | None, typer.Option("--mm-per-px", min=1e-9, help="Scale; replaces the recipe's.")
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "tensorrt", "openvino"], typer.Option(help="What computes.")
    ] = "auto",
    require_device: Annotated[
        bool, typer.Option("--require-device", help="Stop when that device is not there; else use the CPU.")
    ] = False,
    engine: Annotated[
        Literal["threads", "ray"], typer.Option(help="This machine, or the nodes of a Ray cluster.")
    ] = "threads",
    address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_ADDRESS", help="Of the Ray cluster, such as auto; default: a new one on this machine."
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1, help="Threads that read and write beside the model; with ray: processes with a model."
        ),
    ] = 2,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Processor threads of one inference; default: every core, with ray: 1."),
    ] = None,
    overlays: Annotated[bool, typer.Option(help="Write pictures with tinted defects.")] = True,
    coco: Annotated[bool, typer.Option("--coco", help="Write coco.json, too.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first image that cannot be judged.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with what arrives, until stopped by Ctrl-C or SIGTERM.")
    ] = False,
    settle_s: Annotated[
        float,
        typer.Option("--settle-s", min=0.1, help="With --watch: seconds without change make a file whole."),
    ] = 2.0,
    restart: Annotated[
        bool, typer.Option("--restart", help="Inspect everything anew; the old journal is kept aside.")
    ] = False,
) -> None:
    """Inspect every image of a folder: masks, defects in px and mm, a verdict per part, tables, a report.

    Killed and started again it goes on where it was. Exit code 3: done, but some images could not be judged;
    they stand in inspections.csv with their errors.
    """
    from datetime import UTC, datetime

    from app.folder.inspector import Inspector, Stems
    from app.folder.journal import Header, open_journal, set_aside
    from app.folder.run import Folder
    from app.folder.sources import open_source
    from cli.logs import log_to
    from model.artifact import open_artifact
    from model.locate import locate_model
    from model.predictor import Predictor

    with log_to():
        files = open_source(source, skip_below=out)
        # Read once: what the actors of a cluster get is the very model that the journal names.
        artifact = open_artifact(locate_model(model, store=store))
        predictor = Predictor.open(artifact, device=device, require=require_device, threads=threads)
        rules = _rules(recipe, contract=predictor.contract, mm_per_px=mm_per_px)
        inspector = Inspector(files, predictor, rules, out, write_overlays=overlays)
        if restart:
            set_aside(out)
        header = Header(
            model_sha256=predictor.digest,
            recipe_sha256=rules.digest(),
            source=files.pattern or files.root,
            started_at=datetime.now(UTC),
        )
        with open_journal(out, header=header) as journal:
            folder = Folder(out, journal, predictor.contract, rules, predictor.provider, wants_coco=coco)
            folder.remove_partial_files()
            stems = Stems(journal.stems())
            cluster = _Cluster(address, artifact.model_bytes, device, require_device, threads or 1)
            started_s = time.monotonic()
            with _engine(engine, inspector=inspector, stems=stems, workers=workers, cluster=cluster) as run:
                if watch:
                    new = _watch(folder, files=files, engine=run, settle_s=settle_s, strict=strict)
                else:
                    new = _inspect_all(folder, files=files, engine=run, stems=stems, strict=strict)
            _finish(folder, new=new, spent_s=time.monotonic() - started_s)


def _rules(path: Path | None, *, contract: "Contract", mm_per_px: float | None) -> "Recipe":
    """The recipe to judge by. Raises RecipeError for one that contradicts itself: it would pass bad parts."""
    from model.recipe import RecipeError, default_recipe, read_recipe
    from model.recipe_check import find_contradictions

    if path is None:
        return default_recipe(contract, mm_per_px=mm_per_px)
    recipe = read_recipe(path, class_map=contract.classes, mm_per_px=mm_per_px)
    errors = [problem.text for problem in find_contradictions(recipe, contract=contract) if problem.is_error]
    if errors:
        raise RecipeError("\n".join(f"{path}: {error}" for error in errors))
    return recipe


@dataclass(frozen=True)
class _Cluster:
    """What another machine needs to open the model by itself."""

    address: str | None
    model: bytes
    device: "Device"
    require_device: bool
    threads: int


@contextmanager
def _engine(
    name: str, *, inspector: "Inspector", stems: "Stems", workers: int, cluster: _Cluster
) -> Iterator["Engine"]:
    """What turns files into rows, ready to run."""
    if name == "threads":
        from app.folder.pipeline import inspect_in_threads

        yield partial(inspect_in_threads, inspector=inspector, stems=stems, workers=workers)
        return
    from app.folder.ray_engine import Job, inspect_with_ray, ray_cluster

    job = Job.of(
        inspector,
        model=cluster.model,
        device=cluster.device,
        require_device=cluster.require_device,
        threads=cluster.threads,
    )
    with ray_cluster(cluster.address, cpus=workers * cluster.threads):
        yield partial(inspect_with_ray, job=job, stems=stems, actors=workers)


def _inspect_all(folder: "Folder", *, files: "Source", engine: "Engine", stems: "Stems", strict: bool) -> int:
    """Inspect what is there now and has no row yet, with a bar; returns how many rows are new."""
    from app.folder.sources import SourceError
    from data.progress import meter

    every = files.list_files()
    if not every and not len(folder.journal):
        raise SourceError(f"{files.pattern or files.root}: no image in it; expected files such as part.jpg")
    # All names at once, so that they do not depend on where a killed run had come to.
    stems.give(file.key for file in every)
    pending = folder.pending(every)
    seen = Counter[str]()
    started_s = time.monotonic()
    with meter("inspect", total=len(pending)) as bar:

        def count(row: "Inspection") -> None:
            seen[row.verdict] += 1
            speed = seen.total() / (time.monotonic() - started_s)
            bar.advance(note=f"{speed:.1f} images/s · {seen['NG']} NG · {seen['ERROR']} errors")

        return folder.run(pending, engine=engine, strict=strict, on_row=count)


def _watch(folder: "Folder", *, files: "Source", engine: "Engine", settle_s: float, strict: bool) -> int:
    """Inspect what is there and what arrives, a line each, until a signal ends it; returns how many rows are new."""
    from app.folder.run import arrivals

    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    typer.echo(f"watching {files.root}; Ctrl-C ends it")
    coming = arrivals(
        files, folder=folder, settle_s=settle_s, stop=stop, on_idle=folder.report_now_and_then()
    )
    return folder.run(
        coming,
        engine=engine,
        strict=strict,
        on_row=lambda row: typer.echo(f"{row.verdict:6}  {row.key}  {'; '.join(row.reasons)}"),
    )


def _finish(folder: "Folder", *, new: int, spent_s: float) -> None:
    """Write the report where it is due, and say what was found."""
    folder.remove_partial_files()  # an actor that was killed leaves one
    if folder.is_reported():
        typer.echo(
            f"nothing new: all of {len(folder.journal)} images are inspected; {folder.out / 'report.html'}"
        )
    else:
        for remark in folder.report(images_per_s=new / spent_s if new else None):
            typer.echo(remark)
    verdicts = folder.journal.verdicts()
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    if new:
        typer.echo(f"{new} images in {spent_s:.1f} s on {folder.provider}; in all: {told or 'none'}")
        typer.echo(f"report: {folder.out / 'report.html'}")
    if verdicts["ERROR"]:
        typer.secho("not judged: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
        typer.echo(f"{verdicts['ERROR']} images; see inspections.csv, column error", err=True)
        raise typer.Exit(_ERRORS)
