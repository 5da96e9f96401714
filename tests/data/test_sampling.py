"""Crops are drawn where the policy says: the given share at defects, and every class, group and image alike."""

from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from data.classes import ClassMap
from data.manifest import Sample
from data.sampling import DefectIndex, SamplingSettings, Target

CLASSES = ClassMap.from_names(["background", "scratch", "pit"])
DRAWS = 2000


def sample(name: str, *, group: str | None = None) -> Sample:
    return Sample(name, Path(f"{name}.png"), Path(f"{name}-mask.png"), "train", group)


def with_defects(
    *boxes: tuple[int, int, int, int, int], size_hw: tuple[int, int] = (40, 60)
) -> NDArray[np.uint8]:
    """Labels with boxes (class id, top, left, height, width)."""
    labels = np.zeros(size_hw, np.uint8)
    for class_id, top, left, height, width in boxes:
        labels[top : top + height, left : left + width] = class_id
    return labels


OK = with_defects()


def build_index(*maps: NDArray[np.uint8], groups: tuple[str | None, ...] = ()) -> DefectIndex:
    given = groups or (None,) * len(maps)
    samples = tuple(sample(f"s{at}", group=group) for at, group in enumerate(given))
    index = DefectIndex(CLASSES, samples)
    for position, labels in enumerate(maps):
        index.add(position, labels)
    return index


def draw_many(
    index: DefectIndex,
    *,
    policy: Literal["balanced", "defects", "uniform"] = "balanced",
    share: float = 0.5,
    seed: int = 0,
) -> list[Target]:
    settings = SamplingSettings(policy=policy, defect_share=share)
    random = np.random.default_rng(seed)
    return [index.draw(random, settings=settings) for _ in range(DRAWS)]


def test_pixels_and_images_are_counted_by_class() -> None:
    one = with_defects((1, 0, 0, 2, 5), (1, 20, 20, 3, 3))
    one[39] = 255
    index = build_index(one, with_defects((2, 5, 5, 4, 4)), OK)
    assert index.class_pixels.tolist() == [(2400 - 60 - 19) + (2400 - 16) + 2400, 19, 16]
    # Labelled pixels of the images that show the class.
    assert index.image_pixels.tolist() == [2340 + 2400 + 2400, 2340, 2400]
    assert index.class_images.tolist() == [3, 1, 1]
    assert index.sizes_hw == {0: (40, 60), 1: (40, 60), 2: (40, 60)}
    assert index.shown == (1, 2)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_balanced_draws_the_given_share_at_defects(share: float) -> None:
    index = build_index(with_defects((1, 5, 5, 6, 6)), OK, OK, OK)
    at_defect = sum(target.at_defect for target in draw_many(index, share=share))
    # Four standard deviations of a binomial; none at the ends.
    assert abs(at_defect / DRAWS - share) <= 4 * (share * (1 - share) / DRAWS) ** 0.5


@pytest.mark.parametrize(("policy", "expected"), [("defects", DRAWS), ("uniform", 0)])
def test_the_other_policies_draw_all_or_none_at_defects(
    policy: Literal["defects", "uniform"], expected: int
) -> None:
    index = build_index(with_defects((1, 5, 5, 6, 6)), OK)
    assert sum(target.at_defect for target in draw_many(index, policy=policy)) == expected


def test_a_target_at_a_defect_is_the_middle_of_one_of_its_pixels() -> None:
    maps = (with_defects((1, 0, 0, 3, 50), (2, 37, 57, 3, 3)), OK, with_defects((2, 10, 10, 1, 1)))
    for target in draw_many(build_index(*maps), policy="defects"):
        assert (target.y % 1, target.x % 1) == (0.5, 0.5)
        assert maps[target.position][int(target.y), int(target.x)] in (1, 2)


def test_classes_are_drawn_evenly_however_large_and_frequent_their_defects() -> None:
    frequent = with_defects((1, 0, 0, 20, 60), (1, 25, 0, 10, 60))
    maps = [frequent] * 9 + [with_defects((2, 30, 30, 1, 1))]
    drawn = Counter(
        int(maps[target.position][int(target.y), int(target.x)])
        for target in draw_many(build_index(*maps), policy="defects")
    )
    assert drawn[1] == pytest.approx(DRAWS / 2, abs=4 * (DRAWS / 4) ** 0.5)
    assert drawn[1] + drawn[2] == DRAWS


def test_parts_are_drawn_evenly_however_often_they_were_photographed() -> None:
    defect = with_defects((1, 5, 5, 4, 4))
    index = build_index(*[defect] * 10, groups=("part 1",) * 9 + ("part 2",))
    last = sum(target.position == 9 for target in draw_many(index, policy="defects"))
    assert last == pytest.approx(DRAWS / 2, abs=4 * (DRAWS / 4) ** 0.5)


def test_defects_of_an_image_are_drawn_evenly_however_large_they_are() -> None:
    index = build_index(with_defects((1, 0, 0, 30, 30), (1, 38, 50, 1, 1)))
    small = sum(target.y > 35 for target in draw_many(index, policy="defects"))
    assert small == pytest.approx(DRAWS / 2, abs=4 * (DRAWS / 4) ** 0.5)


def test_targets_cover_the_whole_of_a_defect() -> None:
    targets = draw_many(build_index(with_defects((1, 0, 0, 40, 60))), policy="defects")
    quarters = Counter((target.y > 20, target.x > 30) for target in targets)
    assert min(quarters.values()) > DRAWS / 8


def test_even_targets_lie_anywhere_in_any_image() -> None:
    index = build_index(OK, with_defects((1, 0, 0, 2, 2), size_hw=(10, 200)))
    targets = draw_many(index, policy="uniform")
    for target in targets:
        height, width = index.sizes_hw[target.position]
        assert 0 <= target.y < height
        assert 0 <= target.x < width
    wide = [target for target in targets if target.position == 1]
    assert len(wide) == pytest.approx(DRAWS / 2, abs=4 * (DRAWS / 4) ** 0.5)
    assert np.mean([target.x for target in wide]) == pytest.approx(100, abs=10)
    assert max(target.x for target in wide) > 190


def test_a_data_set_of_good_parts_alone_is_drawn_evenly() -> None:
    index = build_index(OK, OK)
    assert index.shown == ()
    targets = draw_many(index, policy="defects")
    assert not any(target.at_defect for target in targets)
    assert {target.position for target in targets} == {0, 1}


def test_the_same_random_numbers_draw_the_same_targets() -> None:
    index = build_index(with_defects((1, 5, 5, 4, 4)), with_defects((2, 1, 1, 2, 2)))
    assert draw_many(index, seed=3) == draw_many(index, seed=3)
    assert draw_many(index, seed=3) != draw_many(index, seed=4)


@pytest.mark.parametrize(
    "settings",
    [{"policy": "all"}, {"defect_share": 1.1}, {"defect_share": -0.1}, {"share": 0.5}],
    ids=lambda settings: str(settings),
)
def test_settings_that_make_no_policy_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SamplingSettings.model_validate(settings)
