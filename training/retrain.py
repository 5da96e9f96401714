"""Retraining: champion + what inspectors labelled -> candidate -> gate -> promoted, or refused.

A killed job goes on where it was: each stage leaves its result in the job's folder, whole or not at all, and the
store and the snapshots are only ever appended to. The champion serves all the while; only the last step touches it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from data.files import write_atomically
from data.golden import open_golden
from data.inbox import Refusal, TakenIn, read_inbox
from data.locks import exclusive_lock
from data.snapshots import Snapshot, SnapshotStore
from data.workspace import Workspace
from model.store import ModelStore, Parents, Version
from training.adapt import Start, load_start
from training.candidate import kept_files, make_candidate
from training.ewc import FISHER_FILE
from training.gate.settings import GateSettings
from training.gate.trial import GATE_FILES, try_on_golden
from training.gate.verdict import GateResult
from training.network_file import NETWORK_FILE
from training.retrain_config import BASE_FILE, candidate_config
from training.retrain_job import Job, is_unfinished
from training.run import CONFIG_FILE, MODEL_FILE, Run

_log: Final = logging.getLogger(__name__)
LOCK_FILE: Final = ".retrain.lock"


class RetrainError(ValueError):
    """Retraining cannot begin as things stand; says what is missing and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of one retraining.

    Attributes:
        by: who asks, for the history.
        overlay: settings laid over the champion's (`training.retrain_config`).
        strategy: how the candidate starts; None: as the overlay says.
        overrides: `key.path=value`, laid over all.
        if_new: do nothing when the inbox holds fewer new labels than that, and no job was cut off.
        wait_s: how long to wait for another job to end.
        force: why the candidate is promoted whatever the gate says; None: the gate decides.
        gate: the gate's settings.
    """

    by: str
    overlay: Mapping[str, Any] = field(default_factory=dict)
    strategy: str | None = None
    overrides: Sequence[str] = ()
    if_new: int = 0
    wait_s: float = 0.0
    force: str | None = None
    gate: GateSettings = field(default_factory=GateSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a retraining ended.

    Attributes:
        new_labels: how many new labels the inbox held.
        refused: what in it may not be learnt from.
        taken: what came in from it; None when nothing was new.
        job: where all of it lies; None when there was too little to begin (`Request.if_new`).
        result: the gate's word; version: the candidate; promoted: whether it is the champion now.
    """

    new_labels: int
    refused: tuple[Refusal, ...] = ()
    taken: TakenIn | None = None
    job: Job | None = None
    result: GateResult | None = None
    version: Version | None = None
    promoted: bool = False


def retrain(workspace: Workspace, request: Request) -> Outcome:
    """One retraining, from the inbox to the store; a job that was cut off goes on.

    Raises:
        LockedError: another job runs, or somebody takes images in. RetrainError: no champion.
        ValueError family: the data, or that there are none, the configuration or the golden set stand in the way; the
            champion stays.
    """
    with exclusive_lock(workspace.runs / LOCK_FILE, wait_s=request.wait_s):
        store, datasets = ModelStore(workspace.models), SnapshotStore(workspace.datasets)
        champion = store.champion
        if champion is None:
            raise RetrainError(
                f"{workspace.models} has no champion to start from; put one in with "
                "`segnet models add RUN --promote`"
            )
        golden = open_golden(workspace.golden)
        with datasets.writing() as writer:
            # Under the lock from here on: what is counted is what is taken in, by one reading.
            arrivals = read_inbox(workspace.inbox, known=writer.latest, golden=golden)
            new_labels = arrivals.new_labels
            cut_off = is_unfinished(workspace.runs, champion=champion, snapshot=writer.latest)
            if new_labels < request.if_new and not cut_off:
                return Outcome(new_labels=new_labels, refused=arrivals.refused)
            base = store.attachment(champion, BASE_FILE) or _needed(store, champion, CONFIG_FILE)
            config = candidate_config(
                base,
                overlay=request.overlay,
                strategy=request.strategy,
                overrides=request.overrides,
            )
            taken, snapshot = None, writer.latest
            if snapshot is None or new_labels:
                taken = arrivals.add_to(writer, note=f"for a candidate after {champion.label}")
                snapshot = taken.snapshot
        config = config.with_data(datasets.snapshot_path(snapshot))
        job = Job.begin(workspace.runs, champion=champion, snapshot=snapshot, config=config)
        if job.is_finished:
            _log.info("%s has ended before; nothing is trained again", job.folder.name)
        # Not the one that serves, if that came out of this very job.
        champion = store.resolve(job.record.champion)
        run = Run(job.folder, config)
        write_atomically(job.folder / BASE_FILE, base.read_bytes())
        make_candidate(
            run,
            datasets.manifest(snapshot),
            start=_start(store, champion, datasets=datasets, snapshot=snapshot, run=run),
            champion=store.model_path(champion),
        )
        result = try_on_golden(
            run.model,
            champion=store.model_path(champion),
            labels=(champion.label, _label_of(store, job)),
            golden=golden,
            settings=request.gate,
            folder=job.folder,
        )
        version = _add(store, job, result=result, by=request.by)
        promoted = _decide(store, version, champion=champion, result=result, request=request)
        if not job.is_finished:
            job = job.finished(verdict=result.verdict, promoted=promoted, version=version)
        return Outcome(
            new_labels=new_labels,
            refused=arrivals.refused,
            taken=taken,
            job=job,
            result=result,
            version=version,
            promoted=promoted,
        )


