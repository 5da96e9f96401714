"""What the names in an annotation file mean: the image, the split, the class."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from data.classes import IGNORE_LABEL, ClassMap
from data.manifest import IMAGE_SUFFIXES, DatasetError

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}

_BACKGROUND_NAMES = ("background", "_background_")
_IGNORE_NAMES = ("ignore", "__ignore__", "ignored", "void", "unlabeled", "unlabelled")


class FileIndex:
    """All images below a folder by name: nothing outside it is ever opened, whatever a file name says."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for folder, _, names in os.walk(root):
            for name in names:
                if name.lower().endswith(IMAGE_SUFFIXES):
                    self._by_name[name].append(Path(folder) / name)
        self.paths = tuple(sorted(path for paths in self._by_name.values() for path in paths))

    def beside(self, path: Path, *, name: str) -> Path | None:
        """The image `name` in the folder of `path`, if there is one."""
        return next((found for found in self._by_name.get(name, []) if found.parent == path.parent), None)

    def find(self, file_name: str, *, origin: str, prefer: str | None = None) -> Path:
        """The one image that `file_name` (with folders or without, of either slash) means.

        Of several with the same name the one whose path ends likewise, then one in the split `prefer`.

        Raises:
            DatasetError: none, or more than one.
        """
        parts = [
            part
            for part in PurePosixPath(PureWindowsPath(file_name).as_posix()).parts
            if part not in ("..", "/")
        ]
        found = self._by_name.get(parts[-1], []) if parts else []
        if len(found) > 1:
            found = [path for path in found if path.parts[-len(parts) :] == tuple(parts)] or found
        if len(found) > 1 and prefer is not None:
            found = [path for path in found if split_in_name(path.relative_to(self._root).parent) == prefer]
        if not found:
            raise DatasetError(
                f"{origin}: no image {file_name!r} below {self._root}; put images and labels together"
            )
        if len(found) > 1:
            listed = ", ".join(str(path) for path in sorted(found)[:3])
            raise DatasetError(f"{origin}: {file_name!r} may be {listed}; rename the others")
        return found[0]


def split_in_name(path: Path) -> str | None:
    """The split that the last telling part of a path names: `annotations/instances_val2017.json` → val."""
    for part in reversed(path.parts):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLIT_WORDS:
                return _SPLIT_WORDS[word]
    return None


def class_names(labels: Iterable[str]) -> tuple[str, ...]:
    """`background`, then each label once in the order given; what means background or ignore has no id."""
    own = (label for label in labels if label.lower() not in _BACKGROUND_NAMES + _IGNORE_NAMES)
    return ("background", *dict.fromkeys(own))


def means_ignore(name: str) -> bool:
    """Whether a label's name says that its pixels must not count: ignore, void, unlabeled, …"""
    return name.lower() in _IGNORE_NAMES


def label_of(name: str, *, class_map: ClassMap, origin: str) -> int:
    """The id that a label's name means; a class of that very name comes before every other meaning.

    Raises:
        DatasetError: neither a class, nor background, nor ignore.
    """
    if name in class_map.names:
        return class_map.index_of(name)
    if name.lower() in _BACKGROUND_NAMES:
        return 0
    if means_ignore(name):
        return IGNORE_LABEL
    raise DatasetError(f"{origin}: {name!r} is not among the classes {', '.join(class_map.names)}; add it")
