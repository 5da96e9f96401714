"""New images and corrected masks, as people put them down, become the next snapshot.

The inbox is a folder of images and masks, flat or by split, in which little must be said: without classes.txt the ids
are those of the latest snapshot, and split.csv may give groups alone. It is read, and never changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from data.classes import ClassMap, ClassSpec
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


def open_inbox(folder: Path, *, class_map: ClassMap | None) -> Manifest:
    """What lies in an inbox; samples without a split have `UNASSIGNED`. Names are read, pixels are not.

    `class_map` says what the ids mean where there is no classes.txt.

    Raises:
        DatasetError: nothing in it, no classes, a picture for `test` or another split of its own, or whatever
            `data.sources.open_dataset` refuses.
    """
    nothing = DatasetError(
        f"{folder} is empty: put pictures into images/ and their masks under the same names into masks/"
    )
    if is_empty(folder):
        raise nothing
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
        raise nothing
    for sample in samples:
        if sample.split not in (*TAKEN_SPLITS, UNASSIGNED):
            raise DatasetError(
                f"{sample.image} is meant for the split {sample.split}, but what candidates are judged on is frozen "
                "in the golden set; move it to train or val, or give it no split"
            )
    return Manifest(root=folder, class_map=by_class, samples=samples)


def take_in(inbox: Path, *, store: SnapshotStore, golden: Manifest | None, note: str) -> TakenIn:
    """The latest snapshot with what lies in the inbox: new pictures added, corrected masks in place of older ones.

    - The same picture, however encoded, is a correction: its new mask counts; name, split and group stay.
    - Another picture under a known name is kept under NAME-<8 digits of its hash>.
    - A group stays in its split. New groups are dealt by a hash, 15 % to val; a picture without one is its own.
    - What shows a golden picture, or a part that is in the golden set, is left out; the rest goes on.
    - Classes are matched by name, and new ones appended.

    The store is locked meanwhile: another process waits for ten minutes. Memory does not grow with the images.

    Raises:
        DatasetError: a file is broken, a split contradicts, a picture has two masks, or nothing may be learnt from;
            then nothing was taken in. LockedError: somebody else writes. OSError: the disk is full.
    """
    with store.writing() as writer:
        known = writer.latest
        arrivals = open_inbox(inbox, class_map=known.class_map if known else None)
        return _add_to(writer, arrivals, golden=golden, note=note)


def take_in_dataset(
    dataset: Manifest, *, store: SnapshotStore, golden: Manifest | None, note: str
) -> TakenIn:
    """As `take_in`, from the splits train and val of an ordinary data set: how the first snapshot is made."""
    samples = tuple(sample for sample in dataset.samples if sample.split in TAKEN_SPLITS)
    if not samples:
        raise DatasetError(f"{dataset.root}: no image in train or val; split it with `segnet data split`")
    with store.writing() as writer:
        return _add_to(writer, replace(dataset, samples=samples), golden=golden, note=note)


def count_new(inbox: Path, *, store: SnapshotStore, golden: Manifest | None = None) -> int:
    """How many pictures with these labels the latest snapshot does not hold; 0 for an empty or missing inbox.

    With `golden`, those that `take_in` would leave out are not counted: they stay in the inbox for good.

    Raises:
        DatasetError: as `take_in`.
    """
    if is_empty(inbox):
        return 0
    known = store.latest()
    arrivals = open_inbox(inbox, class_map=known.class_map if known else None)
    held = {(sample.pixels, sample.labels) for sample in known.samples} if known else set()
    new = {
        (sample.pixels, sample.labels)
        for sample, refusal in _look_at(arrivals, onto=_classes_after(known, arrivals), golden=golden)
        if refusal is None
    }
    return len(new - held)


def is_empty(inbox: Path) -> bool:
    """Whether nobody has put anything into its images/ yet."""
    return not any(path.is_file() and not path.name.startswith(".") for path in (inbox / "images").rglob("*"))


def _add_to(writer: SnapshotWriter, arrivals: Manifest, *, golden: Manifest | None, note: str) -> TakenIn:
    known = writer.latest
    class_map = _classes_after(known, arrivals)
    accepted: list[LabelledSample] = []
    refused: list[Refusal] = []
    for sample, refusal in _look_at(arrivals, onto=class_map, golden=golden):
        if refusal is None:
            accepted.append(sample)
        else:
            refused.append(refusal)
    if not accepted:
        named = "; ".join(f"{one.name} {one.why}" for one in refused[:_NAMED_AT_MOST])
        more = f"; and {len(refused) - _NAMED_AT_MOST} more" if len(refused) > _NAMED_AT_MOST else ""
        raise DatasetError(f"{arrivals.root}: nothing in it may be learnt from: {named}{more}")
    placement = place(accepted, known=known)
    snapshot = _write(writer, placement, class_map=class_map, note=note)
    return TakenIn(
        snapshot=snapshot,
        added=tuple(sorted(sample.source.name for sample in placement.added)),
        corrected=tuple(sorted(placement.corrected)),
        unchanged=placement.unchanged,
        refused=tuple(refused),
    )


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


def _classes_after(known: Snapshot | None, arrivals: Manifest) -> ClassMap:
    """The classes of the latest snapshot, whose ids stay, and then those that came new."""
    if known is None:
        return arrivals.class_map
    specs = {spec.name: spec for spec in known.class_map.classes}
    for class_id, spec in enumerate(arrivals.class_map.classes):
        first = specs.get(spec.name)
        if first is None:
            specs[spec.name] = _told_apart(spec, specs)
        elif first.role != spec.role:
            raise DatasetError(
                f"{arrivals.root / CLASSES_FILE}: the class {spec.name} is {spec.role} here and {first.role} in "
                f"the latest snapshot; write `{class_id} {spec.name} {first.role}`"
            )
    return ClassMap(classes=tuple(specs.values()))


def _told_apart(spec: ClassSpec, others: Mapping[str, ClassSpec]) -> ClassSpec:
    """The class with its colour, or where another has that, with the default one of its new id."""
    if spec.color not in {other.color for other in others.values()}:
        return spec
    return ClassMap.from_names((*others, spec.name)).classes[-1].model_copy(update={"role": spec.role})


def _look_at(
    arrivals: Manifest, *, onto: ClassMap, golden: Manifest | None
) -> Iterator[tuple[LabelledSample, Refusal | None]]:
    """Each sample, read once, and why it is left out, if it is."""
    leaks = Leaks(golden)
    with meter(f"Reading {arrivals.root.name}", total=len(arrivals.samples)) as progress:
        for sample in labelled_samples(arrivals, onto=onto):
            why = leaks.why_not(sample)
            yield sample, None if why is None else Refusal(sample.source.name, why)
            progress.advance()


def _write(writer: SnapshotWriter, placement: Placement, *, class_map: ClassMap, note: str) -> Snapshot:
    samples = {sample.name: sample for sample in (writer.latest.samples if writer.latest else ())}
    for name, sample in placement.corrected.items():
        samples[name] = writer.put(sample, class_map=class_map, corrects=samples[name])
    for sample in placement.added:
        samples[sample.source.name] = writer.put(sample, class_map=class_map)
    return writer.commit(samples.values(), class_map=class_map, note=note)
