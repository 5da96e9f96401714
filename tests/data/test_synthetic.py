"""Synthetic parts: the same each time, labelled to the pixel, and a data set that opens."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from data.images import read_image
from data.manifest import DatasetError
from data.masks import read_labels
from data.sources import open_dataset
from data.synthetic import SYNTHETIC_CLASSES, SyntheticPart, draw_part, write_synthetic_dataset
from data.synthetic_defects import DEFECTS, DefectName
from data.synthetic_shapes import arc_length_px, draw_strokes
from data.synthetic_surfaces import SURFACES, SurfaceName, smooth_noise

every_surface = pytest.mark.parametrize("surface", SURFACES)
every_defect = pytest.mark.parametrize("name", DEFECTS)


def _change(part: SyntheticPart, *, seed: int, size_hw: tuple[int, int] = (128, 128)) -> NDArray[np.int16]:
    """Largest change of a colour, in grey levels, between the part and the same part without defects."""
    sound = draw_part(seed, surface=part.surface, size_hw=size_hw)
    return np.asarray(np.abs(part.image.astype(np.int16) - sound.image).max(axis=-1), np.int16)


def _grown(mask: NDArray[np.bool_], *, by_px: int) -> NDArray[np.bool_]:
    side = 2 * by_px + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


@every_surface
def test_the_same_seed_gives_the_same_bytes(surface: SurfaceName) -> None:
    first, second = (draw_part(7, surface=surface, size_hw=(96, 128), defects=DEFECTS) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()
    assert first.defects == second.defects


@every_surface
def test_another_seed_gives_another_part(surface: SurfaceName) -> None:
    first, second = (draw_part(seed, surface=surface, size_hw=(96, 96), defects=("pit",)) for seed in (1, 2))
    assert not np.array_equal(first.image, second.image)
    assert first.defects[0].center_xy != second.defects[0].center_xy


@every_surface
def test_image_and_labels_have_the_promised_shape_and_type(surface: SurfaceName) -> None:
    part = draw_part(3, surface=surface, size_hw=(70, 111), defects=("scratch",))
    assert part.image.shape == (70, 111, 3)
    assert part.labels.shape == (70, 111)
    assert part.image.dtype == part.labels.dtype == np.uint8
    assert part.surface == surface


@every_surface
def test_a_part_without_defects_is_all_background_and_neither_black_nor_blown_out(
    surface: SurfaceName,
) -> None:
    part = draw_part(11, surface=surface, size_hw=(128, 128))
    assert not part.labels.any()
    assert part.defects == ()
    assert 60 < part.image.mean() < 200
    assert part.image.std() > 4
    assert np.isin(part.image, (0, 255)).mean() < 0.01


@every_surface
@every_defect
def test_a_defect_changes_the_image_where_it_is_labelled_and_nowhere_else(
    surface: SurfaceName, name: DefectName
) -> None:
    for seed in range(3):
        part = draw_part(seed, surface=surface, size_hw=(128, 128), defects=(name,))
        change = _change(part, seed=seed)
        labelled = part.labels == SYNTHETIC_CLASSES.index_of(name)
        assert change[labelled].mean() > 12
        assert change[~_grown(labelled, by_px=2)].max() < 16
        assert change[labelled].sum() > 0.5 * change.sum()


@every_defect
def test_position_and_size_agree_with_the_labels(name: DefectName) -> None:
    for seed in range(12):
        part = draw_part(seed, surface="concrete", defects=(name,))
        (defect,) = part.defects
        labelled = part.labels == defect.class_id
        assert SYNTHETIC_CLASSES.names[defect.class_id] == defect.name == name
        assert defect.area_px == labelled.sum() == (part.labels > 0).sum()
        x, y = defect.center_xy
        assert _grown(labelled, by_px=1)[round(y), round(x)]
        assert 0.5 < defect.area_px / (defect.length_px * defect.width_px) < 2.2
        assert defect.length_px >= defect.width_px >= 2


@every_defect
def test_a_defect_lies_wholly_inside_the_picture(name: DefectName) -> None:
    for seed in range(12):
        labels = draw_part(seed, surface="fabric", size_hw=(64, 96), defects=(name,)).labels
        frame = np.ones_like(labels, dtype=bool)
        frame[1:-1, 1:-1] = False
        assert labels.any()
        assert not labels[frame].any()


def test_a_pit_is_the_ellipse_that_its_facts_say() -> None:
    for seed in range(10):
        (pit,) = draw_part(seed, surface="brushed_metal", size_hw=(64, 64), defects=("pit",)).defects
        assert pit.area_px == pytest.approx(np.pi / 4 * pit.length_px * pit.width_px, rel=0.2)


def test_defects_keep_clear_of_each_other_while_there_is_room() -> None:
    part = draw_part(5, surface="concrete", defects=("pit",) * 6)
    count, _ = cv2.connectedComponents((part.labels > 0).astype(np.uint8), connectivity=8)
    assert count - 1 == len(part.defects) == 6


def test_where_there_is_no_room_left_the_areas_still_add_up() -> None:
    part = draw_part(5, surface="concrete", size_hw=(64, 64), defects=("stain",) * 12)
    assert sum(defect.area_px for defect in part.defects) == (part.labels > 0).sum()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"surface": "marble"}, "no surface 'marble'; there are brushed_metal", id="surface"),
        pytest.param({"surface": "fabric", "defects": ("hole",)}, "no defect 'hole'; there", id="defect"),
        pytest.param({"surface": "fabric", "size_hw": (63, 256)}, "at least 64 px a side", id="too small"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_could(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_part(0, **arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("synthetic") / "parts"
    write_synthetic_dataset(destination, counts={"train": 16, "val": 8, "test": 2}, size_hw=(64, 64))
    return destination


def test_a_written_data_set_opens_with_the_counts_asked_for(written: Path) -> None:
    manifest = open_dataset(written)
    assert manifest.class_map == SYNTHETIC_CLASSES
    assert {split: len(manifest.split(split)) for split in manifest.splits} == {
        "train": 16,
        "val": 8,
        "test": 2,
    }
    sample = manifest.split("val")[0]
    assert read_image(sample.image).shape == (64, 64, 3)


def test_half_of_the_parts_are_sound_and_eight_show_every_class(written: Path) -> None:
    manifest = open_dataset(written)
    for split in manifest.splits:
        found = [set(np.unique(read_labels(sample.mask)).tolist()) - {0} for sample in manifest.split(split)]
        assert sum(not classes for classes in found) == len(found) / 2
        if len(found) >= 8:
            assert set().union(*found) == set(SYNTHETIC_CLASSES.defect_ids)


def test_the_same_seed_writes_the_same_data_set_and_another_seed_another(
    written: Path, tmp_path: Path
) -> None:
    counts = {"train": 16, "val": 8, "test": 2}
    same = write_synthetic_dataset(tmp_path / "same", counts=counts, size_hw=(64, 64))
    other = write_synthetic_dataset(tmp_path / "other", counts=counts, size_hw=(64, 64), seed=1)
    assert same.digest() == open_dataset(written).digest() != other.digest()


def test_more_parts_leave_the_first_ones_as_they_were(written: Path, tmp_path: Path) -> None:
    few = write_synthetic_dataset(tmp_path / "few", counts={"val": 3}, size_hw=(64, 64))
    for sample in few.samples:
        assert sample.image.read_bytes() == (written / "images" / "val" / sample.image.name).read_bytes()


@pytest.mark.parametrize("surfaces", [SURFACES, SURFACES[:2], SURFACES[:1]], ids=len)
def test_every_kind_of_defect_meets_every_surface(surfaces: Sequence[SurfaceName], tmp_path: Path) -> None:
    manifest = write_synthetic_dataset(
        tmp_path / "parts", counts={"train": 24}, size_hw=(64, 64), surfaces=surfaces
    )
    seen = {
        (surface, class_id)
        for sample in manifest.samples
        for surface in surfaces
        if sample.name.endswith(surface)
        for class_id in np.unique(read_labels(sample.mask)).tolist()
    }
    assert seen == {(surface, class_id) for surface in surfaces for class_id in range(5)}


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param({}, id="no split"),
        pytest.param({"train": 0}, id="no part"),
        pytest.param({"train": 4, "val": -1}, id="less than none"),
    ],
)
def test_a_data_set_of_nothing_is_refused(counts: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="at least one part"):
        write_synthetic_dataset(tmp_path / "parts", counts=counts)
    assert not (tmp_path / "parts").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DatasetError, match="not empty"):
        write_synthetic_dataset(tmp_path, counts={"train": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_stays_behind_when_drawing_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 64 px"):
        write_synthetic_dataset(tmp_path / "parts", counts={"train": 2}, size_hw=(32, 32))
    assert list(tmp_path.iterdir()) == []


def test_a_stroke_covers_length_times_width() -> None:
    points = np.array([[20.0, 30.0], [80.0, 30.0]])
    _, coverage = draw_strokes([(points, np.array([4.0, 4.0]))], size_hw=(64, 128))
    # 60 px long and 4 px wide, with a round cap of radius 2 px at each end.
    assert coverage.sum() == pytest.approx(60 * 4 + np.pi * 2**2, rel=0.1)
    assert coverage.min() == 0
    assert coverage.max() == 1


def test_a_stroke_lies_where_its_points_are() -> None:
    (left, top), coverage = draw_strokes(
        [(np.array([[40.0, 25.0], [60.0, 25.0]]), np.array([3.0, 3.0]))], size_hw=(64, 128)
    )
    rows, columns = np.indices(coverage.shape)
    assert left + (columns * coverage).sum() / coverage.sum() == pytest.approx(50, abs=0.2)
    assert top + (rows * coverage).sum() / coverage.sum() == pytest.approx(25, abs=0.2)


def test_arc_length_adds_up_the_steps() -> None:
    assert arc_length_px(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 10.0]])) == 11


@pytest.mark.parametrize("cell_px", [2.5, 16.0, 300.0])
def test_smooth_noise_stays_in_range_and_is_smooth(cell_px: float) -> None:
    hills = smooth_noise((48, 80), cell_px=cell_px, rng=np.random.default_rng(0))
    assert hills.shape == (48, 80)
    assert hills.dtype == np.float32
    assert np.abs(hills).max() < 1.7
    # Steepest slope of the curve: below 2.5 grid steps of 2 in height for each cell, along either axis.
    assert np.abs(np.diff(hills, axis=0)).max() < 5 / cell_px
    assert np.abs(np.diff(hills, axis=1)).max() < 5 / cell_px
