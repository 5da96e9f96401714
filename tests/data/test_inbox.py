"""The inbox: corrections count, groups keep their side, golden pictures stay out, and whoever comes second waits."""

import io
import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import data.identity
from data.append_log import Writer
from data.classes import ClassMap
from data.golden import freeze, open_golden
from data.identity import LabelledSample
from data.images import encode_png
from data.inbox import TakenIn, open_inbox, read_inbox, take_in, take_in_dataset
from data.layout import LabelledImage, write_layout
from data.locks import LockedError
from data.manifest import DatasetError, Manifest, Sample
from data.masks import encode_labels, read_labels
from data.pixels import read_pair
from data.placement import VAL_SHARE, place
from data.snapshots import Snapshot, SnapshotStore
from data.sources import UNASSIGNED, open_dataset

Image8 = NDArray[np.uint8]

CLASSES = ClassMap.from_names(("background", "scratch", "pit"))
HEIGHT_PX, WIDTH_PX = 24, 32


def surface(seed: int) -> Image8:
    """A picture like no other: noise, smoothed."""
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3)).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.0))


def labels_with(class_id: int) -> Image8:
    labels = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    labels[2, 4:14] = class_id
    return labels


def put(
    inbox: Path, name: str, *, seed: int = 0, class_id: int = 1, split: str = "", image: bytes | None = None
) -> None:
    """A picture and its mask (grey, without a palette), as an annotator puts them down."""
    for kind in ("images", "masks"):
        (inbox / kind / split).mkdir(parents=True, exist_ok=True)
    (inbox / "images" / split / f"{name}.png").write_bytes(image or encode_png(surface(seed)))
    file = io.BytesIO()
    Image.fromarray(labels_with(class_id)).save(file, "PNG")
    (inbox / "masks" / split / f"{name}.png").write_bytes(file.getvalue())


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def labels_of(store: SnapshotStore, name: str, snapshot: Snapshot | None = None) -> Image8:
    snapshot = snapshot or store.latest()
    assert snapshot is not None
    return read_labels(
        next(sample.mask for sample in store.manifest(snapshot).samples if sample.name == name)
    )


def splits_of(snapshot: Snapshot) -> dict[str, str]:
    return {sample.name: sample.split for sample in snapshot.samples}


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


@pytest.fixture
def parts(tmp_path: Path) -> Manifest:
    """Seeds 1 to 5: a and b of one plate in train, c in val, two in test, one of them of a plate."""
    images = [
        LabelledImage(name, split, encode_png(surface(seed)), labels_with(1), "test", group)
        for seed, (name, split, group) in enumerate(
            (
                ("a", "train", "plate1"),
                ("b", "train", "plate1"),
                ("c", "val", "plate2"),
                ("t", "test", "plate3"),
                ("u", "test", None),
            ),
            start=1,
        )
    ]
    write_layout(images, class_map=CLASSES, destination=tmp_path / "parts")
    return open_dataset(tmp_path / "parts")


@pytest.fixture
def golden(parts: Manifest, tmp_path: Path) -> Manifest:
    freeze(parts, split="test", destination=tmp_path / "golden")
    return open_golden(tmp_path / "golden")


@pytest.fixture
def store(parts: Manifest, tmp_path: Path) -> SnapshotStore:
    """Holds one snapshot: a, b, c."""
    store = SnapshotStore(tmp_path / "store")
    take_in_dataset(parts, store=store, golden=None, note="first")
    return store


def taken(inbox: Path, store: SnapshotStore, golden: Manifest | None = None) -> TakenIn:
    return take_in(inbox, store=store, golden=golden, note="")


def count_new(inbox: Path, *, store: SnapshotStore, golden: Manifest | None = None) -> int:
    return read_inbox(inbox, known=store.latest(), golden=golden).new_labels


def test_the_first_snapshot_is_train_and_val_of_a_data_set(store: SnapshotStore) -> None:
    first = store.latest()
    assert first is not None
    assert splits_of(first) == {"a": "train", "b": "train", "c": "val"}
    assert [sample.group for sample in first.samples] == ["plate1", "plate1", "plate2"]
    assert (first.number, first.note, first.class_map) == (1, "first", CLASSES)


def test_a_data_set_without_train_and_val_is_refused(parts: Manifest, tmp_path: Path) -> None:
    only_test = Manifest(parts.root, CLASSES, parts.split("test"))
    with pytest.raises(DatasetError, match="no image in train or val; split it with `segnet data split`"):
        take_in_dataset(only_test, store=SnapshotStore(tmp_path / "new"), golden=None, note="")


