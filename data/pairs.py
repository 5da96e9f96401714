"""Pair images with their masks by file name, and report every file that has no partner."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from data.manifest import IMAGE_SUFFIXES, MASK_SUFFIX, Problem

_DRAW_ONE = (
    "draw one; if images without a mask show no defect, "
    "`segnet data import --format folder --unlabeled-is-background SRC DST` writes empty ones"
)
_NOT_DATA = {"thumbs.db", "desktop.ini"}


def pair_files(images: Path, masks: Path, problems: list[Problem]) -> list[tuple[str, Path, Path]]:
    """(name, image, mask) of each complete pair, by name; what is left over becomes a problem."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in files_in(images):
        if is_image(path):
            found[path.stem].append(path)
        else:
            problems.append(
                warning(
                    path, "is no image: not used", f"images end in {', '.join(IMAGE_SUFFIXES)}; move it away"
                )
            )
    labelled = {path.stem: path for path in files_in(masks)} if masks.is_dir() else {}
    pairs: list[tuple[str, Path, Path]] = []
    for name in sorted(found):
        paths = sorted(found[name])
        mask = labelled.pop(name, None)
        if len(paths) > 1:
            others = ", ".join(path.name for path in paths[1:])
            problems.append(
                error(paths[0], f"has the same name as {others}", "which one does the mask fit? Rename")
            )
        elif mask is None:
            problems.append(error(paths[0], f"has no mask {masks / (name + MASK_SUFFIX)}", _DRAW_ONE))
        elif mask.suffix.lower() != MASK_SUFFIX:
            problems.append(error(mask, "is no PNG, so its ids may not be exact", "save masks as index PNG"))
        else:
            pairs.append((name, paths[0], mask))
    for mask in labelled.values():
        problems.append(warning(mask, f"has no image in {images}: not used", "remove it, or add the image"))
    return pairs


def files_in(folder: Path) -> Iterator[Path]:
    """The files of a folder by name, without hidden ones and what file managers leave behind."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and path.name.lower() not in _NOT_DATA:
            yield path


def is_image(path: Path) -> bool:
    """Whether the file's name says that it is an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def error(file: Path, what: str, todo: str) -> Problem:
    """Training would be wrong, or would stop."""
    return Problem("error", file, what, todo)


def warning(file: Path, what: str, todo: str) -> Problem:
    """Training is possible; somebody should look."""
    return Problem("warning", file, what, todo)
