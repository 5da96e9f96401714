"""A crop is a pure function of its key, shows what it was drawn for, and never shows labels beside their pixels."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from data.classes import ClassMap
from data.dataset import Batch, CropDataset, CropKeys, CropSettings, crop_loader
from data.images import encode_png
from data.manifest import Sample
from data.masks import encode_labels

CLASSES = ClassMap.from_names(["background", "scratch", "pit"])
CROP = 32
PLAIN: Mapping[str, object] = {
    "flip": False, "quarter_turns": False, "rotate_deg": 0.0, "scale": 1.0,
    "brightness": 0.0, "contrast": 0.0, "gamma": 0.0, "blur": 0.0, "noise": 0.0,
}  # fmt: skip
EXACT_TURNS = {**PLAIN, "flip": True, "quarter_turns": True}
ANY_TURN = {**PLAIN, "flip": True, "quarter_turns": True, "rotate_deg": 45.0, "scale": 1.5}


def coordinates(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """An image that says where it is: red is y, green is x, in steps of 2."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.uint8) * 2
    return np.dstack([y, x, np.zeros_like(x)])


def patches(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels in squares of 8 px: all three ids, everywhere."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] // 8
    return ((y + 2 * x) % 3).astype(np.uint8)


def write(root: Path, labels: NDArray[np.uint8], *, name: str = "a") -> Sample:
    size_hw = (labels.shape[0], labels.shape[1])
    image, mask = root / f"{name}.png", root / f"{name}-mask.png"
    image.write_bytes(encode_png(coordinates(size_hw)))
    mask.write_bytes(encode_labels(labels, CLASSES))
    return Sample(name, image, mask, "train")


def open_crops(
    *samples: Sample, augment: Mapping[str, object] = PLAIN, policy: str = "balanced", seed: int = 0
) -> CropDataset:
    settings = CropSettings.model_validate(
        {"crop_px": CROP, "sampling": {"policy": policy}, "augment": dict(augment)}
    )
    return CropDataset(samples, class_map=CLASSES, settings=settings, seed=seed)


def crop_of(crops: CropDataset, index: int, *, epoch: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    image, labels, _ = crops[epoch, index]
    assert image.dtype == torch.uint8
    assert image.shape == (CROP, CROP, 3)
    assert labels.dtype == torch.int64
    assert labels.shape == (CROP, CROP)
    return image.numpy(), labels.numpy()


# A crop is a function of (seed, epoch, index)


def test_a_key_gives_the_same_crop_in_whatever_order_and_process_it_is_asked_for(tmp_path: Path) -> None:
    sample = write(tmp_path, patches((60, 90)))
    one, two = (open_crops(sample, augment={}) for _ in range(2))
    keys = [(epoch, index) for epoch in range(2) for index in range(6)]
    forward = {key: one[key] for key in keys}
    for key in reversed(keys):
        for first, second in zip(forward[key], two[key], strict=True):
            assert torch.equal(torch.as_tensor(first), torch.as_tensor(second))


def test_no_crop_repeats_in_an_epoch_or_in_the_next_one_or_with_another_seed(tmp_path: Path) -> None:
    sample = write(tmp_path, patches((100, 120)))
    crops = {seed: open_crops(sample, augment={}, seed=seed) for seed in (0, 1)}
    shown = [crops[seed][epoch, index][0] for seed in (0, 1) for epoch in range(3) for index in range(5)]
    assert len({image.numpy().tobytes() for image in shown}) == 30


def test_light_changes_differ_between_epochs_even_where_the_place_is_the_same(tmp_path: Path) -> None:
    # As large as the crop: there is but one place. Augmentation that repeats every epoch is a known trap.
    crops = open_crops(write(tmp_path, patches((CROP, CROP))), augment={**PLAIN, "brightness": 0.3})
    shown = {crops[epoch, 0][0].numpy().tobytes() for epoch in range(12)}
    assert len(shown) > 6


@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_gives_the_crops_of_the_keys_in_their_order(tmp_path: Path, workers: int) -> None:
    crops = open_crops(write(tmp_path, patches((50, 50))), augment={})
    keys = CropKeys(epochs=range(1, 3), crops_per_epoch=4, batch_size=2)
    batches = list(crop_loader(crops, keys=keys, workers=workers))
    assert len(batches) == 4
    for batch, named in zip(batches, keys, strict=True):
        assert isinstance(batch, Batch)
        assert batch.images.shape == (2, CROP, CROP, 3)
        assert batch.positions.tolist() == [0, 0]
        for image, labels, key in zip(batch.images, batch.labels, named, strict=True):
            assert torch.equal(image, crops[key][0])
            assert torch.equal(labels, crops[key][1])


def test_loading_leaves_the_random_numbers_of_training_alone(tmp_path: Path) -> None:
    crops = open_crops(write(tmp_path, patches((50, 50))), augment={})
    before = torch.get_rng_state()
    next(iter(crop_loader(crops, keys=CropKeys(epochs=range(1), crops_per_epoch=2, batch_size=2), workers=0)))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_moves_as_a_whole() -> None:
    batch = Batch(torch.zeros(1, 2, 2, 3, dtype=torch.uint8), torch.zeros(1, 2, 2), torch.tensor([5]))
    moved = batch.to(torch.device("meta"))
    assert {part.device.type for part in (moved.images, moved.labels, moved.positions)} == {"meta"}


# What a crop shows


def test_a_plain_crop_is_a_slice_of_the_image_and_of_its_labels(tmp_path: Path) -> None:
    truth = patches((70, 100))
    crops = open_crops(write(tmp_path, truth), policy="uniform")
    corners = set()
    for index in range(40):
        image, labels = crop_of(crops, index)
        top, left = int(image[0, 0, 0]) // 2, int(image[0, 0, 1]) // 2
        corners.add((top, left))
        window = slice(top, top + CROP), slice(left, left + CROP)
        np.testing.assert_array_equal(image, coordinates((70, 100))[window])
        np.testing.assert_array_equal(labels, truth[window])
    # The border is drawn as well: a target near it shows the outermost crop.
    assert {0, 70 - CROP} <= {top for top, _ in corners}
    assert {0, 100 - CROP} <= {left for _, left in corners}


def test_flips_and_quarter_turns_move_pixels_and_labels_together_and_exactly(tmp_path: Path) -> None:
    truth = patches((64, 80))
    crops = open_crops(write(tmp_path, truth), augment=EXACT_TURNS)
    directions = set()
    for index in range(64):
        image, labels = crop_of(crops, index)
        y, x = image[..., 0].astype(int) // 2, image[..., 1].astype(int) // 2
        np.testing.assert_array_equal(labels, truth[y, x])
        right, down = (y[0, 1] - y[0, 0], x[0, 1] - x[0, 0]), (y[1, 0] - y[0, 0], x[1, 0] - x[0, 0])
        directions.add((right, down))
        # All of it: no pixel twice, none left out.
        assert len({*zip(y.ravel().tolist(), x.ravel().tolist(), strict=True)}) == CROP * CROP
    assert len(directions) == 8


def test_turned_and_scaled_labels_lie_where_their_pixels_lie(tmp_path: Path) -> None:
    truth = patches((100, 120))
    crops = open_crops(write(tmp_path, truth), augment=ANY_TURN)
    for index in range(40):
        image, labels = crop_of(crops, index)
        inside = labels != 255
        assert set(np.unique(labels[inside])) <= {0, 1, 2}
        y, x = (np.rint(image[inside][:, channel] / 2).astype(int) for channel in (0, 1))
        # Interpolated coordinates are off by less than a pixel, so the label is that of a neighbour.
        near = [
            truth[np.clip(y + dy, 0, 99), np.clip(x + dx, 0, 119)] for dy in (-1, 0, 1) for dx in (-1, 0, 1)
        ]
        assert (np.array(near) == labels[inside]).any(axis=0).all()
        exact = (truth[np.clip(y, 0, 99), np.clip(x, 0, 119)] == labels[inside]).mean()
        assert exact > 0.85


def test_scale_magnifies_and_shrinks_by_at_most_its_factor(tmp_path: Path) -> None:
    crops = open_crops(write(tmp_path, patches((110, 120))), augment={**PLAIN, "scale": 1.5})
    steps = []
    for index in range(60):
        image, labels = crop_of(crops, index)
        inside = np.flatnonzero((labels != 255).all(axis=0))
        row = image[CROP // 2, inside, 1].astype(float) / 2
        steps.append((row[-2] - row[1]) / (len(row) - 3))
    assert min(steps) >= 1 / 1.5 - 0.05
    assert max(steps) <= 1.5 + 0.05
    assert min(steps) < 0.8 < 1.2 < max(steps)


def test_an_image_smaller_than_the_crop_is_mirrored_and_what_lies_outside_is_ignored(tmp_path: Path) -> None:
    truth = patches((20, 12))
    for index in range(4):
        image, labels = crop_of(open_crops(write(tmp_path, truth)), index)
        assert (labels != 255).sum() == 20 * 12
        top, left = (int(at[0]) for at in np.nonzero(labels != 255))
        np.testing.assert_array_equal(labels[top : top + 20, left : left + 12], truth)
        padding = [(top, CROP - 20 - top), (left, CROP - 12 - left), (0, 0)]
        np.testing.assert_array_equal(image, np.pad(coordinates((20, 12)), padding, mode="reflect"))


@pytest.mark.parametrize(
    "augment", [PLAIN, EXACT_TURNS, ANY_TURN, {}], ids=["plain", "exact", "any", "usual"]
)
@pytest.mark.parametrize(
    ("top", "left"), [(0, 0), (0, 73), (58, 0), (58, 73), (30, 40), (0, 40)], ids=lambda at: str(at)
)
def test_a_crop_drawn_at_a_defect_shows_it_wherever_in_the_image_it_is(
    tmp_path: Path, augment: Mapping[str, object], top: int, left: int
) -> None:
    labels = np.zeros((61, 76), np.uint8)
    labels[top : top + 3, left : left + 3] = 2
    crops = open_crops(write(tmp_path, labels), augment=augment, policy="defects")
    for index in range(60):
        assert (crop_of(crops, index)[1] == 2).any(), f"crop {index} does not show it"


def test_a_defect_is_seen_anywhere_in_the_inner_part_of_its_crops(tmp_path: Path) -> None:
    labels = np.zeros((120, 120), np.uint8)
    labels[60, 60] = 1
    crops = open_crops(write(tmp_path, labels), policy="defects")
    seen = np.array([np.argwhere(crop_of(crops, index)[1] == 1)[0] for index in range(150)])
    assert seen.min() >= CROP * 0.2 - 1
    assert seen.max() <= CROP * 0.8 + 1
    assert np.ptp(seen, axis=0).min() > CROP * 0.5


def test_good_parts_alone_give_crops_too(tmp_path: Path) -> None:
    crops = open_crops(write(tmp_path, np.zeros((40, 40), np.uint8)), policy="defects", augment={})
    labels = np.array([crop_of(crops, index)[1] for index in range(20)])
    assert set(np.unique(labels)) <= {0, 255}
    assert (labels == 0).mean() > 0.6


def test_ignored_pixels_stay_ignored(tmp_path: Path) -> None:
    labels = np.full((CROP, CROP), 255, np.uint8)
    labels[:16] = 0
    cropped = crop_of(open_crops(write(tmp_path, labels)), 0)[1]
    np.testing.assert_array_equal(cropped, labels)


# CropKeys


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_processes_see_disjoint_crops_and_together_the_same_ones(world: int) -> None:
    shares = [
        list(CropKeys(epochs=range(2), crops_per_epoch=24, batch_size=2, rank=rank, world=world))
        for rank in range(world)
    ]
    assert {len(share) for share in shares} == {2 * 24 // (2 * world)}
    assert all(len(batch) == 2 for share in shares for batch in share)
    seen = [key for share in shares for batch in share for key in batch]
    assert len(seen) == len(set(seen))
    assert sorted(seen) == [(epoch, index) for epoch in range(2) for index in range(24)]


def test_a_step_of_all_processes_is_the_same_crops_as_one_larger_batch() -> None:
    one = CropKeys(epochs=range(1), crops_per_epoch=12, batch_size=4)
    two = [CropKeys(epochs=range(1), crops_per_epoch=12, batch_size=2, rank=r, world=2) for r in range(2)]
    for whole, left, right in zip(one, *two, strict=True):
        assert set(whole) == {*left, *right}


@pytest.mark.parametrize(
    ("crops", "batch", "multiple", "steps"),
    [
        pytest.param(8, 4, 1, 2, id="even"),
        pytest.param(11, 4, 1, 2, id="rest left out"),
        pytest.param(20, 4, 2, 4, id="whole optimiser steps"),
    ],
)
def test_an_epoch_is_whole_batches_and_whole_steps(crops: int, batch: int, multiple: int, steps: int) -> None:
    keys = CropKeys(epochs=range(3, 5), crops_per_epoch=crops, batch_size=batch, steps_multiple=multiple)
    assert keys.steps_per_epoch == steps
    assert len(keys) == len(list(keys)) == 2 * steps
    assert {epoch for batch_keys in keys for epoch, _ in batch_keys} == {3, 4}


def test_the_rest_of_a_run_is_what_the_whole_run_would_have_seen() -> None:
    whole = list(CropKeys(epochs=range(4), crops_per_epoch=6, batch_size=3))
    assert list(CropKeys(epochs=range(2, 4), crops_per_epoch=6, batch_size=3)) == whole[4:]


def test_an_epoch_without_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="crops_per_epoch is 15, too few for 2 batches of 4 in each of 2"):
        CropKeys(epochs=range(1), crops_per_epoch=15, batch_size=4, steps_multiple=2, world=2)


@pytest.mark.parametrize("crop_px", [0, 33, 4096])
def test_a_crop_size_that_no_network_takes_is_refused(crop_px: int) -> None:
    with pytest.raises(ValidationError, match="crop_px"):
        CropSettings(crop_px=crop_px)


def test_with_a_paste_share_crops_of_sound_parts_show_defects_of_others_each_time_alike(
    tmp_path: Path,
) -> None:
    sound = np.zeros((64, 64), np.uint8)
    pitted = sound.copy()
    pitted[30:34, 30:34] = 2
    samples = (write(tmp_path, sound, name="sound"), write(tmp_path, pitted, name="pitted"))
    settings = CropSettings.model_validate(
        {"crop_px": CROP, "sampling": {"defect_share": 0.0, "paste_share": 1.0}, "augment": dict(EXACT_TURNS)}
    )
    crops = CropDataset(samples, class_map=CLASSES, settings=settings, seed=0)
    drawn = [crops[0, index] for index in range(40)]
    of_sound = [labels for _, labels, position in drawn if position == 0]
    assert any((labels == 2).any() for labels in of_sound)
    again = CropDataset(samples, class_map=CLASSES, settings=settings, seed=0)[0, 7]
    assert torch.equal(again[0], drawn[7][0])
    assert torch.equal(again[1], drawn[7][1])


# New samples beside old ones


def write_many(root: Path, count: int) -> list[Sample]:
    """Samples a0, a1 …; the even ones show a scratch."""
    scratched = np.zeros((40, 40), np.uint8)
    scratched[20:24, 5:30] = 1
    maps = (scratched, np.zeros((40, 40), np.uint8))
    return [write(root, maps[number % 2], name=f"a{number}") for number in range(count)]


def mixed(
    samples: list[Sample], *, new: Collection[str], share: float | None, policy: str = "balanced"
) -> CropDataset:
    settings = CropSettings.model_validate({"crop_px": CROP, "sampling": {"policy": policy}})
    return CropDataset(
        samples, class_map=CLASSES, settings=settings, seed=0, new_samples=frozenset(new), new_share=share
    )


@pytest.mark.parametrize("policy", ["balanced", "defects", "uniform"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_crops_are_of_new_samples_however_few_these_are(
    tmp_path: Path, share: float, policy: str
) -> None:
    crops = mixed(write_many(tmp_path, 8), new=("a6", "a7"), share=share, policy=policy)
    draws = 400
    positions = [crops[0, index][2] for index in range(draws)]
    new = sum(position >= 6 for position in positions) / draws
    # Four standard deviations of a binomial; none at the ends.
    assert abs(new - share) <= 4 * (share * (1 - share) / draws) ** 0.5
    # Within a part the policy holds: at defects alone, the odd samples have none.
    assert {position % 2 for position in positions} == ({0} if policy == "defects" else {0, 1})


def test_a_part_without_defects_is_drawn_evenly(tmp_path: Path) -> None:
    crops = mixed(write_many(tmp_path, 4), new=("a1", "a3"), share=1.0, policy="defects")
    assert {crops[0, index][2] for index in range(40)} == {1, 3}


@pytest.mark.parametrize(
    ("new", "share"),
    [
        pytest.param(("a0",), None, id="no share"),
        pytest.param((), 0.5, id="nothing new"),
        pytest.param(("a0", "a1", "a2"), 0.5, id="nothing old"),
        pytest.param(("elsewhere",), 0.5, id="nothing new among these"),
    ],
)
def test_without_a_mixture_the_crops_are_those_of_the_whole(
    tmp_path: Path, new: tuple[str, ...], share: float | None
) -> None:
    samples = write_many(tmp_path, 3)
    plain, crops = mixed(samples, new=(), share=None), mixed(samples, new=new, share=share)
    for index in range(20):
        for one, two in zip(plain[0, index], crops[0, index], strict=True):
            assert torch.equal(torch.as_tensor(one), torch.as_tensor(two))


def test_the_loss_is_weighted_by_all_samples_whatever_is_drawn(tmp_path: Path) -> None:
    crops = mixed(write_many(tmp_path, 8), new=("a6", "a7"), share=0.5)
    assert crops.index.class_images.tolist() == [8, 4, 0]
