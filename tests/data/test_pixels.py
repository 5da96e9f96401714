"""Pixels are decoded once, kept as far as the budget goes, and a broken file is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data import pixels
from data.classes import ClassMap
from data.images import encode_png
from data.manifest import DatasetError, Sample
from data.masks import encode_labels
from data.pixels import PixelStore, read_pair

CLASSES = ClassMap.from_names(["background", "scratch"])
PAIR_BYTES = 500 * 500 * (3 + 1)


def write_sample(root: Path, name: str, *, side_px: int = 500, level: int = 0) -> Sample:
    """A grey image with one row of scratch."""
    image, mask = root / f"{name}.png", root / f"{name}-mask.png"
    labels = np.zeros((side_px, side_px), np.uint8)
    labels[3] = 1
    image.write_bytes(encode_png(np.full((side_px, side_px, 3), level, np.uint8)))
    mask.write_bytes(encode_labels(labels, CLASSES))
    return Sample(name, image, mask, "train")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the samples that are decoded, in order."""
    names: list[str] = []

    def watch(sample: Sample, *, class_map: ClassMap) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        names.append(sample.name)
        return read_pair(sample, class_map=class_map)

    monkeypatch.setattr(pixels, "read_pair", watch)
    return names


def test_a_pair_is_the_image_and_its_labels(tmp_path: Path) -> None:
    image, labels = read_pair(write_sample(tmp_path, "a", side_px=16, level=7), class_map=CLASSES)
    assert image.dtype == labels.dtype == np.uint8
    assert image.shape == (16, 16, 3)
    assert (image == 7).all()
    assert labels[:, 5].tolist() == [0, 0, 0, 1] + [0] * 12


def larger_mask(sample: Sample) -> None:
    sample.mask.write_bytes(encode_labels(np.zeros((8, 9), np.uint8), CLASSES))


def unknown_id(sample: Sample) -> None:
    three = ClassMap.from_names(["background", "scratch", "pit"])
    sample.mask.write_bytes(encode_labels(np.full((16, 16), 2, np.uint8), three))


@pytest.mark.parametrize(
    ("harm", "named", "said"),
    [
        pytest.param(lambda s: s.image.unlink(), "a.png", "No such file", id="no image"),
        pytest.param(lambda s: s.mask.unlink(), "a-mask.png", "No such file", id="no mask"),
        pytest.param(lambda s: s.image.write_bytes(b"text"), "a.png", "neither JPEG", id="no picture"),
        pytest.param(
            lambda s: s.image.write_bytes(s.image.read_bytes()[:-30]), "a.png", "truncated", id="truncated"
        ),
        pytest.param(unknown_id, "a-mask.png", "2", id="an id of no class"),
        pytest.param(larger_mask, "a-mask.png", "9 x 8 px, its image 16 x 16 px", id="another size"),
    ],
)
def test_a_file_in_the_way_is_named_first_and_once(
    tmp_path: Path, harm: Callable[[Sample], object], named: str, said: str
) -> None:
    sample = write_sample(tmp_path, "a", side_px=16)
    harm(sample)
    with pytest.raises(DatasetError, match=said) as caught:
        read_pair(sample, class_map=CLASSES)
    path = str(tmp_path / named)
    assert str(caught.value).startswith(path)
    assert str(caught.value).count(path) == 1


@pytest.mark.parametrize(
    ("cache_mb", "kept"),
    [
        pytest.param(0, 0, id="no budget"),
        pytest.param(1, 1, id="exactly one"),
        pytest.param(2, 2, id="two"),
        pytest.param(100, 3, id="all"),
    ],
)
def test_only_what_the_budget_allows_is_kept(
    tmp_path: Path, decoded: list[str], cache_mb: int, kept: int
) -> None:
    assert PAIR_BYTES == 1_000_000
    samples = [write_sample(tmp_path, name, level=level) for level, name in enumerate("abc")]
    store = PixelStore(samples, class_map=CLASSES, cache_mb=cache_mb)
    assert len(store) == 3
    assert store.samples == tuple(samples)
    store.fill(lambda position, labels: None)
    assert decoded == ["a", "b", "c"]
    levels = [int(store[position][0][0, 0, 0]) for position in (0, 1, 2, 0, 1, 2)]
    assert levels == [0, 1, 2, 0, 1, 2]
    assert decoded[3:] == list("abc"[kept:]) * 2


def test_filling_shows_every_label_map_once_and_tells_how_far_it_is(tmp_path: Path) -> None:
    samples = [write_sample(tmp_path, name, side_px=side) for name, side in (("a", 8), ("b", 16))]
    seen: list[tuple[int, tuple[int, ...]]] = []
    done: list[int] = []
    PixelStore(samples, class_map=CLASSES, cache_mb=1).fill(
        lambda position, labels: seen.append((position, labels.shape)), on_done=done.append
    )
    assert seen == [(0, (8, 8)), (1, (16, 16))]
    assert done == [1, 2]


def test_filling_stops_at_the_first_broken_file(tmp_path: Path) -> None:
    samples = [write_sample(tmp_path, name, side_px=8) for name in "abc"]
    samples[1].image.write_bytes(b"")
    done: list[int] = []
    with pytest.raises(DatasetError, match=r"b\.png"):
        PixelStore(samples, class_map=CLASSES, cache_mb=1).fill(lambda *_: None, on_done=done.append)
    assert done == [1]