def test_a_corrected_mask_takes_the_place_of_the_former(store: SnapshotStore, inbox: Path) -> None:
    """Pain 34: the picture is known by its pixels, under whatever name and in whatever format it comes back."""
    first = store.latest()
    assert first is not None
    put(inbox, "export_0001", seed=1, class_id=2)
    file = io.BytesIO()
    Image.fromarray(surface(1)).save(file, "BMP")
    (inbox / "images/export_0001.png").unlink()
    (inbox / "images/export_0001.bmp").write_bytes(file.getvalue())
    result = taken(inbox, store)
    assert (result.added, result.corrected, result.unchanged, result.refused) == ((), ("a",), (), ())
    second = store.latest()
    assert second is not None
    assert second == result.snapshot
    before, after = first.samples[0], second.samples[0]
    assert after == before.model_copy(
        update={"mask": after.mask, "mask_bytes": after.mask_bytes, "labels": after.labels}
    )
    assert np.array_equal(labels_of(store, "a"), labels_with(2))
    assert np.array_equal(labels_of(store, "a", first), labels_with(1)), "the former snapshot stays"
    assert second.samples[1:] == first.samples[1:]


def test_the_last_correction_counts_and_going_back_is_one(store: SnapshotStore, inbox: Path) -> None:
    for class_id in (2, 0, 1):
        put(inbox, "a", seed=1, class_id=class_id)
        assert taken(inbox, store).corrected == ("a",)
        assert np.array_equal(labels_of(store, "a"), labels_with(class_id))
    assert [entry.number for entry in store.log()] == [1, 2, 3, 4]
    assert store.log()[3].digest == store.log()[0].digest


def test_a_correction_stays_in_its_split_wherever_it_is_put(store: SnapshotStore, inbox: Path) -> None:
    put(inbox, "c", seed=3, class_id=2, split="train")
    assert splits_of(taken(inbox, store).snapshot)["c"] == "val"


def test_the_same_inbox_again_changes_nothing(store: SnapshotStore, inbox: Path) -> None:
    put(inbox, "a", seed=1, class_id=2)
    put(inbox, "new", seed=7)
    assert count_new(inbox, store=store) == 2
    first = taken(inbox, store)
    assert (first.added, first.corrected) == (("new",), ("a",))
    before = files_of(store.root)
    again = taken(inbox, store)
    assert (again.added, again.corrected, again.unchanged) == ((), (), ("a", "new"))
    assert again.snapshot == first.snapshot
    assert files_of(store.root) == before
    assert count_new(inbox, store=store) == 0


def test_ids_are_matched_by_name_and_new_classes_appended(store: SnapshotStore, inbox: Path) -> None:
    put(inbox, "new", seed=7, class_id=1)
    put(inbox, "other", seed=8, class_id=2)
    (inbox / "classes.txt").write_text("0 background\n1 fray\n2 pit\n")
    result = taken(inbox, store)
    class_map = result.snapshot.class_map
    assert class_map.names == ("background", "scratch", "pit", "fray")
    assert class_map.classes[:3] == CLASSES.classes
    assert len({spec.color for spec in class_map.classes}) == 4
    assert np.array_equal(labels_of(store, "new"), labels_with(3))
    assert np.array_equal(labels_of(store, "other"), labels_with(2))
    assert result.unchanged == result.corrected == ()


def test_without_classes_the_ids_are_those_of_the_snapshot(store: SnapshotStore, inbox: Path) -> None:
    put(inbox, "new", seed=7, class_id=2)
    assert open_inbox(inbox, class_map=CLASSES).class_map == CLASSES
    taken(inbox, store)
    assert np.array_equal(labels_of(store, "new"), labels_with(2))


def test_ignored_pixels_stay_ignored(store: SnapshotStore, inbox: Path) -> None:
    put(inbox, "new", seed=7, class_id=255)
    (inbox / "classes.txt").write_text("0 background\n1 fray\n")
    taken(inbox, store)
    assert np.array_equal(labels_of(store, "new"), labels_with(255))


def test_another_picture_of_a_known_name_is_kept_beside_it(store: SnapshotStore, inbox: Path) -> None:
    put(inbox, "a", seed=7)
    result = taken(inbox, store)
    (name,) = result.added
    pixels = next(sample.pixels for sample in result.snapshot.samples if sample.name == name)
    assert name == f"a-{pixels[:8]}"
    assert {"a", name} < splits_of(result.snapshot).keys()
    assert taken(inbox, store).unchanged == (name,)


