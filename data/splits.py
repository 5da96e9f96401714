"""Deal images to train, val and test so that no part stands on two sides, the same way each time.

A part photographed twice, once for training and once for the test, makes the test score a lie. So whole
groups are dealt. Rare classes come first, so that a class with two groups is trained on before it is tested.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data.manifest import SPLITS, DatasetError, raise_for
from data.measure import classes_in_masks
from data.sources import flat_samples, survey_folder
from data.tables import (
    SPLIT_FILE,
    further_columns,
    read_rows,
    read_split_table,
    stem_of,
    write_split_table,
)

DEFAULT_FRACTIONS: Mapping[str, float] = {"train": 0.7, "val": 0.1, "test": 0.2}


def assign_splits(
    groups: Mapping[str, str],
    *,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    classes: Mapping[str, Iterable[int]] | None = None,
) -> dict[str, str]:
    """name → split, with whole groups kept together.

    A function of names, groups, classes, fractions and seed alone: the order of the mapping does not matter.
    Groups are sorted into strata by the rarest class they hold (counted in groups) and each stratum is dealt
    by itself, the rarest first; within a stratum the largest group goes first, to the split that lacks most
    images, the last ones to splits without any. A stratum of one group goes to the split with the largest
    fraction.

    Args:
        groups: image name → group; without groups, give each image its own name.
        fractions: split → wanted share of the images; a positive share each, 1 together. Any names: equal shares
            of as many make folds.
        seed: another seed, another deal among groups of the same size.
        classes: image name → defect class ids that it shows; None or absent: no defect.

    Raises:
        DatasetError: nothing to split, shares that do not add up, or fewer groups than splits.
    """
    _check_fractions(fractions)
    members: dict[str, list[str]] = defaultdict(list)
    for name, group in groups.items():
        members[group].append(name)
    if len(members) < len(fractions):
        raise DatasetError(
            f"{len(groups)} images in {len(members)} groups cannot fill {len(fractions)} splits; "
            "add images, or check the column or pattern that names the group"
        )
    group_classes = {
        group: frozenset(class_id for name in names for class_id in (classes or {}).get(name, ()))
        for group, names in members.items()
    }
    sizes = {group: len(names) for group, names in members.items()}
    placed: Counter[str] = Counter()
    where: dict[str, str] = {}
    strata = _strata(group_classes)
    for stratum in strata:
        ordered = sorted(stratum, key=lambda group: (-sizes[group], _shuffle_key(group, seed=seed)))
        where.update(_deal(ordered, sizes=sizes, fractions=fractions, placed=placed))
    _fill_empty(where, strata=strata, sizes=sizes, fractions=fractions)
    return {name: where[groups[name]] for name in sorted(groups)}


def groups_from_pattern(names: Iterable[str], *, pattern: str) -> dict[str, str]:
    r"""name → group by a regular expression on the file's stem: its group `(?P<group>…)`, else its first.

    `(?P<group>plate\d+)_.*` puts plate07_left and plate07_right together.

    Raises:
        DatasetError: no valid expression, no group in it, or a name that it does not match.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"{pattern!r} is no regular expression: {error}") from error
    if not expression.groups:
        raise DatasetError(f"{pattern!r} holds no group; put the part's name in brackets: (plate\\d+)_.*")
    key: str | int = "group" if "group" in expression.groupindex else 1
    found: dict[str, str] = {}
    for name in names:
        match = expression.search(name)
        if match is None or not match[key]:
            raise DatasetError(
                f"{pattern!r} finds no group in the name {name!r}; widen it so that it matches every image"
            )
        found[name] = match[key]
    return found


def groups_from_column(names: Iterable[str], *, table: Path, column: str = "group") -> dict[str, str]:
    """name → group from a CSV file with the columns `name` (stem or file name) and `column`.

    Raises:
        DatasetError: no such column, or an image without a row or with an empty cell.
        OSError: the table cannot be read.
    """
    rows = read_rows(table)
    column = column.strip().lower()
    columns: Sequence[str] = list(rows[0]) if rows else []
    missing = [wanted for wanted in ("name", column) if wanted not in columns]
    if missing:
        raise DatasetError(f"{table}: no column {missing[0]!r}; it has {', '.join(columns) or 'no rows'}")
    known = {stem_of(row["name"]): row[column] for row in rows}
    without = [name for name in names if not known.get(name)]
    if without:
        raise DatasetError(
            f"{table}: no {column} for {len(without)} images, the first {without[0]!r}; add a row for each"
        )
    return {name: known[name] for name in names}


