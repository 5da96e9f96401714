"""A retraining job and its one folder: what it starts from, how far it is, and how it ended.

A job is named by what decides it: champion, snapshot and configuration. So the same question asked twice is one job:
one that was killed goes on, one that has ended tells its end again.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from data.files import write_atomically
from data.snapshots import Snapshot
from model.store import Version
from training.config import RunConfig
from training.gate.verdict import GateVerdict

JOB_FILE: Final = "job.json"
_KEY_CHARACTERS: Final = 8


class JobError(ValueError):
    """A folder of a job that cannot be read."""


class JobRecord(BaseModel):
    """What job.json says. `verdict` is the gate's, `version` the candidate's number in the store; null until then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    champion: str
    snapshot: str
    strategy: str
    started_at: datetime
    finished_at: datetime | None = None
    verdict: GateVerdict | None = None
    promoted: bool | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job's folder and its record."""

    folder: Path
    record: JobRecord

    @classmethod
    def begin(cls, runs: Path, *, champion: Version, snapshot: Snapshot, config: RunConfig) -> Self:
        """The job for this champion, snapshot and configuration, made if it is not there yet. Raises JobError.

        It may be the one that the champion came from: asked again after the promotion, it has been answered.
        """
        if champion.parents.run is not None and (runs / champion.parents.run / JOB_FILE).is_file():
            own = cls.open(runs / champion.parents.run)
            if own.folder.name.endswith(_key(own.record.champion, snapshot=snapshot, config=config)):
                return own
        key = _key(champion.file_sha256, snapshot=snapshot, config=config)
        folder = runs / f"retrain-{champion.label}-s{snapshot.number}-{config.adapt.strategy}-{key}"
        if (folder / JOB_FILE).is_file():
            return cls.open(folder)
        folder.mkdir(parents=True, exist_ok=True)
        record = JobRecord(
            champion=champion.file_sha256,
            snapshot=snapshot.digest,
            strategy=config.adapt.strategy,
            started_at=datetime.now(UTC),
        )
        return cls(folder, record)._written()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The job in a folder. Raises JobError when its record is missing or damaged."""
        path = folder / JOB_FILE
        try:
            return cls(folder, JobRecord.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError) as error:
            raise JobError(f"{path}: no record of a job; move {folder} away and start again") from error

    @property
    def is_finished(self) -> bool:
        """Whether the gate has spoken and the store was told."""
        return self.record.finished_at is not None

    def finished(self, *, verdict: GateVerdict, promoted: bool, version: Version) -> Self:
        """The same job, ended."""
        ended = self.record.model_copy(
            update={
                "finished_at": datetime.now(UTC),
                "verdict": verdict,
                "promoted": promoted,
                "version": version.number,
            }
        )
        return type(self)(self.folder, ended)._written()

    def _written(self) -> Self:
        write_atomically(self.folder / JOB_FILE, self.record.model_dump_json(indent=2).encode())
        return self


def is_unfinished(runs: Path, *, champion: Version, snapshot: Snapshot | None) -> bool:
    """Whether the snapshot was made to learn from, and a job that should have done so was cut off, or never begun."""
    if snapshot is None:
        return False
    jobs = [
        job
        for job in (Job.open(path.parent) for path in sorted(runs.glob(f"retrain-*/{JOB_FILE}")))
        if (job.record.champion, job.record.snapshot) == (champion.file_sha256, snapshot.digest)
    ]
    if jobs:
        return not any(job.is_finished for job in jobs)
    return champion.parents.snapshot not in (None, snapshot.digest)


def _key(champion: str, *, snapshot: Snapshot, config: RunConfig) -> str:
    """What a job is named by; `champion` is the sha256 of its file."""
    deciding = f"{champion}\0{snapshot.digest}\0{config.digest()}"
    return hashlib.sha256(deciding.encode()).hexdigest()[:_KEY_CHARACTERS]
