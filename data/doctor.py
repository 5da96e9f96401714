"""The doctor: everything wrong with a data set, with file and remedy, before hours go into training on it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.classes import IGNORE_LABEL, ClassMap
from data.duplicates import find_likenesses
from data.manifest import Manifest, Problem, Sample, ordered_splits
from data.measure import Measured, measure_samples
from data.pairs import error, warning
from data.sources import CLASSES_FILE, UNASSIGNED, survey_folder


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """One row of the doctor's table.

    without_defect counts images whose mask holds no pixel of a defect class. class_pixels and class_images
    are in the order of the classes: pixels of the class, and images that show it. Sizes are (height, width)
    in px, the smallest and the largest by area; None without a readable image.
    """

    split: str
    images: int
    without_defect: int
    class_pixels: tuple[int, ...]
    class_images: tuple[int, ...]
    ignored_pixels: int
    smallest_hw: tuple[int, int] | None
    largest_hw: tuple[int, int] | None

    @property
    def class_shares(self) -> tuple[float | None, ...]:
        """Each class's share of the labelled pixels, 0…1; None where nothing is labelled."""
        labelled = sum(self.class_pixels)
        return tuple(pixels / labelled if labelled else None for pixels in self.class_pixels)


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """What a data set holds and everything wrong with it, errors first.

    `manifest` holds the samples whose names pair up, whatever else is wrong; None where classes are unknown.
    """

    root: Path
    class_names: tuple[str, ...]
    splits: tuple[SplitFacts, ...]
    problems: tuple[Problem, ...]
    manifest: Manifest | None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What makes training wrong or impossible."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What somebody should look at."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")


