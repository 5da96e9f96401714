"""Polygons on the image: where to look, and where not."""

from itertools import combinations
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

Point = tuple[float, float]

#: No image has a longer side (nor could a JPEG).
_LONGEST_SIDE_PX: Final = 65_535


class Zone(BaseModel):
    """A polygon without holes.

    Attributes:
        polygon: three or more points (x, y); pixel centres lie on whole numbers, as a defect's centroid does.
        units: `px`, or `share`, for images of several sizes: 0 is the first row or column, 1 the last.
        size_px: (width, height) of the images that a polygon in px was drawn on; others are refused then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    polygon: tuple[Point, ...] = Field(min_length=3)
    units: Literal["px", "share"]
    size_px: tuple[PositiveInt, PositiveInt] | None = None

    @model_validator(mode="after")
    def _lies_on_the_image(self) -> "Zone":
        if self.units == "share" and self.size_px is not None:
            raise ValueError("size_px belongs to units = 'px'; shares fit images of any size")
        longest_px = (_LONGEST_SIDE_PX, _LONGEST_SIDE_PX)
        right, bottom = (1, 1) if self.units == "share" else self.size_px or longest_px
        outside = [(x, y) for x, y in self.polygon if not (0 <= x <= right and 0 <= y <= bottom)]
        if outside:
            raise ValueError(
                f"the point {list(outside[0])} lies outside the image; "
                f"expected x from 0 to {right} and y from 0 to {bottom}"
            )
        return self

    @property
    def fault(self) -> str | None:
        """Why the polygon cannot be meant as it is drawn; None when it can."""
        points = self.polygon
        edges = list(zip(points, points[1:] + points[:1], strict=True))
        for (at, first), (other, second) in combinations(enumerate(edges), 2):
            if _cross(first, second):
                return f"its edges {at + 1} and {other + 1} cross; give the points in order along the outline"
        if sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in edges) == 0:
            return "all its points lie on one line, so that it holds nothing"
        return None

    def mask(self, *, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """The pixels inside and on the outline, bool [height, width]; points are rounded to whole pixels."""
        height, width = size_hw
        scale = (width - 1, height - 1) if self.units == "share" else (1, 1)
        points = np.rint(np.array(self.polygon) * scale).astype(np.int32)
        filled = np.zeros(size_hw, np.uint8)
        # Not data.masks.polygons_to_mask: exact to the pixel centre, but 2 s against 15 ms for 12 megapixels.
        cv2.fillPoly(filled, [points], (1,))
        return filled.view(np.bool_)


def _cross(first: tuple[Point, Point], second: tuple[Point, Point]) -> bool:
    """Whether each edge has its ends on both sides of the other; edges that only touch do not cross."""
    return (
        _side(first, second[0]) * _side(first, second[1]) < 0
        and _side(second, first[0]) * _side(second, first[1]) < 0
    )


def _side(edge: tuple[Point, Point], point: Point) -> float:
    """Above, on or below 0: left of, on or right of the line through an edge."""
    (x0, y0), (x1, y1) = edge
    return (x1 - x0) * (point[1] - y0) - (y1 - y0) * (point[0] - x0)
