"""All versions of the labelled data in one folder: nothing that was ever trained on is overwritten.

    ROOT/log.jsonl                  which content became the latest, and when: the only truth, appended to
    ROOT/snapshots/DIGEST.json      what a snapshot is made of: classes, and the hashes of its samples
    ROOT/objects/ab/SHA256SUFFIX    images as they came, and masks as palette PNG; read-only

Objects are on disk before the snapshot that names them, and that before the log tells of it: a crash leaves files that
nobody knows of and the next run finds again, never a snapshot without its files. Readers take no lock.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from data.append_log import AppendLog
from data.classes import ClassMap
from data.identity import LabelledSample
from data.manifest import MASK_SUFFIX, Manifest, Sample, ordered_splits
from data.objects import ObjectError, Objects
from data.snapshot_records import (
    NO_SNAPSHOT,
    Content,
    Snapshot,
    SnapshotDiff,
    SnapshotEntry,
    SnapshotError,
    SnapshotSample,
    difference,
)
from data.snapshot_writer import SnapshotWriter

__all__ = [
    "Snapshot", "SnapshotDiff", "SnapshotEntry", "SnapshotError", "SnapshotSample", "SnapshotStore", "SnapshotWriter",
]  # fmt: skip

_SNAPSHOTS: Final = "snapshots"
_NAMED_AT_MOST: Final = 5
# Taking in a large data set takes minutes; whoever comes second waits for it.
_WAIT_S: Final = 600.0


class SnapshotStore:
    """The snapshots in the folder `root`, which need not exist before the first one is added."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._log = AppendLog(root / "log.jsonl")
        self._objects = Objects(root / "objects")

    def log(self) -> tuple[SnapshotEntry, ...]:
        """What became the latest, oldest first. Raises SnapshotError or LogError for a damaged log."""
        lines = self._log.read()
        try:
            return tuple(SnapshotEntry.model_validate(line) for line in lines)
        except ValidationError as error:
            raise SnapshotError(
                f"{self.root / 'log.jsonl'}: a line is no snapshot ({error.errors()[0]['msg']}); "
                "take it from a backup, or use the version that wrote it"
            ) from error

    def latest(self) -> Snapshot | None:
        """The snapshot that training takes; None before the first."""
        entries = self.log()
        return self._read(entries[-1]) if entries else None

    def resolve(self, ref: str) -> Snapshot:
        """The snapshot `latest`, `s3`, `3`, or the newest whose digest begins with `ref` (6 digits or more).

        Raises:
            SnapshotError: none is called that; says which there are.
        """
        entries = self.log()
        if not entries:
            raise SnapshotError(f"{self.root}: {NO_SNAPSHOT}")
        for entry in reversed(entries):
            is_digest = len(ref) >= 6 and entry.digest.startswith(ref.lower())
            if ref in ("latest", str(entry.number), f"s{entry.number}") or is_digest:
                return self._read(entry)
        raise SnapshotError(
            f"no snapshot {ref!r}; there are s1 to s{entries[-1].number}, latest, "
            "and 6 or more digits of a digest: `segnet data log` lists them"
        )

    def snapshot_path(self, snapshot: Snapshot) -> Path:
        """The file that says what the snapshot is made of."""
        return self.root / _SNAPSHOTS / f"{snapshot.digest}.json"

    def manifest(self, snapshot: Snapshot) -> Manifest:
        """The snapshot as a data set to train on, its files where they lie in the store.

        Raises:
            ObjectError: a file is missing or has another size (`verify` looks into them).
        """
        samples = [self._sample(sample) for sample in snapshot.samples]
        order = {split: rank for rank, split in enumerate(ordered_splits(one.split for one in samples))}
        return Manifest(
            root=self.root,
            class_map=snapshot.class_map,
            samples=tuple(sorted(samples, key=lambda sample: (order[sample.split], sample.name))),
        )

    def verify(self, snapshot: Snapshot) -> None:
        """Hash every file of the snapshot. Raises ObjectError that names the damaged ones."""
        damaged: list[str] = []
        for sample in snapshot.samples:
            paths = self._sample(sample)
            whole = (
                self._objects.is_whole(sample.image, suffix=sample.image_suffix),
                self._objects.is_whole(sample.mask, suffix=MASK_SUFFIX),
            )
            damaged += [
                f"{path} ({sample.name})"
                for path, fine in zip((paths.image, paths.mask), whole, strict=True)
                if not fine
            ]
        if damaged:
            more = f" and {len(damaged) - _NAMED_AT_MOST} more" if len(damaged) > _NAMED_AT_MOST else ""
            raise ObjectError(
                f"changed since they were taken in: {', '.join(damaged[:_NAMED_AT_MOST])}{more}; "
                "take them from a backup"
            )

    def diff(self, old: Snapshot, new: Snapshot) -> SnapshotDiff:
        """What changed from `old` to `new`."""
        return difference(old, new)

    @contextmanager
    def writing(self, *, wait_s: float = _WAIT_S) -> Iterator["SnapshotWriter"]:
        """The right to add, held by nobody else.

        Raises:
            LockedError: somebody else held it for `wait_s` seconds. OSError: the folder cannot be written to.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self._log.writing(wait_s=wait_s) as log:
            yield SnapshotWriter(self.root / _SNAPSHOTS, latest=self.latest(), objects=self._objects, log=log)

    def add(self, samples: Iterable[LabelledSample], *, class_map: ClassMap, note: str) -> Snapshot:
        """A snapshot of exactly these samples, whose labels are in the ids of `class_map`; see `SnapshotWriter`.

        `data.inbox.take_in` adds to what is there, with all the rules; this one asks nothing.
        """
        with self.writing() as writer:
            return writer.commit(
                [writer.put(sample, class_map=class_map) for sample in samples],
                class_map=class_map,
                note=note,
            )

    def _read(self, entry: SnapshotEntry) -> Snapshot:
        path = self.root / _SNAPSHOTS / f"{entry.digest}.json"
        try:
            written = path.read_bytes()
        except FileNotFoundError as error:
            raise SnapshotError(
                f"{path} is missing, snapshot s{entry.number}; take it from a backup"
            ) from error
        if hashlib.sha256(written).hexdigest() != entry.digest:
            raise SnapshotError(f"{path} was changed, snapshot s{entry.number}; take it from a backup")
        content = Content.model_validate_json(written)
        return Snapshot(
            **entry.model_dump(include={"number", "digest", "parent", "created_at", "note"}),
            classes=content.classes,
            samples=content.samples,
        )

    def _sample(self, sample: SnapshotSample) -> Sample:
        return Sample(
            name=sample.name,
            image=self._objects.check_size(
                sample.image, suffix=sample.image_suffix, size_bytes=sample.image_bytes
            ),
            mask=self._objects.check_size(sample.mask, suffix=MASK_SUFFIX, size_bytes=sample.mask_bytes),
            split=sample.split,
            group=sample.group,
        )