def test_groups_go_where_they_are_known_to_stand(store: SnapshotStore, inbox: Path) -> None:
    for number, name in enumerate("vwxyz", start=10):
        put(inbox, name, seed=number)
    (inbox / "split.csv").write_text(
        "name,split,group\nv,,plate1\nw,,plate2\nx,val,plate9\ny,,plate9\nz,train,\n"
    )
    splits = splits_of(taken(inbox, store).snapshot)
    assert [splits[name] for name in "vwxyz"] == ["train", "val", "val", "val", "train"]


def test_groups_alone_may_be_given(store: SnapshotStore, inbox: Path) -> None:
    put(inbox, "v", seed=10)
    put(inbox, "w", seed=11)
    (inbox / "split.csv").write_text("name,group\nv,plate2\n")
    result = taken(inbox, store)
    assert splits_of(result.snapshot)["v"] == "val"
    assert [s.group for s in result.snapshot.samples] == ["plate1", "plate1", "plate2", "plate2", None]


def arrived(number: int, *, split: str, group: str | None, labels: str = "") -> LabelledSample:
    source = Sample(f"n{number}", Path(f"{number}.png"), Path(f"{number}-mask.png"), split, group)
    return LabelledSample(source, np.arange(256, dtype=np.uint8), f"image{number}", f"pixels{number}", labels)


@given(
    groups=st.lists(st.sampled_from((None, "u", "v", "w", "x", "y", "z")), max_size=30),
    said=st.dictionaries(st.sampled_from("uvwxyz"), st.sampled_from(("train", "val"))),
    data=st.data(),
)
def test_no_group_ever_stands_on_two_sides(
    groups: Sequence[str | None], said: dict[str, str], data: st.DataObject
) -> None:
    """Whatever is said of some of their pictures, and in whatever order they come."""
    arrivals = [
        arrived(number, split=said.get(group or "", UNASSIGNED) if number % 2 else UNASSIGNED, group=group)
        for number, group in enumerate(groups)
    ]
    placed = place(arrivals, known=None).added
    shuffled = place(data.draw(st.permutations(arrivals)), known=None).added
    assert [one.source for one in placed] == [one.source for one in shuffled]
    sides: dict[str, set[str]] = {}
    for one in placed:
        assert one.source.split in ("train", "val")
        if one.source.group is not None:
            sides.setdefault(one.source.group, set()).add(one.source.split)
    assert all(len(splits) == 1 for splits in sides.values())


def test_the_same_file_is_the_same_picture_though_a_decoder_sees_it_otherwise(store: SnapshotStore) -> None:
    """The pixels of a JPEG may change by a level with the version of the library that decodes it."""
    latest = store.latest()
    assert latest is not None
    held = latest.samples[0]
    sample = replace(arrived(1, split=UNASSIGNED, group=None, labels=held.labels), image=held.image)
    placed = place([sample], known=latest)
    assert (placed.added, placed.corrected, placed.unchanged) == ((), {}, ("a",))


def test_pictures_that_nobody_deals_are_dealt_by_share() -> None:
    placed = place(
        [arrived(number, split=UNASSIGNED, group=None) for number in range(4000)], known=None
    ).added
    share = sum(one.source.split == "val" for one in placed) / 4000
    assert share == pytest.approx(VAL_SHARE, abs=0.02)


def test_a_picture_that_came_twice_with_one_mask_counts_once(store: SnapshotStore, inbox: Path) -> None:
    put(inbox, "v", seed=7)
    put(inbox, "w", seed=7)
    assert count_new(inbox, store=store) == 1
    assert taken(inbox, store).added == ("v",)


