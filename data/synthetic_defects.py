"""Scratches, pits, stains and cracks: drawn into a surface, with a label that fits to the pixel.

Each is drawn in a window just large enough, anti-aliased, wholly inside the picture. Its label is where it
can be seen: a groove with its edges, a pit with its rim, a stain as far as its colour tells.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from data.synthetic_shapes import (
    Points,
    arc_length_px,
    draw_strokes,
    heading_of,
    jagged_headings,
    place_path,
    place_spot,
    walk,
    within,
)
from data.synthetic_surfaces import Canvas, Floats, SizeHw, SurfaceName, blur, smooth_noise

DefectName = Literal["scratch", "pit", "stain", "crack"]
DEFECTS: tuple[DefectName, ...] = get_args(DefectName)

_STROKE_SEEN_FROM = 0.25
"""Blurred coverage from which on a stroke counts as there; its edges, lit or in shadow, belong to it."""
_RIM = 1.22
"""Outer foot of a pit's rim, in units of the radius where the rim is highest."""
_STAIN_SEEN_FROM = 0.16
"""Share of a dense stain's change of colour from which on it counts as there: 6 to 10 % of one colour."""


@dataclass(frozen=True, slots=True)
class DefectPatch:
    """One defect before it is put on a canvas.

    left, top: where the window of [height, width] px lies in the picture. gain: float32 [height, width, 3],
    what the colour is multiplied by. relief: float32 [height, width], px, what is added. label: bool
    [height, width]. center_xy, length_px, width_px: as drawn; length along the stroke or the long axis.
    """

    left: int
    top: int
    gain: Floats
    relief: Floats
    label: NDArray[np.bool_]
    center_xy: tuple[float, float]
    length_px: float
    width_px: float

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the picture that the patch covers."""
        height, width = self.label.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def put_on(self, canvas: Canvas) -> None:
        """Draw the defect, in place."""
        canvas.color[self.window] *= self.gain
        canvas.relief[self.window] += self.relief


def draw_defect(
    name: DefectName, *, surface: SurfaceName, size_hw: SizeHw, rng: np.random.Generator
) -> DefectPatch:
    """A defect of that kind at a random place, as it looks on that surface.

    Raises:
        ValueError: no such defect.
    """
    if name not in _DRAWN_BY:
        raise ValueError(f"no defect {name!r}; there are {', '.join(DEFECTS)}")
    return _DRAWN_BY[name](surface, size_hw, rng)


def _contrast(rng: np.random.Generator, low: float, high: float) -> float:
    """Mostly plain to see; one in eight is near the lower end, and hard."""
    return rng.uniform(low, low + 0.2 * (high - low)) if rng.random() < 0.125 else rng.uniform(low, high)


def _scratch(surface: SurfaceName, size_hw: SizeHw, rng: np.random.Generator) -> DefectPatch:
    """A tool slid across: a smooth arc, widest after its start, running out thin, one edge lit, one dark."""
    length_px = rng.uniform(0.22, 0.75) * min(size_hw)
    width_px = rng.uniform(2.4, 4.6)
    count = max(12, round(length_px / 3))
    along = np.linspace(0, 1, count)
    heading = rng.uniform(0, 2 * math.pi) + rng.normal(0, 0.5) * along
    heading += 0.12 * np.sin(2 * math.pi * (rng.uniform(0.5, 1.5) * along + rng.random()))
    points = place_path(walk(heading[1:], step_px=length_px / (count - 1)), size_hw=size_hw, rng=rng)
    taper = np.clip(np.minimum(along / 0.12, 1) ** 0.5 * (1.05 - along) ** 0.4, 0.45, 1)
    (left, top), coverage = draw_strokes([(points, width_px * taper)], size_hw=size_hw)
    # The pressure of the tool varies along the way.
    pressure = 1 + 0.3 * smooth_noise(_shape(coverage), cell_px=14, rng=rng)
    # Fresh metal, fuzz and powdered stone shine. On metal some scratches hold dirt; elsewhere a dark line
    # 3 px wide could as well be a crack, and its label would be a guess.
    is_bright = surface != "brushed_metal" or rng.random() < 0.85
    change = _contrast(rng, 0.38, 0.75) if is_bright else -_contrast(rng, 0.35, 0.5)
    gain = 1 + change * coverage * pressure
    relief = -rng.uniform(0.6, 1.2) * blur(coverage * pressure, sigma_px=0.7)
    return _stroke_patch(left, top, coverage, gain=gain, relief=relief, points=points, width_px=width_px)


def _crack(surface: SurfaceName, size_hw: SizeHw, rng: np.random.Generator) -> DefectPatch:
    """A jagged dark line that branches and thins out; in cloth it is a tear, frayed more than jagged."""
    length_px = rng.uniform(0.28, 0.85) * min(size_hw)
    width_px = rng.uniform(2.2, 4.2)
    step_px = rng.uniform(2.5, 4.5)
    count = max(8, round(length_px / step_px))
    main = walk(jagged_headings(count, start=rng.uniform(0, 2 * math.pi), rng=rng), step_px=step_px)
    main = place_path(main, size_hw=size_hw, rng=rng)
    widths = width_px * np.linspace(1, 0.5, len(main)) * rng.uniform(0.75, 1.15, len(main))
    strokes = [(main, np.maximum(widths, 1.5))]
    for _ in range(rng.integers(0, 4)):
        start = int(rng.integers(len(main) // 6, len(main) - 2))
        turn = rng.choice((-1, 1)) * rng.uniform(0.5, 1.1)
        headings = jagged_headings(max(4, count // 4), start=heading_of(main, start) + turn, rng=rng)
        branch = within(main[start] + walk(headings, step_px=step_px), size_hw=size_hw)
        if len(branch) >= 2:
            thin = np.maximum(0.65 * widths[start] * np.linspace(1, 0.6, len(branch)), 1.4)
            strokes.append((branch, thin))
    (left, top), coverage = draw_strokes(strokes, size_hw=size_hw)
    depth = _contrast(rng, 0.45, 0.78)
    gain = 1 - depth * coverage * (1 + 0.15 * smooth_noise(_shape(coverage), cell_px=9, rng=rng))
    if surface == "fabric":
        gain += 0.25 * coverage * (rng.random(coverage.shape, dtype=np.float32) - 0.4)
    relief = -rng.uniform(0.5, 1.0) * blur(coverage, sigma_px=0.7)
    return _stroke_patch(left, top, coverage, gain=gain, relief=relief, points=main, width_px=width_px)


def _pit(surface: SurfaceName, size_hw: SizeHw, rng: np.random.Generator) -> DefectPatch:
    """A small crater: one wall in the light and one in shadow, a raised rim, a dark floor."""
    half_length_px = rng.uniform(5, 11)
    half_width_px = max(4.0, half_length_px * rng.uniform(0.7, 1))
    reach_px = math.ceil(1.5 * half_length_px) + 1
    spot = place_spot(half_length_px, half_width_px, reach_px=reach_px, size_hw=size_hw, rng=rng)
    # 1 where the rim stands; the spot of the given size reaches to its outer foot.
    rho = _RIM * spot.rho
    rho *= 1 + 0.09 * smooth_noise(_shape(rho), cell_px=7, rng=rng)
    depth_px = rng.uniform(0.28, 0.42) * half_width_px
    bowl = np.clip(1 - rho**2, 0, 1)
    relief = depth_px * (0.28 * np.exp(-(((rho - 1.02) / 0.16) ** 2)) - bowl)
    relief += 0.25 * np.minimum(bowl * 3, 1) * smooth_noise(_shape(rho), cell_px=2.5, rng=rng)
    floor = np.clip((1 - rho) * 3, 0, 1)
    gain = 1 - _contrast(rng, 0.25, 0.55) * floor
    return DefectPatch(
        left=spot.left,
        top=spot.top,
        gain=np.repeat(gain[..., None], 3, axis=-1).astype(np.float32),
        relief=relief.astype(np.float32),
        label=rho < _RIM,
        center_xy=spot.center_xy,
        length_px=2 * half_length_px,
        width_px=2 * half_width_px,
    )


def _stain(surface: SurfaceName, size_hw: SizeHw, rng: np.random.Generator) -> DefectPatch:
    """A liquid that dried: an uneven outline, soft edge, cloudy inside, often darker along its border."""
    half_length_px = rng.uniform(0.07, 0.17) * min(size_hw)
    half_width_px = half_length_px * rng.uniform(0.6, 1)
    reach_px = math.ceil(1.45 * half_length_px) + 2
    spot = place_spot(half_length_px, half_width_px, reach_px=reach_px, size_hw=size_hw, rng=rng)
    rho = spot.rho.copy()
    for cell_px, weight in ((half_length_px, 0.24), (half_length_px / 3, 0.16), (6, 0.07), (3, 0.05)):
        rho += weight * smooth_noise(_shape(rho), cell_px=max(cell_px, 2.5), rng=rng)
    # Towards the window's border nothing may be left, or a straight edge would show.
    rho += np.clip((spot.distance_px / reach_px - 0.8) * 4, 0, 1)
    softness = np.exp(0.9 * smooth_noise(_shape(rho), cell_px=half_length_px, rng=rng))
    softness *= rng.uniform(0.07, 0.18)
    body = 1 / (1 + np.exp(np.clip((rho - 1) / (0.35 * softness), -30, 30)))
    border = np.exp(-(((rho - 1 + softness) / softness) ** 2))
    cloudy = 1 + 0.28 * smooth_noise(_shape(rho), cell_px=half_length_px / 2.5, rng=rng)
    density = body * (cloudy + rng.uniform(0, 0.55) * border)
    tints = _STAINS[surface]
    tint = np.array(tints[rng.integers(len(tints))], np.float32)
    gain = 1 - _contrast(rng, 0.55, 1.0) * density[..., None] * (1 - tint)
    return DefectPatch(
        left=spot.left,
        top=spot.top,
        gain=np.clip(gain, 0.2, 1.6).astype(np.float32),
        relief=np.zeros(_shape(rho), np.float32),
        label=np.abs(gain - 1).max(axis=-1) > _STAIN_SEEN_FROM * np.abs(1 - tint).max(),
        center_xy=spot.center_xy,
        length_px=2 * half_length_px,
        width_px=2 * half_width_px,
    )


_STAINS: Mapping[SurfaceName, tuple[tuple[float, float, float], ...]] = {
    "brushed_metal": ((0.72, 0.58, 0.42), (0.60, 0.60, 0.66), (0.62, 0.52, 0.46)),
    "fabric": ((0.62, 0.52, 0.40), (0.55, 0.55, 0.58), (0.70, 0.62, 0.45)),
    "concrete": ((0.60, 0.57, 0.53), (0.72, 0.56, 0.42), (0.55, 0.56, 0.58)),
}
"""What a dense stain leaves of red, green and blue: rust and oil, coffee and grease, damp and rust."""


def _stroke_patch(
    left: int,
    top: int,
    coverage: Floats,
    *,
    gain: Floats,
    relief: Floats,
    points: Points,
    width_px: float,
) -> DefectPatch:
    """A patch of a stroke that changes all three colours alike."""
    middle = points[len(points) // 2]
    return DefectPatch(
        left=left,
        top=top,
        gain=np.repeat(np.clip(gain, 0.1, 2)[..., None], 3, axis=-1).astype(np.float32),
        relief=relief.astype(np.float32),
        label=blur(coverage, sigma_px=0.7) > _STROKE_SEEN_FROM,
        center_xy=(float(middle[0]), float(middle[1])),
        length_px=arc_length_px(points),
        width_px=width_px,
    )


def _shape(array: NDArray[np.floating]) -> SizeHw:
    return array.shape[0], array.shape[1]


_DRAWN_BY: Mapping[DefectName, Callable[[SurfaceName, SizeHw, np.random.Generator], DefectPatch]] = {
    "scratch": _scratch,
    "pit": _pit,
    "stain": _stain,
    "crack": _crack,
}
