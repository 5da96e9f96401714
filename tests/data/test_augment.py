"""Light, focus and grain change as the seed says, and as nothing else does."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from data.augment import AugmentSettings, Photometry

NONE = {"brightness": 0.0, "contrast": 0.0, "gamma": 0.0, "blur": 0.0, "noise": 0.0}
IMAGE: NDArray[np.uint8] = np.random.default_rng(0).integers(40, 215, (24, 32, 3), np.uint8)


def test_without_a_wish_the_image_stays_as_it_is() -> None:
    # Geometry is no matter of light: these settings are at their defaults.
    assert Photometry(AugmentSettings.model_validate(NONE))(IMAGE, seed=1) is IMAGE


@pytest.mark.parametrize("wish", list(NONE))
def test_each_wish_alone_changes_pixels_and_nothing_else_about_the_image(wish: str) -> None:
    change = Photometry(AugmentSettings.model_validate(NONE | {wish: 0.5}))
    before = IMAGE.copy()
    seen = [change(IMAGE, seed=seed) for seed in range(40)]
    assert all(one.dtype == np.uint8 and one.shape == IMAGE.shape for one in seen)
    assert 5 < sum(not np.array_equal(one, IMAGE) for one in seen) <= 40
    np.testing.assert_array_equal(IMAGE, before)


def test_a_seed_gives_the_same_change_whatever_was_changed_before() -> None:
    change, other = (Photometry(AugmentSettings(blur=0.5, noise=0.5)) for _ in range(2))
    first = [change(IMAGE, seed=seed) for seed in range(12)]
    for seed in reversed(range(12)):
        np.testing.assert_array_equal(other(IMAGE, seed=seed), first[seed])
    assert len({one.tobytes() for one in first}) > 6


def test_brightness_stays_within_its_share_of_the_range() -> None:
    change = Photometry(AugmentSettings.model_validate(NONE | {"brightness": 0.2}))
    grey = np.full((8, 8, 3), 128, np.uint8)
    means = [float(change(grey, seed=seed).mean()) for seed in range(60)]
    assert min(means) >= 128 - 0.2 * 255 - 1
    assert max(means) <= 128 + 0.2 * 255 + 1
    assert max(means) - min(means) > 0.2 * 255


@pytest.mark.parametrize(
    "settings",
    [{"brightness": 1.5}, {"scale": 0.5}, {"rotate_deg": 200.0}, {"noise": -0.1}, {"hue": 0.1}],
    ids=lambda settings: str(settings),
)
def test_settings_beyond_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        AugmentSettings.model_validate(settings)
