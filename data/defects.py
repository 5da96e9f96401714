"""What is known of one defect: where it is, how big, how sure the model is of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Defect:
    """One connected region of one defect class, measured on the image in px.

    Attributes:
        class_id: id in the class map.
        area_px: number of its pixels.
        box_xyxy: half-open box (left, top, right, bottom).
        centroid_xy: mean column and row of its pixels; pixel centres lie on whole numbers.
        length_px: how long it is, along its middle line: of a curved crack the arc, not the chord.
        width_px: its mean width across that line.
        orientation_deg: direction of its longer side, in [0, 180): 0 is horizontal, 90 vertical, clockwise.
        mean_confidence, peak_confidence: probability of its class over its pixels, in [0, 1].
        touches_border: whether it reaches the image's edge, so that it may be larger than what is seen.
    """

    class_id: int
    area_px: int
    box_xyxy: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]
    length_px: float
    width_px: float
    orientation_deg: float
    mean_confidence: float
    peak_confidence: float
    touches_border: bool


def in_mm(size_px: float | None, mm_per_px: float | None, *, power: int = 1) -> float | None:
    """A length in mm, or with `power` 2 an area in mm²; None where size or scale are unknown."""
    return None if size_px is None or mm_per_px is None else size_px * mm_per_px**power