def _start(
    store: ModelStore, champion: Version, *, datasets: SnapshotStore, snapshot: Snapshot, run: Run
) -> Start | None:
    """What the candidate goes on from; None when it owes the champion nothing."""
    adapt = run.config.adapt
    if adapt.strategy == "scratch" and not adapt.distillation:
        return None
    new = {sample.name for sample in snapshot.samples}
    if champion.parents.snapshot is not None:
        change = datasets.diff(datasets.resolve(champion.parents.snapshot), snapshot)
        new = {*change.added, *change.corrected}
    return load_start(
        _needed(store, champion, NETWORK_FILE),
        fisher=store.attachment(champion, FISHER_FILE),
        new_samples=frozenset(new),
    )


def _needed(store: ModelStore, version: Version, name: str) -> Path:
    path = store.attachment(version, name)
    if path is None:
        raise RetrainError(
            f"{version.label} came into the store without its {name}, so nothing can go on from it; "
            "add its run: `segnet models add RUN --promote`"
        )
    return path


def _add(store: ModelStore, job: Job, *, result: GateResult, by: str) -> Version:
    """The candidate in the store: that of before, where the job was cut off between here and its end."""
    return store.add(
        job.folder / MODEL_FILE,
        by=by,
        reason=result.summary,
        parents=Parents(
            champion=job.record.champion,
            snapshot=job.record.snapshot,
            strategy=job.record.strategy,
            run=job.folder.name,
        ),
        attachments={**kept_files(job.folder), **{name: job.folder / name for name in GATE_FILES}},
    )


def _label_of(store: ModelStore, job: Job) -> str:
    """What the candidate is called in the store, or will be."""
    return f"v{job.record.version or store.read().next_number}"


def _decide(
    store: ModelStore, version: Version, *, champion: Version, result: GateResult, request: Request
) -> bool:
    """Promote or refuse as the gate says, once; whether the candidate is the champion now."""
    last = next((event.kind for event in reversed(store.history()) if event.version == version.number), None)
    told: dict[str, Any] = {"by": request.by, "numbers": result.numbers}
    if request.force is not None and store.champion != version:
        store.promote(
            version,
            reason=request.force,
            forced=result.verdict != "promote",
            expected_champion=champion,
            **told,
        )
    # What was promoted or rolled back already, by this job or by a person, is not done over again.
    elif result.verdict == "promote" and last in ("added", "refused"):
        store.promote(version, reason=result.summary, expected_champion=champion, **told)
    elif result.verdict == "refuse" and last == "added":
        store.refuse(version, reason=result.summary, **told)
    return store.champion == version
