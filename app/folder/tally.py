"""What the summary and the report tell of all images, counted in one pass that holds none of them."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.folder.inspection import Inspection, Verdict
from app.folder.reasons import Reason, ReasonCounter
from data.classes import ClassMap

CELLS: Final = 32
"""Cells of the heat map along either side."""

_STEPS: Final = (1.0, 2.0, 5.0)
_MOST_REASONS: Final = 8


@dataclass(frozen=True, eq=False)
class Tally:
    """Counts over a folder's images.

    Attributes:
        verdicts: images by verdict; each verdict is there.
        defects: defects by class id; each defect class is there.
        sizes: defects by `size_bin` of their area, in mm² where the scale is known, else in px.
        places: int64 [32, 32], defects by where their centroid lies, rows down and columns to the right.
        frame_wh: the most frequent size of an image in px; (1, 1) where there is none.
        reasons: of NG and REVIEW, the most frequent first.
        not_judged: key and error of each image without a verdict.
    """

    verdicts: Mapping[Verdict, int]
    defects: Mapping[int, int]
    sizes: Mapping[int, int]
    places: NDArray[np.int64]
    frame_wh: tuple[int, int]
    reasons: tuple[Reason, ...]
    not_judged: tuple[tuple[str, str], ...]

    @property
    def images(self) -> int:
        """All images, those that could not be judged too."""
        return sum(self.verdicts.values())

    @property
    def judged(self) -> int:
        """Images with a verdict."""
        return self.images - self.verdicts["ERROR"]

    @property
    def yield_share(self) -> float | None:
        """OK among the judged, 0 to 1; None where none was judged."""
        return self.verdicts["OK"] / self.judged if self.judged else None


def take_tally(
    inspections: Iterable[Inspection], *, class_map: ClassMap, mm_per_px: float | None = None
) -> Tally:
    """Count once through the images; `mm_per_px` makes the sizes mm²."""
    verdicts: Counter[Verdict] = Counter({"OK": 0, "NG": 0, "REVIEW": 0, "ERROR": 0})
    defects = Counter(dict.fromkeys(class_map.defect_ids, 0))
    sizes: Counter[int] = Counter()
    frames: Counter[tuple[int, int]] = Counter()
    places = np.zeros((CELLS, CELLS), np.int64)
    reasons = ReasonCounter(class_map.names)
    not_judged: list[tuple[str, str]] = []
    for one in inspections:
        verdicts[one.verdict] += 1
        if one.verdict == "ERROR":
            not_judged.append((one.key, "; ".join(one.reasons)))
            continue
        frames[one.width_px, one.height_px] += 1
        if one.verdict != "OK":
            for text in one.reasons:
                reasons.add(text, verdict=one.verdict)
        for defect in one.defects:
            defects[defect.class_id] += 1
            sizes[size_bin(defect.area_px * (mm_per_px or 1.0) ** 2)] += 1
            x, y = defect.centroid_xy
            places[_cell(y, edge_px=one.height_px), _cell(x, edge_px=one.width_px)] += 1
    return Tally(
        verdicts=verdicts,
        defects=defects,
        sizes=sizes,
        places=places,
        frame_wh=frames.most_common(1)[0][0] if frames else (1, 1),
        reasons=reasons.most_common(_MOST_REASONS),
        not_judged=tuple(not_judged),
    )


def size_bin(size: float) -> int:
    """Number k of the bin with `bin_edge(k)` <= size < `bin_edge(k + 1)`; bin 0 goes from 1 to 2."""
    power = math.floor(math.log10(size))
    return 3 * power + sum(size >= step * 10.0**power for step in _STEPS[1:])


def bin_edge(number: int) -> float:
    """Where bin `number` begins: … 0.5, 1, 2, 5, 10, 20 …"""
    return _STEPS[number % 3] * 10.0 ** (number // 3)


def _cell(place: float, *, edge_px: int) -> int:
    """Which of 32 equal parts of an edge a pixel's centre lies in: that of pixel 0 is half a pixel from the rim."""
    return min(CELLS - 1, int((place + 0.5) / edge_px * CELLS))
