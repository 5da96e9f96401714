"""What a sound surface is made of: brushed metal, woven cloth, concrete, with the faint dirt all parts carry.

A surface is its colour and its relief. Defects are drawn into both (`data.synthetic_defects`) before light
falls on them (`data.synthetic_camera`), so that a groove on metal and one in cloth are shaded by one lamp.
Slubs, pores, lint and lone bright streaks are no defects: without them the task would be too easy.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

SurfaceName = Literal["brushed_metal", "fabric", "concrete"]
SURFACES: tuple[SurfaceName, ...] = get_args(SurfaceName)

Floats: TypeAlias = NDArray[np.float32]
SizeHw = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Canvas:
    """A surface before light falls on it.

    color: float32 [height, width, 3], reflectance, mostly in 0..1; relief: float32 [height, width], px, up is
    positive. Both are drawn into in place.
    """

    color: Floats
    relief: Floats


def draw_surface(name: SurfaceName, *, size_hw: SizeHw, rng: np.random.Generator) -> Canvas:
    """A sound surface of that kind, dirt and all.

    Raises:
        ValueError: no such surface.
    """
    if name not in _DRAWN_BY:
        raise ValueError(f"no surface {name!r}; there are {', '.join(SURFACES)}")
    canvas = _DRAWN_BY[name](size_hw, rng)
    _strew_dirt(canvas, rng)
    return canvas


def smooth_noise(size_hw: SizeHw, *, cell_px: float, rng: np.random.Generator) -> Floats:
    """Random hills about `cell_px` wide; float32 [height, width], mean about 0, mostly within -1..1.

    Random values on a grid, joined by cubic curves along one axis and then the other. Done by hand: resizing
    the grid with OpenCV fills whole cells beyond the picture, ten times the work for wide hills.
    """
    starts = rng.uniform(0, 1, 2)
    positions = [start + np.arange(side) / cell_px for start, side in zip(starts, size_hw, strict=True)]
    rows, columns = (int(along[-1]) + 4 for along in positions)
    grid = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return _join(_join(grid.T, positions[1]).T, positions[0])


def _join(values: Floats, positions: NDArray[np.float64]) -> Floats:
    """Catmull-Rom curves through the rows of `values`, read at `positions` (in rows, 0 is the second row)."""
    first = positions.astype(np.intp)
    t = positions - first
    weights = np.stack(
        [
            ((2 - t) * t - 1) * t / 2,
            ((3 * t - 5) * t * t + 2) / 2,
            ((4 - 3 * t) * t + 1) * t / 2,
            (t - 1) * t * t / 2,
        ]
    ).astype(np.float32)
    joined = weights[0][:, None] * values[first]
    for row, weight in enumerate(weights[1:], start=1):
        joined += weight[:, None] * values[first + row]
    return np.ascontiguousarray(joined)


def shrink(fine: NDArray[np.uint8] | Floats, *, size_hw: SizeHw) -> Floats:
    """The mean over the fine pixels of each pixel; float32 [height, width]."""
    small = cv2.resize(fine, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def blur(values: Floats, *, sigma_px: float) -> Floats:
    """Gaussian blur; float32, same shape."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px), np.float32)


def _brushed_metal(size_hw: SizeHw, rng: np.random.Generator) -> Canvas:
    """Fine parallel streaks of many lengths, and the broad sheen that brushing spreads across the grain."""
    side = math.ceil(math.hypot(*size_hw)) + 4
    streaks = np.zeros((side, side), np.float32)
    for length_px, weight in ((9, 0.30), (41, 0.40), (181, 0.45)):
        streaks += weight * _streaks(side, length_px=length_px, rng=rng)
    seeds = (rng.random((side, side), dtype=np.float32) > 0.9993).astype(np.float32)
    lone = blur(np.asarray(cv2.blur(seeds, (int(rng.uniform(50, 130)), 1)), np.float32), sigma_px=0.55)
    streaks += lone * rng.uniform(25, 60) * (1 if rng.random() < 0.5 else -1)
    sheen = np.linspace(-1, 1, side, dtype=np.float32)[None, :] - rng.uniform(-0.6, 0.6)
    sheen = np.exp(-((sheen / rng.uniform(0.45, 0.9)) ** 2))
    grain = 1 + streaks * rng.uniform(0.05, 0.085) * (0.55 + 0.6 * sheen)
    level = grain * (0.74 + rng.uniform(0.18, 0.36) * sheen)
    level = _turn(level, angle_deg=(0 if rng.random() < 0.5 else 90) + rng.normal(0, 4), size_hw=size_hw)
    level *= 1 + 0.02 * smooth_noise(size_hw, cell_px=min(size_hw) / 3, rng=rng)
    hue = np.array(_METALS[rng.integers(len(_METALS))], np.float32) * rng.uniform(0.9, 1.08)
    color = level[..., None] * hue
    return Canvas(color=color.astype(np.float32), relief=np.zeros(size_hw, np.float32))


