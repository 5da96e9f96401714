"""How a snapshot comes to be: its files first, then what it is made of, then the log."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from data.append_log import Writer
from data.classes import ClassMap
from data.files import write_atomically
from data.identity import LabelledSample, array_sha256
from data.manifest import MASK_SUFFIX
from data.masks import encode_labels
from data.objects import Objects
from data.snapshot_records import (
    Content,
    Snapshot,
    SnapshotEntry,
    SnapshotError,
    SnapshotSample,
    difference,
)


class SnapshotWriter:
    """Adds to the snapshots in `folder` while the lock of their log is held; `latest` is true as long."""

    def __init__(self, folder: Path, *, latest: Snapshot | None, objects: Objects, log: Writer) -> None:
        self.latest = latest
        self._folder, self._objects, self._log = folder, objects, log

    def put(
        self, sample: LabelledSample, *, class_map: ClassMap, corrects: SnapshotSample | None = None
    ) -> SnapshotSample:
        """Keep a sample's files; with `corrects`, its labels alone: the rest stays as that sample has it.

        `class_map` is what the sample's labels were renumbered to.

        Raises:
            SnapshotError: a file is no longer the one that was read. OSError: it cannot be read or written.
        """
        labels = sample.read_labels()
        _refuse_changed(sample.source.mask, array_sha256(labels) == sample.labels)
        mask = encode_labels(labels, class_map)
        put_mask = {
            "mask": self._objects.put(mask, suffix=MASK_SUFFIX),
            "mask_bytes": len(mask),
            "labels": sample.labels,
        }
        if corrects is not None:
            return corrects.model_copy(update=put_mask)
        image, suffix = sample.source.image.read_bytes(), sample.source.image.suffix.lower()
        _refuse_changed(sample.source.image, hashlib.sha256(image).hexdigest() == sample.image)
        return SnapshotSample(
            name=sample.source.name,
            split=sample.source.split,
            group=sample.source.group,
            image=self._objects.put(image, suffix=suffix),
            image_suffix=suffix,
            image_bytes=len(image),
            pixels=sample.pixels,
            **put_mask,
        )

    def commit(self, samples: Iterable[SnapshotSample], *, class_map: ClassMap, note: str) -> Snapshot:
        """The samples, all put before or taken from `latest`, become the latest snapshot; it is on disk on return.

        The same content as `latest` is `latest`, and nothing is written.

        Raises:
            SnapshotError: two samples of one name. OSError: it cannot be written; then nothing happened.
        """
        content = Content.of(samples, class_map=class_map)
        written = content.to_json()
        digest = hashlib.sha256(written).hexdigest()
        parent = self.latest
        if parent is not None and parent.digest == digest:
            return parent
        snapshot = Snapshot(
            number=parent.number + 1 if parent else 1,
            digest=digest,
            classes=content.classes,
            samples=content.samples,
            parent=parent.digest if parent else None,
            created_at=datetime.now(UTC),
            note=note,
        )
        path = self._folder / f"{digest}.json"
        if not path.exists():
            self._folder.mkdir(exist_ok=True)
            write_atomically(path, written).chmod(0o444)
        self._log.append(_entry(snapshot, parent=parent).model_dump(mode="json"))
        self.latest = snapshot
        return snapshot


def _entry(snapshot: Snapshot, *, parent: Snapshot | None) -> SnapshotEntry:
    change = None if parent is None else difference(parent, snapshot)
    return SnapshotEntry(
        **snapshot.model_dump(include={"number", "digest", "parent", "created_at", "note"}),
        images=snapshot.images,
        added=len(snapshot.samples) if change is None else len(change.added),
        corrected=0 if change is None else len(change.corrected),
    )


def _refuse_changed(path: Path, is_same: bool) -> None:
    if not is_same:
        raise SnapshotError(
            f"{path} changed while it was taken in; run it again when nobody writes to the folder"
        )
