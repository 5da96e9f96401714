"""What is written down about a snapshot of labelled data, and how two of them differ."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from data.classes import ClassMap
from data.manifest import DatasetError, ordered_splits

NO_SNAPSHOT: Final = "there is no snapshot yet; `segnet data snapshot DATA` makes the first"


class SnapshotError(DatasetError):
    """A snapshot that is not there, or not what it was; says what there is, or names the file."""


class SnapshotSample(BaseModel):
    """One labelled picture of a snapshot; hashes are sha256 (hex).

    Attributes:
        name: what reports call it; no two of a snapshot share one.
        split: train or val. group: which part it shows; null: unknown.
        image: of the image file, kept byte for byte as `image_suffix`, `image_bytes` long.
        mask: of the palette PNG with its labels in the snapshot's ids, `mask_bytes` long.
        pixels: of the decoded upright RGB pixels and their size: which picture it is, however it is encoded.
        labels: of the class ids and their size: what is said of it, however that is encoded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    split: str
    group: str | None
    image: str
    image_suffix: str
    image_bytes: int
    mask: str
    mask_bytes: int
    pixels: str
    labels: str


class Content(BaseModel):
    """What a snapshot is made of, and so what its digest covers: classes.txt, and the samples by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    classes: str
    samples: tuple[SnapshotSample, ...]

    @classmethod
    def of(cls, samples: Iterable[SnapshotSample], *, class_map: ClassMap) -> "Content":
        """Content in its one order. Raises SnapshotError for two samples of one name."""
        ordered = tuple(sorted(samples, key=lambda sample: sample.name))
        twice = [name for name, count in Counter(sample.name for sample in ordered).items() if count > 1]
        if twice:
            raise SnapshotError(
                f"{len(twice)} names stand for two samples each, the first {twice[0]!r}; rename one of them"
            )
        return cls(classes=class_map.to_text(), samples=ordered)

    def to_json(self) -> bytes:
        """The one way to write it: the digest is the sha256 of these bytes."""
        return json.dumps(
            self.model_dump(), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()


class SnapshotEntry(BaseModel):
    """A line of the log: when which content became the latest, from which it came, and what that changed.

    `images` counts samples by split; `added` and `corrected` count samples against the parent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    digest: str
    parent: str | None
    created_at: datetime
    note: str
    images: dict[str, int]
    added: int
    corrected: int


class Snapshot(BaseModel):
    """One version of the labelled data, numbered as the log has it; `classes` is the text of a classes.txt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    digest: str
    classes: str
    samples: tuple[SnapshotSample, ...]
    parent: str | None
    created_at: datetime
    note: str

    @property
    def class_map(self) -> ClassMap:
        """What the ids in its masks mean."""
        return ClassMap.from_text(self.classes, origin=f"snapshot s{self.number}")

    @property
    def images(self) -> dict[str, int]:
        """Count of samples by split, train first."""
        counts = Counter(sample.split for sample in self.samples)
        return {split: counts[split] for split in ordered_splits(counts)}


@dataclass(frozen=True, slots=True)
class SnapshotDiff:
    """What became of the samples, by their names, and of the classes.

    corrected: same picture, other labels; moved: same picture, other split or group. A sample may be both.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    corrected: tuple[str, ...]
    moved: tuple[str, ...]
    classes_added: tuple[str, ...]


def difference(old: Snapshot, new: Snapshot) -> SnapshotDiff:
    """From `old` to `new`; a name that now shows another picture was removed and added."""
    before = {(sample.name, sample.pixels): sample for sample in old.samples}
    after = {(sample.name, sample.pixels): sample for sample in new.samples}
    kept = [(before[key], after[key]) for key in after if key in before]
    return SnapshotDiff(
        added=tuple(sorted(name for name, _ in after.keys() - before.keys())),
        removed=tuple(sorted(name for name, _ in before.keys() - after.keys())),
        corrected=tuple(was.name for was, now in kept if was.labels != now.labels),
        moved=tuple(was.name for was, now in kept if (was.split, was.group) != (now.split, now.group)),
        classes_added=tuple(name for name in new.class_map.names if name not in old.class_map.names),
    )
