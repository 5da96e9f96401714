"""One inspected image: its row in every table, and the line of the journal that all tables are made from."""

from dataclasses import dataclass
from typing import Final, Literal

from pydantic import TypeAdapter

from data.defects import Defect
from model.verdict import Verdict as RecipeVerdict

Verdict = Literal[RecipeVerdict, "ERROR"]
"""A recipe's, or that the image could not be judged."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of one image after it was inspected.

    Attributes:
        key: the image's path below the inspected folder, with `/` between folders; unique in a run.
        verdict: OK, NG or REVIEW by the recipe; ERROR where the image could not be judged.
        reasons: why, in words; the error's text for ERROR.
        defects: those that the recipe does not ignore, largest first.
        width_px, height_px: of the upright image; 0 for ERROR.
        mask, overlay, thumbnail: files below the output folder, with `/`; None where there is none.
        sha256: of the image file; empty where it could not be read.
        size_bytes, mtime_ns: of the file as it was read: a changed file is inspected anew.
    """

    key: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    defects: tuple[Defect, ...] = ()
    width_px: int = 0
    height_px: int = 0
    mask: str | None = None
    overlay: str | None = None
    thumbnail: str | None = None
    sha256: str = ""
    size_bytes: int = 0
    mtime_ns: int = 0

    def to_line(self) -> bytes:
        """One line of JSON, without the line's end."""
        return _PLAIN.dump_json(self)

    @classmethod
    def from_line(cls, line: str | bytes) -> "Inspection":
        """The reverse. Raises ValueError for a line that is cut off or of another kind."""
        return _PLAIN.validate_json(line)


_PLAIN: Final = TypeAdapter(Inspection)