def check_dataset(
    root: Path, *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> DoctorReport:
    """Read every file of the data set in `root` and report all that is wrong, never stopping at the first.

    `on_progress(done, total)` hears of each image. 1000 images of 1 MP take a few seconds on two cores.

    Raises:
        FileNotFoundError: there is no folder `root`. Everything else is a problem in the report.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; give the folder that holds images/ and masks/")
    survey = survey_folder(root)
    problems = list(survey.problems)
    if survey.class_map is None:
        return DoctorReport(root, (), (), _errors_first(problems), None)
    class_map, samples = survey.class_map, survey.samples
    measured = measure_samples(
        samples, class_map=class_map, on_done=lambda done: on_progress(done, len(samples))
    )
    problems += [problem for one in measured for problem in one.problems]
    table = tuple(
        _facts_of_split(split, [one for one in measured if one.sample.split == split], class_map)
        for split in ordered_splits(sample.split for sample in samples)
    )
    if not any(sample.split == UNASSIGNED for sample in samples):
        problems += _check_splits(root, table)
        problems += _check_classes(root, table, class_map)
        problems += _check_groups(samples)
        problems += _check_names(samples)
    problems += _check_copies(measured)
    problems += _check_likenesses(measured)
    return DoctorReport(
        root=root,
        class_names=tuple(class_map.names),
        splits=table,
        problems=_errors_first(problems),
        manifest=Manifest(root=root, class_map=class_map, samples=samples),
    )


def _facts_of_split(split: str, measured: Sequence[Measured], class_map: ClassMap) -> SplitFacts:
    read = [one.label_pixels for one in measured if one.label_pixels is not None]
    pixels: NDArray[np.int64] = np.stack(read) if read else np.zeros((0, 256), np.int64)
    known = pixels[:, : len(class_map)]
    defects = known[:, list(class_map.defect_ids)]
    sizes = sorted(
        (one.size_hw for one in measured if one.size_hw), key=lambda size: (size[0] * size[1], size)
    )
    return SplitFacts(
        split=split,
        images=len(measured),
        without_defect=int((defects.sum(axis=1) == 0).sum()),
        class_pixels=tuple(int(total) for total in known.sum(axis=0)),
        class_images=tuple(int(total) for total in (known > 0).sum(axis=0)),
        ignored_pixels=int(pixels[:, IGNORE_LABEL].sum()),
        smallest_hw=sizes[0] if sizes else None,
        largest_hw=sizes[-1] if sizes else None,
    )


def _check_splits(root: Path, table: Sequence[SplitFacts]) -> Iterable[Problem]:
    filled = {facts.split for facts in table}
    if "train" not in filled:
        yield error(root, "no image in the split train", f"add some, or run `segnet data split {root}`")
    if "val" not in filled:
        yield error(
            root,
            "no image in the split val",
            "the best epoch and the decision weights are chosen on it: add some",
        )
    if "test" not in filled:
        yield warning(root, "no image in the split test", "without it no score is honest: add some")


def _check_classes(root: Path, table: Sequence[SplitFacts], class_map: ClassMap) -> Iterable[Problem]:
    file = root / CLASSES_FILE
    for class_id, name in enumerate(class_map.names):
        holding = [facts.split for facts in table if facts.class_pixels[class_id]]
        if not holding:
            ignored = sum(facts.ignored_pixels for facts in table)
            todo = (
                f"if {IGNORE_LABEL} was to mean it: {IGNORE_LABEL} means ignore, write {class_id}"
                if ignored and class_id in class_map.defect_ids
                else "add images of it, or remove the class"
            )
            build = error if class_id in class_map.defect_ids and len(class_map.defect_ids) == 1 else warning
            yield build(file, f"class {class_id} ({name}) is in no mask", todo)
        elif "train" not in holding and any(facts.split == "train" for facts in table):
            yield error(
                file,
                f"class {class_id} ({name}) is in no mask of train, only of {', '.join(holding)}",
                "move some of its images to train",
            )
        elif class_id in class_map.defect_ids:
            for facts in table:
                if facts.split not in holding and facts.split in ("val", "test"):
                    yield warning(
                        file,
                        f"class {class_id} ({name}) is in no mask of {facts.split}",
                        f"no score for it there: move some of its images to {facts.split}",
                    )


def _check_groups(samples: Iterable[Sample]) -> Iterable[Problem]:
    members: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.group is not None:
            members[sample.group].append(sample)
    for group, held in sorted(members.items()):
        splits = ordered_splits(sample.split for sample in held)
        if len(splits) > 1:
            stray = next(sample for sample in held if sample.split == splits[1])
            yield error(
                stray.image,
                f"group {group} stands in {' and '.join(splits)}",
                "keep a group on one side, or its score is a lie: move it, or run `segnet data split`",
            )


def _check_names(samples: Iterable[Sample]) -> Iterable[Problem]:
    seen: dict[str, Sample] = {}
    for sample in samples:
        first = seen.setdefault(sample.name, sample)
        if first is not sample:
            yield warning(
                sample.image,
                f"has the same name as an image of {first.split}",
                "reports will show both: rename one",
            )


def _check_copies(measured: Iterable[Measured]) -> Iterable[Problem]:
    """The very same file twice: an error across splits, a doubt within one."""
    seen: dict[bytes, Sample] = {}
    for one in measured:
        if not one.image_digest:
            continue
        first = seen.setdefault(one.image_digest, one.sample)
        if first is one.sample:
            continue
        if first.split != one.sample.split:
            what = f"is the same file as {first.image.name} in {first.split}"
            yield error(one.sample.image, what, "the score would be a lie: remove one of them")
        else:
            yield warning(
                one.sample.image,
                f"is the same file as {first.image.name}",
                "counts twice; do the masks agree?",
            )


def _check_likenesses(measured: Sequence[Measured]) -> Iterable[Problem]:
    usable = [one for one in measured if one.fingerprint is not None]
    order = {split: side for side, split in enumerate(ordered_splits(one.sample.split for one in usable))}
    prints = [one.fingerprint for one in usable if one.fingerprint is not None]
    for likeness in find_likenesses(prints, sides=[order[one.sample.split] for one in usable]):
        first, second = usable[likeness.first], usable[likeness.second]
        if first.image_digest != second.image_digest:
            yield warning(
                second.sample.image,
                f"looks like {first.sample.image.name} in {first.sample.split} "
                f"(correlation {likeness.correlation:.2f})",
                "if both show the same part, give them one group and split anew",
            )


def _errors_first(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: problem.severity != "error"))
