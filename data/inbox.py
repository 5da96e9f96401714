"""New images and corrected masks, as people put them down, become the next snapshot.

The inbox is a folder of images and masks, flat or by split, in which little must be said: without classes.txt the ids
are those of the latest snapshot, and split.csv may give groups alone. It is read, and never changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from data.classes import ClassMap
from data.identity import LabelledSample, labelled_samples
from data.leaks import Leaks
from data.manifest import DatasetError, Manifest, Sample, raise_for
from data.pairs import files_in, is_image
from data.placement import Placement, place
from data.progress import meter
from data.snapshots import Snapshot, SnapshotStore, SnapshotWriter
from data.sources import CLASSES_FILE, UNASSIGNED, flat_samples, survey_folder
from data.tables import SPLIT_FILE, read_split_table

TAKEN_SPLITS: Final = ("train", "val")
"""What may be learnt from, and chosen by; the test is the golden set's."""

_NAMED_AT_MOST: Final = 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """A picture that was left out, by its name in the inbox, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What became of an inbox: names as the snapshot has them, and what was left out."""

    snapshot: Snapshot
    added: tuple[str, ...]
    corrected: tuple[str, ...]
    unchanged: tuple[str, ...]
    refused: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What came, after all of it was read once.

    Attributes:
        root: the folder it lies in.
        known: the snapshot that it is compared with; None before the first.
        class_map: the classes of the snapshot that it would become; None where nothing came.
        accepted: what may be learnt from, in the ids of `class_map`; refused: what may not, and why.
    """

    root: Path
    known: Snapshot | None
    class_map: ClassMap | None
    accepted: tuple[LabelledSample, ...]
    refused: tuple[Refusal, ...]

    @property
    def new_labels(self) -> int:
        """How many pictures with these labels the snapshot does not hold. What is refused does not count: it stays in
        the inbox for good."""
        held = {(sample.pixels, sample.labels) for sample in self.known.samples} if self.known else set()
        return len({(sample.pixels, sample.labels) for sample in self.accepted} - held)

    def add_to(self, writer: SnapshotWriter, *, note: str) -> TakenIn:
        """The snapshot with them: new pictures added, corrected masks in place of older ones.

        `writer` is at the snapshot that they were compared with.

        - The same picture, however encoded, is a correction: its new mask counts; name, split and group stay.
        - Another picture under a known name is kept under NAME-<8 digits of its hash>.
        - A group stays in its split. New groups are dealt by a hash, 15 % to val; a picture without one is its own.

        Raises:
            DatasetError: a split contradicts, a picture has two masks, or nothing may be learnt from; then nothing
                was taken in. SnapshotError: a file was changed meanwhile. OSError: the disk is full.
        """
        assert writer.latest is self.known, "the store is locked since they were read"
        if self.class_map is None or not self.accepted:
            raise _nothing_in(self.root, refused=self.refused)
        placement = place(self.accepted, known=self.known)
        return TakenIn(
            snapshot=_write(writer, placement, class_map=self.class_map, note=note),
            added=tuple(sorted(sample.source.name for sample in placement.added)),
            corrected=tuple(sorted(placement.corrected)),
            unchanged=placement.unchanged,
            refused=self.refused,
        )


def open_inbox(folder: Path, *, class_map: ClassMap | None) -> Manifest:
    """What lies in an inbox; samples without a split have `UNASSIGNED`. Names are read, pixels are not.

    `class_map` says what the ids mean where there is no classes.txt.

    Raises:
        DatasetError: nothing in it, no classes, a picture for `test` or another split of its own, or whatever
            `data.sources.open_dataset` refuses.
    """
    if _is_empty(folder):
        raise _nothing_in(folder)
    survey = survey_folder(folder)
    classes_file, table = folder / CLASSES_FILE, folder / SPLIT_FILE
    is_flat = any(is_image(path) for path in files_in(folder / "images"))
    by_class = survey.class_map or (None if classes_file.exists() else class_map)
    # A flat folder's table is judged below: an ordinary data set must have one that gives every split.
    settled = {*([table] if is_flat else []), *([classes_file] if by_class else [])}
    raise_for((problem for problem in survey.problems if problem.file not in settled), root=folder)
    assert by_class is not None, "a survey without errors has read the classes"
    samples = _flat_samples(folder) if is_flat else survey.samples
    if not samples:
        raise _nothing_in(folder)
    for sample in samples:
        if sample.split not in (*TAKEN_SPLITS, UNASSIGNED):
            raise DatasetError(
                f"{sample.image} is meant for the split {sample.split}, but what candidates are judged on is frozen "
                "in the golden set; move it to train or val, or give it no split"
            )
    return Manifest(root=folder, class_map=by_class, samples=samples)


def read_inbox(inbox: Path, *, known: Snapshot | None, golden: Manifest | None) -> Arrivals:
    """Read an inbox, which may be empty, once; `known` is the snapshot that it is compared with.

    - Classes are matched by name, and new ones appended.
    - What shows a golden picture, or a part that is in the golden set, is left out; the rest goes on.

    Memory does not grow with the images.

    Raises:
        DatasetError: a file is broken, or a split or a class contradicts; names it.
    """
    if _is_empty(inbox):
        return Arrivals(root=inbox, known=known, class_map=None, accepted=(), refused=())
    dataset = open_inbox(inbox, class_map=known.class_map if known else None)
    return _read(dataset, known=known, golden=golden)


def take_in(inbox: Path, *, store: SnapshotStore, golden: Manifest | None, note: str) -> TakenIn:
    """The latest snapshot with what lies in the inbox: `read_inbox` and `Arrivals.add_to`.

    The store is locked meanwhile: another process waits for ten minutes.

    Raises:
        DatasetError: as these two say; then nothing was taken in. LockedError: somebody else writes.
        OSError: the disk is full.
    """
    with store.writing() as writer:
        return read_inbox(inbox, known=writer.latest, golden=golden).add_to(writer, note=note)


def take_in_dataset(
    dataset: Manifest, *, store: SnapshotStore, golden: Manifest | None, note: str
) -> TakenIn:
    """As `take_in`, from the splits train and val of an ordinary data set: how the first snapshot is made."""
    samples = tuple(sample for sample in dataset.samples if sample.split in TAKEN_SPLITS)
    if not samples:
        raise DatasetError(f"{dataset.root}: no image in train or val; split it with `segnet data split`")
    with store.writing() as writer:
        arrivals = _read(replace(dataset, samples=samples), known=writer.latest, golden=golden)
        return arrivals.add_to(writer, note=note)


def _is_empty(inbox: Path) -> bool:
    """Whether nobody has put anything into its images/ yet."""
    return not any(path.is_file() and not path.name.startswith(".") for path in (inbox / "images").rglob("*"))


def _nothing_in(inbox: Path, *, refused: Sequence[Refusal] = ()) -> DatasetError:
    if not refused:
        return DatasetError(
            f"{inbox} is empty: put pictures into images/ and their masks under the same names into masks/"
        )
    named = "; ".join(f"{one.name} {one.why}" for one in refused[:_NAMED_AT_MOST])
    more = f"; and {len(refused) - _NAMED_AT_MOST} more" if len(refused) > _NAMED_AT_MOST else ""
    return DatasetError(f"{inbox}: nothing in it may be learnt from: {named}{more}")


def _flat_samples(folder: Path) -> tuple[Sample, ...]:
    """The pairs of a flat folder with the splits and groups that its table, if any, gives to some of them."""
    table = folder / SPLIT_FILE
    rows, problems = read_split_table(table, needs_split=False)
    raise_for(problems, root=folder)
    samples = {sample.name: sample for sample in flat_samples(folder)}
    for name, row in (rows or {}).items():
        if name not in samples:
            raise DatasetError(
                f"{table}: names {name!r}, which is not in images/; remove the row, or add the image"
            )
        samples[name] = replace(samples[name], split=row.split or UNASSIGNED, group=row.group)
    return tuple(samples.values())


def _read(dataset: Manifest, *, known: Snapshot | None, golden: Manifest | None) -> Arrivals:
    """Every sample, read once."""
    class_map = _classes_after(known, dataset)
    leaks = Leaks(golden)
    accepted: list[LabelledSample] = []
    refused: list[Refusal] = []
    with meter(f"Reading {dataset.root.name}", total=len(dataset.samples)) as progress:
        for sample in labelled_samples(dataset, onto=class_map):
            why = leaks.why_not(sample)
            if why is None:
                accepted.append(sample)
            else:
                refused.append(Refusal(sample.source.name, why))
            progress.advance()
    return Arrivals(
        root=dataset.root,
        known=known,
        class_map=class_map,
        accepted=tuple(accepted),
        refused=tuple(refused),
    )


def _classes_after(known: Snapshot | None, dataset: Manifest) -> ClassMap:
    """The classes of the snapshot, whose ids stay, and then those that came new."""
    if known is None:
        return dataset.class_map
    for before, now in known.class_map.role_conflicts(dataset.class_map):
        raise DatasetError(
            f"{dataset.root / CLASSES_FILE}: the class {now.name} is {now.role} here and {before.role} in the latest "
            f"snapshot; write `{dataset.class_map.index_of(now.name)} {now.name} {before.role}`"
        )
    return known.class_map.widened(dataset.class_map)


def _write(writer: SnapshotWriter, placement: Placement, *, class_map: ClassMap, note: str) -> Snapshot:
    samples = {sample.name: sample for sample in (writer.latest.samples if writer.latest else ())}
    for name, sample in placement.corrected.items():
        samples[name] = writer.put(sample, class_map=class_map, corrects=samples[name])
    for sample in placement.added:
        samples[sample.source.name] = writer.put(sample, class_map=class_map)
    return writer.commit(samples.values(), class_map=class_map, note=note)