def split_folder(
    root: Path,
    *,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    group_pattern: str | None = None,
    group_table: Path | None = None,
    group_column: str = "group",
    overwrite: bool = False,
) -> dict[str, str]:
    """Write split.csv for a flat folder (images/ and masks/) and return name → split.

    Groups come from `group_pattern`, or from the column `group_column` of `group_table`; without either, from
    the split.csv that is overwritten, else each image is its own group. Defects found in the masks spread
    over the splits, the rarest first. Other columns of a table that is overwritten stay.

    Raises:
        DatasetError: a split is there already (folders, or split.csv without `overwrite`), or a file or a
            group is in the way; nothing is written then.
    """
    survey = survey_folder(root)
    if "train" not in fractions:
        raise DatasetError(
            f"no share for train among {dict(fractions)}; expected shares for {', '.join(SPLITS)}"
        )
    table = survey.root / SPLIT_FILE
    if table.exists() and not overwrite:
        raise DatasetError(f"{table} is there already; remove it, or say --overwrite to deal anew")
    raise_for((problem for problem in survey.problems if problem.file != table), root=survey.root)
    assert survey.class_map is not None, "a survey without errors has read the classes"
    if any(sample.image.parent != survey.root / "images" for sample in survey.samples):
        raise DatasetError(
            f"{survey.root / 'images'} has a folder per split already; move images between them"
        )
    samples = flat_samples(survey.root)
    names = [sample.name for sample in samples]
    groups: dict[str, str] = {}
    if group_pattern is not None:
        groups = groups_from_pattern(names, pattern=group_pattern)
    elif group_table is not None:
        groups = groups_from_column(names, table=group_table, column=group_column)
    else:
        groups = _groups_kept(names, table=table)
    splits = assign_splits(
        groups or {name: name for name in names},
        fractions=fractions,
        seed=seed,
        classes=classes_in_masks(samples, class_map=survey.class_map),
    )
    write_split_table(table, splits=splits, groups=groups, further=further_columns(table))
    return splits


def _groups_kept(names: Iterable[str], *, table: Path) -> dict[str, str]:
    """The groups of the table that is dealt anew: forgetting them would put a part on both sides."""
    rows, problems = read_split_table(table, needs_split=False)
    raise_for(problems, root=table.parent)
    known = {name: row.group for name, row in (rows or {}).items() if row.group}
    return {name: known.get(name, name) for name in names} if known else {}


def _check_fractions(fractions: Mapping[str, float]) -> None:
    wrong = [split for split, share in fractions.items() if not 0 < share <= 1]
    if wrong or abs(sum(fractions.values()) - 1) > 1e-6:
        raise DatasetError(f"shares {dict(fractions)}: expected each above 0 and their sum 1")


def _strata(group_classes: Mapping[str, frozenset[int]]) -> list[list[str]]:
    """Groups by their rarest class, the rarest class first, groups without a defect last."""
    spread = Counter(class_id for held in group_classes.values() for class_id in held)
    strata: dict[tuple[int, int], list[str]] = defaultdict(list)
    for group, held in group_classes.items():
        rarest = min(
            ((spread[class_id], class_id) for class_id in held), default=(len(group_classes) + 1, -1)
        )
        strata[rarest].append(group)
    return [strata[key] for key in sorted(strata)]


def _deal(
    ordered: Sequence[str],
    *,
    sizes: Mapping[str, int],
    fractions: Mapping[str, float],
    placed: Counter[str],
) -> dict[str, str]:
    """Each group to the split that lacks most images in this stratum; ties: to who has none yet.

    The last groups go to splits that have none, so that a rare defect is learnt, chosen and tested on.
    """
    total = sum(sizes[group] for group in ordered)
    so_far = sum(placed.values()) + total
    lacking = {split: share * total for split, share in fractions.items()}
    where: dict[str, str] = {}
    for position, group in enumerate(ordered):
        empty = [split for split in fractions if split not in where.values()]
        few = len(fractions) <= len(ordered) and len(ordered) - position <= len(empty)
        split = max(
            empty if few else fractions,
            key=lambda split: (
                round(lacking[split], 6),
                split not in where.values(),
                round(fractions[split] * so_far - placed[split], 6),
            ),
        )
        where[group] = split
        lacking[split] -= sizes[group]
        placed[split] += sizes[group]
    return where


def _fill_empty(
    where: dict[str, str],
    *,
    strata: Sequence[Sequence[str]],
    sizes: Mapping[str, int],
    fractions: Mapping[str, float],
) -> None:
    """Few groups can leave a split empty: give it a small group, of the commonest kind, from the fullest."""
    commonest_first = [
        group for stratum in reversed(strata) for group in sorted(stratum, key=sizes.__getitem__)
    ]
    for split in fractions:
        if split not in where.values():
            counts = Counter(where.values())
            fullest = max(fractions, key=lambda other: counts[other])
            where[next(group for group in commonest_first if where[group] == fullest)] = split


def _shuffle_key(group: str, *, seed: int) -> bytes:
    """A fixed random order that depends neither on Python's hashing nor on other groups being there."""
    return hashlib.sha256(f"{seed}\0{group}".encode()).digest()
