"""Open a folder of images and masks as a Manifest, or say which file stands in the way.

Two layouts are read where they lie; `data.formats` turns others (COCO, LabelMe, coloured masks, …) into
the first:

    images/{split}/NAME.jpg  masks/{split}/NAME.png  classes.txt               split by folder
    images/NAME.jpg          masks/NAME.png          classes.txt  split.csv    split by table

Masks are index or palette PNGs; NAME pairs them with their image. `split.csv` has the columns `name`, `split`
and, when parts were photographed more than once, `group`. In the first layout it is optional and only its
groups count: the folder decides the split.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.classes import ClassMap
from data.manifest import (
    SPLITS,
    Manifest,
    Problem,
    Sample,
    ordered_splits,
    raise_for,
)
from data.pairs import error, files_in, is_image, pair_files, warning
from data.tables import SPLIT_FILE, SplitRow, read_split_table

CLASSES_FILE = "classes.txt"

_MISSPELT = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "dev": "val",
    "testing": "test",
}
UNASSIGNED = "(none)"
"""The split of every sample of a flat folder that has no split.csv yet; `open_dataset` never returns it."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What stands in a data folder, before a pixel is read: the complete pairs, and everything amiss."""

    root: Path
    class_map: ClassMap | None
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]


def open_dataset(root: Path) -> Manifest:
    """The data set in `root`, either layout; file names are read here, pixels are not.

    Raises:
        DatasetError: an image has no mask, two images share a name, a table does not fit the files, …:
            names the files and what to do. `data.doctor` looks into the files as well. An empty split is no
            error here (a folder may be for testing alone), but `Manifest.split` says so when it is asked.
    """
    survey = survey_folder(root)
    raise_for(survey.problems, root=survey.root)
    assert survey.class_map is not None, "a survey without errors has read the classes"
    return Manifest(root=survey.root, class_map=survey.class_map, samples=survey.samples)


def survey_folder(root: Path) -> Survey:
    """Look at every name in a data folder and go on past what is wrong, so that all of it is reported."""
    root = Path(root)
    if not root.is_dir():
        missing = error(root, "there is no such folder", "give the one that holds images/ and masks/")
        return Survey(root=root, class_map=None, samples=(), problems=(missing,))
    problems: list[Problem] = []
    class_map = _read_classes(root, problems)
    images, masks = root / "images", root / "masks"
    for folder in (images, masks):
        if not folder.is_dir():
            problems.append(
                error(folder, "this folder is missing", f"see the layouts below {root.name}/ in the README")
            )
    samples: tuple[Sample, ...] = ()
    if images.is_dir() and masks.is_dir():
        flat = any(is_image(path) for path in files_in(images))
        nested = sorted(path for path in images.iterdir() if path.is_dir() and not path.name.startswith("."))
        if flat and nested:
            problems.append(
                error(
                    images, "holds both images and folders", "move the images into images/train and its like"
                )
            )
        elif flat:
            samples = _survey_flat(root, problems)
        else:
            samples = _survey_nested(root, [path.name for path in nested], problems)
    return Survey(root=root, class_map=class_map, samples=samples, problems=tuple(problems))


def flat_samples(root: Path) -> tuple[Sample, ...]:
    """Every complete pair of a flat folder, whatever its split.csv says: what `segnet data split` deals."""
    return tuple(
        Sample(name, image, mask, UNASSIGNED)
        for name, image, mask in pair_files(root / "images", root / "masks", [])
    )


def _read_classes(root: Path, problems: list[Problem]) -> ClassMap | None:
    path = root / CLASSES_FILE
    try:
        return ClassMap.read(path)
    except FileNotFoundError:
        problems.append(
            error(path, "this file is missing", "write one line per class: `0 background`, `1 scratch`, …")
        )
    except (OSError, ValueError) as reason:
        problems.append(error(path, str(reason), "write one line per class: `0 background`, `1 scratch`, …"))
    return None


def _survey_nested(root: Path, splits: Sequence[str], problems: list[Problem]) -> tuple[Sample, ...]:
    rows, table_problems = read_split_table(root / SPLIT_FILE, needs_split=False)
    problems += table_problems
    samples: list[Sample] = []
    groups = {name: row.group for name, row in (rows or {}).items()}
    for split in ordered_splits(splits):
        folder = root / "images" / split
        if split.lower() in _MISSPELT:
            better = _MISSPELT[split.lower()]
            problems.append(
                error(folder, f"is no split of ours: {', '.join(SPLITS)}", f"rename it to {better}")
            )
            continue
        pairs = pair_files(folder, root / "masks" / split, problems)
        samples += [Sample(name, image, mask, split, groups.get(name)) for name, image, mask in pairs]
    for folder in sorted((root / "masks").iterdir()):
        if folder.is_dir() and not folder.name.startswith(".") and folder.name not in splits:
            problems.append(warning(folder, f"has no folder images/{folder.name}: not used", "remove it"))
    _compare_with_table(root, samples, rows, problems)
    return tuple(samples)


def _survey_flat(root: Path, problems: list[Problem]) -> tuple[Sample, ...]:
    table = root / SPLIT_FILE
    rows, table_problems = read_split_table(table, needs_split=True)
    problems += table_problems
    pairs = pair_files(root / "images", root / "masks", problems)
    if rows is None:
        if not table.exists():
            todo = f"run `segnet data split {root}`, or write it with the columns name,split"
            problems.append(error(table, "this file is missing: which image is for training?", todo))
        return tuple(Sample(name, image, mask, UNASSIGNED) for name, image, mask in pairs)
    samples: list[Sample] = []
    for name, image, mask in pairs:
        row = rows.get(name)
        if row is None:
            problems.append(
                warning(image, f"stands in no row of {SPLIT_FILE}: not used", "add it, or remove it")
            )
        else:
            samples.append(Sample(name, image, mask, row.split, row.group))
    present = {path.stem for path in files_in(root / "images") if is_image(path)}
    for name in sorted(rows.keys() - present):
        problems.append(
            error(table, f"names {name!r}, which is not in images/", "remove the row, or add the image")
        )
    order = {split: rank for rank, split in enumerate(ordered_splits(sample.split for sample in samples))}
    return tuple(sorted(samples, key=lambda sample: (order[sample.split], sample.name)))


def _compare_with_table(
    root: Path, samples: Iterable[Sample], rows: Mapping[str, SplitRow] | None, problems: list[Problem]
) -> None:
    """Folders decide, but a table that says otherwise is worth one line."""
    if rows is None:
        return
    differing = [s for s in samples if s.name in rows and rows[s.name].split not in ("", s.split)]
    if differing:
        first = differing[0]
        problems.append(
            warning(
                root / SPLIT_FILE,
                f"puts {len(differing)} images elsewhere than their folder ({first.name}: "
                f"{rows[first.name].split}, folder {first.split})",
                "the folder counts; correct the column `split`, or remove it",
            )
        )