_METALS = (
    (0.60, 0.61, 0.63),
    (0.56, 0.585, 0.62),
    (0.655, 0.645, 0.625),
    (0.66, 0.61, 0.53),
    (0.5, 0.5, 0.51),
)
"""Steel, blued steel, aluminium, a warm alloy, dark steel: RGB."""


def _turn(square: Floats, *, angle_deg: float, size_hw: SizeHw) -> Floats:
    """The middle of a turned square; the square must hold the picture's diagonal."""
    middle = len(square) / 2
    turn = np.asarray(cv2.getRotationMatrix2D((middle, middle), angle_deg, 1.0), np.float64)
    turn[:, 2] += np.array(size_hw[::-1]) / 2 - middle
    turned = cv2.warpAffine(
        square, turn, (size_hw[1], size_hw[0]), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(turned, np.float32)


def _streaks(side_px: int, *, length_px: int, rng: np.random.Generator) -> Floats:
    """White noise drawn out along x; standard deviation 1."""
    noise = rng.random((side_px, side_px), dtype=np.float32) - 0.5
    drawn_out = cv2.blur(cv2.blur(noise, (length_px, 1)), (length_px // 2 + 1, 1)).astype(np.float32)
    return np.asarray(drawn_out / (drawn_out.std() + 1e-6), np.float32)


def _fabric(size_hw: SizeHw, rng: np.random.Generator) -> Canvas:
    """Threads of uneven brightness, over and under each other in plain weave or twill.

    Drawn at twice the size: threads of 5 px with hard edges would shimmer otherwise.
    """
    fine_hw = (2 * size_hw[0], 2 * size_hw[1])
    pitch_px = rng.uniform(8.5, 13)
    repeat, floats = _WEAVES[rng.integers(len(_WEAVES))]
    tilt = rng.normal(0, 0.04)
    rows = np.arange(fine_hw[0], dtype=np.float32)[:, None] / pitch_px
    columns = np.arange(fine_hw[1], dtype=np.float32)[None, :] / pitch_px
    u = columns + tilt * rows + 0.5 * smooth_noise(fine_hw, cell_px=190, rng=rng) + 8
    v = rows - tilt * columns + 0.5 * smooth_noise(fine_hw, cell_px=190, rng=rng) + 8
    warp, weft = np.floor(u), np.floor(v)
    across_warp, across_weft = u - warp - 0.5, v - weft - 0.5
    warp_on_top = (warp + weft).astype(np.int32) % repeat < floats
    across = np.where(warp_on_top, across_warp, across_weft)
    along = np.where(warp_on_top, across_weft, across_warp)
    position = np.where(warp_on_top, v, u)
    thread = np.where(warp_on_top, warp, weft + _THREADS // 2)
    # The round thread, sinking where it dives below its neighbour, and its twisted fibres.
    height = np.sqrt(np.maximum(1 - (1.85 * across) ** 2, 0)) * (1 - 1.6 * along**2)
    light = _thread_light(thread, position, rng=rng) * (0.45 + 0.55 * height)
    light *= 1 + 0.05 * np.sin((6.9 * across + 13.2 * position).astype(np.float32))
    light *= 1 + 0.13 * (rng.random(fine_hw, dtype=np.float32) - 0.5)
    light, height = shrink(light, size_hw=size_hw), shrink(height, size_hw=size_hw)
    share = shrink(warp_on_top.astype(np.float32), size_hw=size_hw)
    light *= 1 + 0.05 * smooth_noise(size_hw, cell_px=min(size_hw) / 3, rng=rng)
    warp_color, weft_color = (np.array(rgb, np.float32) for rgb in _CLOTHS[rng.integers(len(_CLOTHS))])
    color = light[..., None] * (weft_color + share[..., None] * (warp_color - weft_color))
    return Canvas(color=color.astype(np.float32), relief=(height * (0.09 * pitch_px)).astype(np.float32))


_WEAVES = ((2, 1), (2, 1), (4, 2), (3, 2))
"""(repeat, threads on top of it): plain weave twice as often as the two twills."""
_CLOTHS = (
    ((0.82, 0.79, 0.72), (0.79, 0.755, 0.68)),
    ((0.63, 0.645, 0.66), (0.68, 0.69, 0.70)),
    ((0.40, 0.48, 0.59), (0.54, 0.60, 0.68)),
    ((0.66, 0.56, 0.46), (0.70, 0.61, 0.51)),
    ((0.52, 0.57, 0.50), (0.58, 0.63, 0.56)),
)
"""Warp and weft: linen, grey, denim, jute, olive: RGB."""
_THREADS = 512
_BEADS = 64


def _thread_light(thread: Floats, position: Floats, *, rng: np.random.Generator) -> Floats:
    """Brightness along each thread: no two alike, a few clearly off, all swelling and thinning slowly.

    thread: float32, whole numbers; position: float32, along the thread in units of the pitch.
    """
    noise = rng.random((_THREADS, _BEADS), dtype=np.float32) - 0.5
    swelling = cv2.GaussianBlur(noise, (0, 0), sigmaX=1.5, sigmaY=0.01).astype(np.float32)
    level = rng.normal(1, 0.035, _THREADS) + (rng.random(_THREADS) < 0.03) * rng.normal(0, 0.08, _THREADS)
    table = (level[:, None] + 0.25 * swelling).astype(np.float32)
    light = cv2.remap(table, position / 3, thread, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(light, np.float32)


def _concrete(size_hw: SizeHw, rng: np.random.Generator) -> Canvas:
    """Cloudy grey of many scales, sand, grains of stone near the surface, and air pores."""
    cloud = np.zeros(size_hw, np.float32)
    for cell_px, weight in ((110, 0.08), (45, 0.05), (18, 0.035), (8, 0.028), (3, 0.03)):
        cloud += weight * smooth_noise(size_hw, cell_px=cell_px, rng=rng)
    sand = rng.standard_normal(size_hw, dtype=np.float32)
    level = 1 + cloud + 0.085 * blur(sand, sigma_px=0.6)
    stones = smooth_noise(size_hw, cell_px=rng.uniform(6, 11), rng=rng)
    level += rng.uniform(0.04, 0.10) * np.clip((np.abs(stones) - 0.62) * 6, 0, 1) * np.sign(stones)
    relief = 0.33 * blur(sand, sigma_px=0.8)
    for cell_px, height_px in ((5, 0.1), (24, 0.6)):
        relief += height_px * smooth_noise(size_hw, cell_px=cell_px, rng=rng)
    pores = _pores(size_hw, rng=rng)
    level *= 1 - rng.uniform(0.3, 0.5) * pores
    relief -= 1.3 * pores
    warmth = rng.uniform(-0.012, 0.035)
    hue = rng.uniform(0.50, 0.70) * np.array([1 + warmth, 1.0, 1 - 1.6 * warmth], np.float32)
    return Canvas(color=(level[..., None] * hue).astype(np.float32), relief=relief.astype(np.float32))


def _pores(size_hw: SizeHw, *, rng: np.random.Generator) -> Floats:
    """Air pores, 1 to 4 px wide and without a rim, which is what tells them from pits; coverage 0..1."""
    fine = np.zeros((4 * size_hw[0], 4 * size_hw[1]), np.uint8)
    for _ in range(rng.poisson(size_hw[0] * size_hw[1] / 2600)):
        center = (int(rng.integers(fine.shape[1])), int(rng.integers(fine.shape[0])))
        radius = 4 * min(0.5 + rng.exponential(0.45), 2.1)
        axes = (round(radius), round(radius * rng.uniform(0.7, 1)))
        cv2.ellipse(fine, center, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    return shrink(fine, size_hw=size_hw) / np.float32(255)


def _strew_dirt(canvas: Canvas, rng: np.random.Generator) -> None:
    """Specks and lint, faint and thin: what every real part carries and no inspector rejects."""
    height, width = canvas.relief.shape
    fine = np.zeros((2 * height, 2 * width), np.uint8)
    scale = height * width / 65536
    for _ in range(rng.poisson(7 * scale)):
        center = (int(rng.integers(2 * width)), int(rng.integers(2 * height)))
        cv2.circle(fine, center, int(rng.integers(1, 3)), int(rng.integers(50, 150)), -1)
    for _ in range(rng.poisson(1.2 * scale)):
        start = rng.uniform(0, (2 * width, 2 * height))
        heading = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, 0.3, 12))
        path = start + np.cumsum(3 * np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
        cv2.polylines(fine, [path.round().astype(np.int32)], False, int(rng.integers(50, 110)), 1)
    dirt = shrink(fine, size_hw=(height, width)) / np.float32(255)
    canvas.color[...] *= (1 - 0.4 * dirt)[..., None]


_DRAWN_BY: Mapping[SurfaceName, Callable[[SizeHw, np.random.Generator], Canvas]] = {
    "brushed_metal": _brushed_metal,
    "fabric": _fabric,
    "concrete": _concrete,
}
