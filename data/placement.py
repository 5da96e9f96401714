"""Where each new picture belongs: a correction or an addition, under which name, and in which split."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from data.identity import LabelledSample
from data.manifest import DatasetError
from data.snapshots import Snapshot, SnapshotSample
from data.sources import UNASSIGNED

VAL_SHARE: Final = 0.15
"""Share of the new groups that are dealt to val when nobody says where they belong."""

_NAME_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class Placement:
    """What became of new pictures.

    added: under their final names and splits; corrected: by the name whose labels they replace; unchanged: names.
    """

    added: tuple[LabelledSample, ...]
    corrected: Mapping[str, LabelledSample]
    unchanged: tuple[str, ...]


def place(arrivals: Iterable[LabelledSample], *, known: Snapshot | None) -> Placement:
    """Compare what came with what is known; a function of content, names and groups, not of any order.

    Raises:
        DatasetError: a picture came with two different masks, or a group would stand in two splits.
    """
    held = known.samples if known else ()
    # By the file as well: another version of a decoder may see a JPEG's pixels one level apart.
    twins = {sample.image: sample for sample in held} | {sample.pixels: sample for sample in held}
    new: list[LabelledSample] = []
    corrected: dict[str, LabelledSample] = {}
    unchanged: list[str] = []
    for sample in _once_each(arrivals):
        twin = twins.get(sample.pixels) or twins.get(sample.image)
        if twin is None:
            new.append(sample)
        elif twin.labels == sample.labels:
            unchanged.append(twin.name)
        else:
            corrected[twin.name] = sample
    homes = _homes(new, held)
    taken = {sample.name for sample in held}
    added: list[LabelledSample] = []
    for sample in new:
        name = _free_name(sample, taken)
        taken.add(name)
        source = replace(sample.source, name=name, split=_split_of(sample, homes))
        added.append(replace(sample, source=source))
    return Placement(tuple(added), corrected, tuple(sorted(unchanged)))


def _once_each(arrivals: Iterable[LabelledSample]) -> Iterator[LabelledSample]:
    """By name, each picture once."""
    seen: dict[str, LabelledSample] = {}
    for sample in sorted(arrivals, key=lambda one: (one.source.name, one.pixels, one.source.split)):
        first = seen.setdefault(sample.pixels, sample)
        if first is sample:
            yield sample
        elif first.labels != sample.labels:
            raise DatasetError(
                f"{first.source.mask} and {sample.source.mask} say different things of the same picture; "
                "keep the one that is right"
            )


def _homes(new: Iterable[LabelledSample], held: Sequence[SnapshotSample]) -> dict[str, str]:
    """group -> the split that it is known to stand in, or is said to."""
    homes = {one.group: (one.split, f"{one.name} of the latest snapshot") for one in held if one.group}
    for source in (sample.source for sample in new):
        if source.group is None or source.split == UNASSIGNED:
            continue
        split, with_whom = homes.setdefault(source.group, (source.split, str(source.image)))
        if split != source.split:
            raise DatasetError(
                f"{source.image} is meant for {source.split}, but its part {source.group} stands in {split} with "
                f"{with_whom}; a part on both sides makes scores a lie: move it to {split}, or take it out"
            )
    return {group: split for group, (split, _) in homes.items()}


def _split_of(sample: LabelledSample, homes: Mapping[str, str]) -> str:
    group, said = sample.source.group, sample.source.split
    if group is not None and group in homes:
        return homes[group]
    if said != UNASSIGNED:
        return said
    number = hashlib.sha256((group or sample.pixels).encode()).digest()[:8]
    return "val" if int.from_bytes(number) < VAL_SHARE * 2**64 else "train"


def _free_name(sample: LabelledSample, taken: Collection[str]) -> str:
    """The sample's own name, else with the first digits of its picture's hash, else with all of them."""
    name = sample.source.name
    candidates = (name, f"{name}-{sample.pixels[:_NAME_DIGITS]}", f"{name}-{sample.pixels}")
    return next(candidate for candidate in candidates if candidate not in taken)
