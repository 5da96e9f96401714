"""Light a surface from one side and take its picture: shading, lamp, lens, sensor noise."""

import math
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from data.synthetic_surfaces import Canvas, Floats, SizeHw, SurfaceName, blur

_RELIEF_CONTRAST: Mapping[SurfaceName, float] = {"brushed_metal": 0.75, "fabric": 0.5, "concrete": 0.6}
"""How much a slope of 1 towards the lamp brightens: gloss above matt."""


def photograph(canvas: Canvas, *, surface: SurfaceName, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Light the canvas from one side and take the picture; uint8 [height, width, 3] RGB.

    The same generator state gives the same lamp and the same sensor noise, whatever the canvas holds.
    """
    height, width = canvas.relief.shape
    toward_lamp = rng.uniform(0, 2 * math.pi)
    slope_x, slope_y = (
        cv2.Sobel(canvas.relief, cv2.CV_32F, dx, dy, ksize=3, scale=0.125) for dx, dy in ((1, 0), (0, 1))
    )
    facing = -(math.cos(toward_lamp) * slope_x + math.sin(toward_lamp) * slope_y)
    shade = np.clip(1 + _RELIEF_CONTRAST[surface] * facing, 0.25, 2.2)
    shade *= _lighting((height, width), toward_lamp=toward_lamp, surface=surface, rng=rng)
    lit = blur((canvas.color * shade[..., None]).astype(np.float32), sigma_px=rng.uniform(0.45, 0.7))
    grain = rng.standard_normal((height, width, 1), dtype=np.float32)
    tint = rng.standard_normal((height, width, 3), dtype=np.float32)
    # Photon noise grows with the root of the light; the rest is read-out noise.
    lit += (grain * 0.007 + tint * 0.004) * np.sqrt(0.15 + np.clip(lit, 0, 1))
    # A soft shoulder: highlights roll off as in a camera and do not clip into flat white.
    rolled_off = np.where(lit > 0.8, 0.8 + 0.2 * np.tanh((lit - 0.8) / 0.2), lit)
    return np.clip(rolled_off * 255 + 0.5, 0, 255).astype(np.uint8)


def _lighting(
    size_hw: SizeHw, *, toward_lamp: float, surface: SurfaceName, rng: np.random.Generator
) -> Floats:
    """Brighter towards the lamp, darker in the corners, perhaps with the soft band of a tube's reflection."""
    rows = np.linspace(-1, 1, size_hw[0], dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, size_hw[1], dtype=np.float32)[None, :]
    along = math.cos(toward_lamp) * columns + math.sin(toward_lamp) * rows
    light = 1 + rng.uniform(0.04, 0.16) * along
    light -= rng.uniform(0.04, 0.11) * ((columns - rng.uniform(-0.3, 0.3)) ** 2 + rows**2)
    gloss = 0.16 if surface == "brushed_metal" else 0.06
    if rng.random() < 0.5:
        angle = rng.uniform(0, math.pi)
        across = math.cos(angle) * columns + math.sin(angle) * rows - rng.uniform(-0.8, 0.8)
        light += rng.uniform(0.3, 1) * gloss * np.exp(-((across / rng.uniform(0.1, 0.4)) ** 2))
    return light.astype(np.float32)
