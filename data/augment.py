"""Random change of light, focus and grain: the only file that speaks to albumentations.

uint8 in, uint8 out. Normalisation belongs to the network, so it must never happen here. Geometry (turn, scale,
flip) is part of the crop itself, in `data.dataset`: one interpolation instead of three.
"""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

# At import the library asks a server for a newer version, and warns when it hears nothing: never ask.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations


class AugmentSettings(BaseModel):
    """How strongly a training crop is changed; 0 or false switches one change off.

    flip: mirror left-right and up-down. quarter_turns: by 0, 90, 180 or 270 degrees. rotate_deg: a further turn of at
    most so much either way. scale: magnified or shrunk by at most this factor (1 = native size). brightness,
    contrast: at most this share of the range. gamma: exponent between 1/(1+gamma) and 1+gamma. blur: chance of
    a slight blur or sharpening. noise: chance of grain.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: bool = True
    quarter_turns: bool = True
    rotate_deg: float = Field(15.0, ge=0.0, le=180.0)
    scale: float = Field(1.2, ge=1.0, le=4.0)
    brightness: float = Field(0.2, ge=0.0, le=1.0)
    contrast: float = Field(0.2, ge=0.0, le=1.0)
    gamma: float = Field(0.3, ge=0.0, le=2.0)
    blur: float = Field(0.1, ge=0.0, le=1.0)
    noise: float = Field(0.1, ge=0.0, le=1.0)


class Photometry:
    """Changes of light, focus and grain, each call reproducible by its seed."""

    def __init__(self, settings: AugmentSettings) -> None:
        """Prepare the changes that `settings` asks for; none at all is allowed."""
        steps: list[Any] = []
        if settings.brightness or settings.contrast:
            steps.append(
                albumentations.RandomBrightnessContrast(
                    brightness_limit=settings.brightness, contrast_limit=settings.contrast, p=0.7
                )
            )
        if settings.gamma:
            top = 100.0 * (1.0 + settings.gamma)
            steps.append(albumentations.RandomGamma(gamma_limit=(1e4 / top, top), p=0.5))
        if settings.blur:
            focus = [
                albumentations.GaussianBlur(sigma_limit=(0.3, 1.2), blur_limit=0, p=1.0),
                albumentations.Sharpen(alpha=(0.1, 0.4), lightness=(1.0, 1.0), p=1.0),
            ]
            steps.append(albumentations.OneOf(focus, p=settings.blur))
        if settings.noise:
            steps.append(albumentations.GaussNoise(std_range=(0.01, 0.04), p=settings.noise))
        self._steps = albumentations.Compose(steps) if steps else None

    def __call__(self, image: NDArray[np.uint8], *, seed: int) -> NDArray[np.uint8]:
        """uint8 RGB [height, width, 3] → the same shape, changed as `seed` says."""
        if self._steps is None:
            return image
        # Reseeded for each crop: left to itself, the library repeats its changes every epoch
        # (albumentations 2.0.8 with loader processes that are started anew).
        self._steps.set_random_seed(seed)
        changed: NDArray[np.uint8] = self._steps(image=image)["image"]
        assert changed.dtype == np.uint8, changed.dtype
        return changed