def noisier(pixels: Image8) -> bytes:
    noise = np.random.default_rng(9).normal(0, 2, pixels.shape)
    return encode_png(np.clip(pixels + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("image", "group", "why"),
    [
        pytest.param(
            encode_png(surface(5)), None, r"is the golden image u itself \(correlation 1\.00\)", id="copy"
        ),
        pytest.param(
            noisier(surface(5)), None, r"looks like the golden image u \(correlation 0\.[89]\d\)", id="alike"
        ),
        pytest.param(
            encode_png(surface(9)), "plate3", "shows the part plate3, as does the golden image t", id="part"
        ),
    ],
)
def test_what_shows_a_golden_picture_is_left_out_by_name_and_the_rest_goes_on(
    store: SnapshotStore, inbox: Path, golden: Manifest, image: bytes, group: str | None, why: str
) -> None:
    put(inbox, "leak", image=image)
    put(inbox, "new", seed=7)
    (inbox / "split.csv").write_text(f"name,group\nleak,{group or ''}\n")
    result = taken(inbox, store, golden)
    assert result.added == ("new",)
    (refusal,) = result.refused
    assert refusal.name == "leak"
    assert re.match(why, refusal.why)
    assert refusal.why.endswith(", and what a model is judged on must not be learnt")
    assert "leak" not in splits_of(result.snapshot)
    assert count_new(inbox, store=store) == 1, (
        "what is left out may be counted, since it is not in the snapshot"
    )
    assert count_new(inbox, store=store, golden=golden) == 0


def test_a_flat_golden_picture_is_known_by_its_pixels(parts: Manifest, tmp_path: Path, inbox: Path) -> None:
    """Fine structure tells nothing of it."""
    flat = encode_png(np.full((HEIGHT_PX, WIDTH_PX, 3), 90, np.uint8))
    other = encode_png(np.full((HEIGHT_PX, WIDTH_PX, 3), 91, np.uint8))
    parts.split("test")[1].image.write_bytes(flat)
    freeze(parts, split="test", destination=tmp_path / "flat")
    put(inbox, "leak", image=flat)
    put(inbox, "new", image=other)
    store = SnapshotStore(tmp_path / "store")
    (inbox / "classes.txt").write_text(CLASSES.to_text())
    result = taken(inbox, store, open_golden(tmp_path / "flat"))
    assert (result.added, [refusal.name for refusal in result.refused]) == (("new",), ["leak"])


def test_an_inbox_of_golden_pictures_alone_is_an_error_that_names_them(
    store: SnapshotStore, inbox: Path, golden: Manifest
) -> None:
    for number in range(4):
        put(inbox, f"leak{number}", seed=5)
    before = files_of(store.root)
    arrivals = read_inbox(inbox, known=store.latest(), golden=golden)
    assert (arrivals.new_labels, len(arrivals.refused)) == (0, 4)
    with pytest.raises(
        DatasetError, match=r"nothing in it may be learnt from: leak0 is the golden image u .*; and 1 more$"
    ):
        taken(inbox, store, golden)
    assert files_of(store.root) == before


def test_a_data_set_is_kept_apart_from_the_golden_set_too(
    parts: Manifest, golden: Manifest, tmp_path: Path
) -> None:
    (parts.root / "images/train/b.png").write_bytes(encode_png(surface(5)))
    result = take_in_dataset(parts, store=SnapshotStore(tmp_path / "new"), golden=golden, note="")
    assert result.added == ("a", "c")
    assert [refusal.name for refusal in result.refused] == ["b"]


def two_masks(inbox: Path) -> None:
    put(inbox, "v", seed=7)
    put(inbox, "w", seed=7, class_id=2)


def table(inbox: Path, text: str) -> None:
    put(inbox, "v", seed=7)
    put(inbox, "w", seed=8)
    (inbox / "split.csv").write_text(text)


def with_classes(inbox: Path, text: str) -> None:
    put(inbox, "v", seed=7)
    (inbox / "classes.txt").write_text(text)


def without_mask(inbox: Path) -> None:
    put(inbox, "v", seed=7)
    (inbox / "masks/v.png").unlink()


def small_mask(inbox: Path) -> None:
    put(inbox, "v", seed=7)
    (inbox / "masks/v.png").write_bytes(encode_labels(np.zeros((9, 9), np.uint8), CLASSES))


def broken_last(inbox: Path) -> None:
    put(inbox, "v", seed=7)
    put(inbox, "w", image=encode_png(surface(8))[:200])


def both_layouts(inbox: Path) -> None:
    put(inbox, "v", seed=7)
    put(inbox, "w", seed=8, split="train")


REFUSED = [
    pytest.param(lambda inbox: None, r"inbox is empty: put pictures into images/ and their masks", id="none"),
    pytest.param(
        lambda inbox: (inbox / "images/train/deep").mkdir(parents=True) or (inbox / "masks").mkdir(),
        "inbox is empty",
        id="folders-alone",
    ),
    pytest.param(
        lambda inbox: put(inbox, "v", seed=7, split="train/deep"), "inbox is empty", id="folder-in-folder"
    ),
    pytest.param(
        lambda inbox: put(inbox, "v", seed=7, split="test"),
        r"v\.png is meant for the split test, but what candidates are judged on is frozen in the golden set; move it",
        id="test",
    ),
    pytest.param(
        lambda inbox: table(inbox, "name,split\nv,test\n"), "meant for the split test", id="test-by-table"
    ),
    pytest.param(
        lambda inbox: put(inbox, "v", seed=7, split="night"),
        "meant for the split night",
        id="split-of-its-own",
    ),
    pytest.param(
        lambda inbox: put(inbox, "v", seed=7, split="valid"), "rename it to val", id="split-misspelt"
    ),
    pytest.param(
        lambda inbox: table(inbox, "name,split,group\nv,val,plate1\n"),
        r"v\.png is meant for val, but its part plate1 stands in train with b of the latest .* move it to train",
        id="part-known-elsewhere",
    ),
    pytest.param(
        lambda inbox: table(inbox, "name,split,group\nv,val,p\nw,train,p\n"),
        r"w\.png is meant for train, but its part p stands in val with \S*v\.png",
        id="part-on-two-sides",
    ),
    pytest.param(
        lambda inbox: table(inbox, "name,split\nv,val\nghost,val\n"),
        "names 'ghost', which is not in images/; remove the row, or add the image",
        id="row-without-image",
    ),
    pytest.param(
        lambda inbox: table(inbox, "image,split\nv,val\n"), "has no column name", id="table-of-another-kind"
    ),
    pytest.param(
        two_masks,
        r"masks/v\.png and \S*masks/w\.png say different things of the same picture; keep the one that is right",
        id="two-masks-for-one-picture",
    ),
    pytest.param(lambda inbox: put(inbox, "v", seed=7, class_id=3), r"v\.png: .*3", id="unknown-id"),
    pytest.param(without_mask, r"v\.png: has no mask", id="no-mask"),
    pytest.param(small_mask, "the mask is 9 x 9 px, its image 32 x 24 px", id="wrong-size"),
    pytest.param(broken_last, r"images/w\.png: truncated or damaged", id="broken"),
    pytest.param(both_layouts, "holds both images and folders", id="both-layouts"),
    pytest.param(
        lambda inbox: with_classes(inbox, "0 background\n1 scratch background\n"),
        "the class scratch is background here and defect in the latest snapshot; write `1 scratch defect`",
        id="another-role",
    ),
    pytest.param(lambda inbox: with_classes(inbox, "1 scratch\n"), "id 1, expected 0", id="classes-broken"),
]


@pytest.mark.parametrize(("harm", "message"), REFUSED)
def test_what_cannot_be_meant_is_refused_and_nothing_taken_in(
    store: SnapshotStore, inbox: Path, harm: Callable[[Path], object], message: str
) -> None:
    inbox.mkdir()
    harm(inbox)
    before, put_down = files_of(store.root), files_of(inbox)
    with pytest.raises(DatasetError, match=message):
        taken(inbox, store)
    assert files_of(store.root) == before
    assert files_of(inbox) == put_down


def test_the_first_inbox_must_say_what_its_ids_mean(tmp_path: Path, inbox: Path) -> None:
    store = SnapshotStore(tmp_path / "new")
    put(inbox, "v", seed=7, class_id=1)
    with pytest.raises(DatasetError, match=r"classes\.txt: this file is missing; write one line per class"):
        taken(inbox, store)
    (inbox / "classes.txt").write_text("0 background\n1 dent\n")
    assert taken(inbox, store).snapshot.class_map.names == ("background", "dent")


def test_the_inbox_is_left_as_it_is(store: SnapshotStore, inbox: Path) -> None:
    put(inbox, "v", seed=7, split="train")
    before = files_of(inbox)
    taken(inbox, store)
    assert files_of(inbox) == before


def test_nothing_new_is_counted_where_nothing_is(store: SnapshotStore, inbox: Path) -> None:
    assert count_new(inbox, store=store) == 0
    (inbox / "images").mkdir(parents=True)
    (inbox / "images/.gitkeep").touch()
    assert count_new(inbox, store=store) == 0


def test_everything_is_new_to_an_empty_store(tmp_path: Path, parts: Manifest, inbox: Path) -> None:
    put(inbox, "v", seed=7)
    put(inbox, "w", seed=8)
    (inbox / "classes.txt").write_text(CLASSES.to_text())
    assert count_new(inbox, store=SnapshotStore(tmp_path / "new")) == 2
    assert not (tmp_path / "new").exists(), "counting writes nothing"


def test_counting_passes_over_what_the_snapshot_holds(store: SnapshotStore, inbox: Path) -> None:
    put(inbox, "same", seed=1, class_id=1)
    put(inbox, "corrected", seed=2, class_id=2)
    put(inbox, "new", seed=7)
    assert count_new(inbox, store=store) == 2


def test_one_reading_is_enough_to_count_and_to_take_in(
    store: SnapshotStore, inbox: Path, golden: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding takes nearly all of the time; what is taken in is copied, and its mask read once more."""
    put(inbox, "new", seed=7)
    put(inbox, "leak", seed=5)
    read: list[str] = []

    def note(sample: Sample, *, class_map: ClassMap) -> tuple[Image8, Image8]:
        read.append(sample.name)
        return read_pair(sample, class_map=class_map)

    monkeypatch.setattr(data.identity, "read_pair", note)
    with store.writing() as writer:
        arrivals = read_inbox(inbox, known=writer.latest, golden=golden)
        assert arrivals.new_labels == 1
        result = arrivals.add_to(writer, note="")
    assert (result.added, [one.name for one in result.refused]) == (("new",), ["leak"])
    assert sorted(read) == ["leak", "new", "t", "u"]


def test_a_crash_before_the_log_line_takes_nothing_in_and_the_next_run_goes_through(
    store: SnapshotStore, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(inbox, "a", seed=1, class_id=2)
    put(inbox, "new", seed=7)
    before = store.latest()

    def crash(*arguments: Any) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            taken(inbox, store)
    assert store.latest() == before
    assert len(store.log()) == 1
    assert count_new(inbox, store=store) == 2
    result = taken(inbox, store)
    assert (result.snapshot.number, result.added, result.corrected) == (2, ("new",), ("a",))
    store.verify(result.snapshot)


def test_whoever_comes_second_waits_or_is_told_who_writes(store: SnapshotStore) -> None:
    with (
        store.writing(),
        pytest.raises(LockedError, match=rf"is held by process {os.getpid()} on .* since"),
        store.writing(wait_s=0.1),
    ):
        pass


TAKE_IN = """
import sys
from pathlib import Path
from data.inbox import take_in
from data.snapshots import SnapshotStore
take_in(Path(sys.argv[1]), store=SnapshotStore(Path(sys.argv[2])), golden=None, note=sys.argv[1])
"""


def test_two_processes_at_once_lose_nothing(store: SnapshotStore, tmp_path: Path) -> None:
    """Both bring a picture called v, and one that only they have."""
    for number in range(2):
        inbox = tmp_path / f"inbox{number}"
        put(inbox, "v", seed=20 + number)
        put(inbox, f"own{number}", seed=30 + number)
    processes = [
        subprocess.Popen([sys.executable, "-c", TAKE_IN, str(tmp_path / f"inbox{number}"), str(store.root)])
        for number in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    latest = store.latest()
    assert latest is not None
    assert [(entry.number, entry.added) for entry in store.log()] == [(1, 3), (2, 2), (3, 2)]
    names = splits_of(latest).keys()
    assert {"a", "b", "c", "v", "own0", "own1"} < names
    assert len(names) == 7
    store.verify(latest)


def peak_of_taking_in(dataset: Manifest, root: Path) -> int:
    tracemalloc.start()
    take_in_dataset(dataset, store=SnapshotStore(root), golden=None, note="")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak_bytes


def test_memory_does_not_grow_with_the_images(
    tmp_path: Path, parts: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture is 0.9 MB decoded."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    shade = np.linspace(0, 200, 500 * 600 * 3).reshape(500, 600, 3).astype(np.uint8)
    labels = np.zeros((500, 600), np.uint8)
    peaks = []
    for count in (2, 20):
        write_layout(
            (
                LabelledImage(f"n{seed}", "train", encode_png(shade + np.uint8(seed)), labels, "test")
                for seed in range(count)
            ),
            class_map=CLASSES,
            destination=tmp_path / f"set{count}",
        )
        peaks.append(peak_of_taking_in(open_dataset(tmp_path / f"set{count}"), tmp_path / f"store{count}"))
    assert peaks[1] < peaks[0] + 1_000_000
