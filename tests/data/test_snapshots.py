"""Versions of labelled data: nothing is overwritten, the same content is the same snapshot, a crash changes nothing."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from data.append_log import LogError, Writer
from data.classes import ClassMap
from data.identity import labelled_samples
from data.images import encode_png
from data.layout import LabelledImage, write_layout
from data.manifest import DatasetError, Manifest, Sample
from data.objects import ObjectError
from data.pixels import read_pair
from data.snapshots import Snapshot, SnapshotError, SnapshotStore
from data.sources import open_dataset

Labels = NDArray[np.uint8]

CLASSES = ClassMap.from_names(("background", "scratch", "pit"))
HEIGHT_PX, WIDTH_PX = 5, 7


def picture(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3)).astype(np.uint8))


def labels_with(class_id: int) -> Labels:
    labels = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    labels[1, 2:5] = class_id
    return labels


def labelled(
    name: str, seed: int, class_id: int = 1, *, split: str = "train", group: str | None = None
) -> LabelledImage:
    return LabelledImage(name, split, picture(seed), labels_with(class_id), "test", group)


def data_set(root: Path, *images: LabelledImage, classes: ClassMap = CLASSES) -> Manifest:
    write_layout(images, class_map=classes, destination=root)
    return open_dataset(root)


def add(store: SnapshotStore, manifest: Manifest, *, note: str = "") -> Snapshot:
    return store.add(labelled_samples(manifest), class_map=manifest.class_map, note=note)


def content_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and the time of its last change, but for the lock."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "store")


@pytest.fixture
def parts(tmp_path: Path) -> Manifest:
    return data_set(
        tmp_path / "parts",
        labelled("a", 1, group="plate1"),
        labelled("b", 2, 2),
        labelled("c", 3, split="val"),
    )


@given(
    shown=st.lists(
        st.tuples(
            st.integers(1, 6),
            st.integers(1, 6),
            st.sampled_from(("train", "val")),
            st.sampled_from((None, "left", "right")),
            st.integers(0, 2**32 - 1),
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=25, deadline=None)
def test_what_was_added_comes_back_pixel_for_pixel(
    shown: Sequence[tuple[int, int, str, str | None, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        images = []
        for number, (height, width, split, group, seed) in enumerate(shown):
            random = np.random.default_rng(seed)
            pixels = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
            labels = random.choice(np.array([0, 1, 2, 255], np.uint8), (height, width))
            images.append(LabelledImage(f"n{number}", split, encode_png(pixels), labels, "test", group))
        manifest = data_set(Path(folder, "parts"), *images)
        kept = SnapshotStore(Path(folder, "store"))
        snapshot = add(kept, manifest)
        kept.verify(snapshot)
        again = kept.manifest(snapshot)
        assert again.class_map == manifest.class_map
        assert [(s.name, s.split, s.group) for s in again.samples] == [
            (s.name, s.split, s.group) for s in manifest.samples
        ]
        for one, other in zip(manifest.samples, again.samples, strict=True):
            assert other.image.read_bytes() == one.image.read_bytes()
            for before, after in zip(
                read_pair(one, class_map=CLASSES), read_pair(other, class_map=CLASSES), strict=True
            ):
                assert np.array_equal(before, after)


def test_an_empty_store_has_no_snapshot_and_says_how_to_make_one(store: SnapshotStore) -> None:
    assert store.log() == ()
    assert store.latest() is None
    with pytest.raises(SnapshotError, match="no snapshot yet; `segnet data snapshot DATA` makes the first"):
        store.resolve("latest")
    assert not store.root.exists()


def test_the_log_says_what_came_from_what(store: SnapshotStore, parts: Manifest, tmp_path: Path) -> None:
    first = add(store, parts, note="first")
    more = data_set(
        tmp_path / "more",
        labelled("a", 1, 2, group="plate1"),
        labelled("b", 2, 2),
        labelled("c", 3, split="val"),
        labelled("d", 4),
        labelled("e", 5, split="val"),
    )
    second = add(store, more, note="one night")
    assert store.latest() == second
    assert [(e.number, e.digest, e.parent, e.note, e.images, e.added, e.corrected) for e in store.log()] == [
        (1, first.digest, None, "first", {"train": 2, "val": 1}, 3, 0),
        (2, second.digest, first.digest, "one night", {"train": 3, "val": 2}, 2, 1),
    ]
    assert first.images == {"train": 2, "val": 1}


def test_the_digest_is_the_sha256_of_what_is_written(store: SnapshotStore, parts: Manifest) -> None:
    snapshot = add(store, parts)
    written = store.snapshot_path(snapshot).read_bytes()
    assert hashlib.sha256(written).hexdigest() == snapshot.digest
    assert sorted(json.loads(written)) == ["classes", "format", "samples"]


def test_folder_order_and_encoding_do_not_change_the_digest(
    store: SnapshotStore, parts: Manifest, tmp_path: Path
) -> None:
    """The other folder has another name, masks without a palette, and is read backwards."""
    plain = data_set(
        tmp_path / "elsewhere",
        labelled("a", 1, group="plate1"),
        labelled("b", 2, 2),
        labelled("c", 3, split="val"),
    )
    for sample in plain.samples:
        with Image.open(sample.mask) as mask:
            Image.fromarray(np.asarray(mask), "L").save(sample.mask)
    other = SnapshotStore(tmp_path / "other")
    backwards = list(labelled_samples(plain))[::-1]
    assert other.add(backwards, class_map=CLASSES, note="another").digest == add(store, parts).digest


def test_the_same_content_again_is_the_same_snapshot_and_writes_nothing(
    store: SnapshotStore, parts: Manifest
) -> None:
    first = add(store, parts)
    before = content_of(store.root)
    assert add(store, parts, note="again") == first
    assert content_of(store.root) == before


def test_going_back_to_older_content_is_a_snapshot_of_its_own(
    store: SnapshotStore, parts: Manifest, tmp_path: Path
) -> None:
    first = add(store, parts)
    second = add(store, data_set(tmp_path / "less", labelled("a", 1)))
    third = add(store, parts)
    assert (third.number, third.digest, third.parent) == (3, first.digest, second.digest)
    assert store.latest() == third
    assert store.resolve(first.digest) == third


def test_nothing_that_was_written_is_ever_written_again(
    store: SnapshotStore, parts: Manifest, tmp_path: Path
) -> None:
    first = add(store, parts)
    before = content_of(store.root)
    add(store, data_set(tmp_path / "corrected", labelled("a", 1, 2), labelled("d", 4)))
    after = content_of(store.root)
    log = before.pop("log.jsonl")[0]
    assert after["log.jsonl"][0].startswith(log)
    assert {name: after[name] for name in before} == before
    assert all(path.stat().st_mode & 0o222 == 0 for path in (store.root / "objects").rglob("*.png"))
    store.verify(first)


def test_a_picture_that_two_samples_share_is_kept_once(store: SnapshotStore, tmp_path: Path) -> None:
    add(store, data_set(tmp_path / "twins", labelled("a", 1), labelled("b", 1, 2)))
    assert len(list((store.root / "objects").rglob("*.png"))) == 3


@pytest.mark.parametrize(
    "ref",
    [
        pytest.param(lambda made: "latest", id="latest"),
        pytest.param(lambda made: "2", id="number"),
        pytest.param(lambda made: "s2", id="label"),
        pytest.param(lambda made: made.digest, id="digest"),
        pytest.param(lambda made: made.digest[:6], id="six-digits"),
        pytest.param(lambda made: made.digest[:9].upper(), id="capitals"),
    ],
)
def test_a_snapshot_is_found_by_each_of_its_names(
    store: SnapshotStore, parts: Manifest, tmp_path: Path, ref: Callable[[Snapshot], str]
) -> None:
    add(store, parts)
    second = add(store, data_set(tmp_path / "more", labelled("d", 4)))
    assert store.resolve(ref(second)) == second
    assert store.resolve("s1") != second


@pytest.mark.parametrize("ref", ["s9", "0", "", "newest", "abc", "ffffffffffff"])
def test_a_name_that_is_none_is_refused_with_those_there_are(
    store: SnapshotStore, parts: Manifest, ref: str
) -> None:
    add(store, parts)
    with pytest.raises(SnapshotError, match=f"no snapshot '{ref}'; there are s1 to s1, latest"):
        store.resolve(ref)


def damage(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_file_that_is_gone_or_shorter_is_named_before_training(
    store: SnapshotStore, parts: Manifest
) -> None:
    snapshot = add(store, parts)
    sample = store.manifest(snapshot).samples[0]
    content = sample.image.read_bytes()
    damage(sample.image, content[:-1])
    with pytest.raises(
        ObjectError, match=f"{sample.image} has {len(content) - 1} bytes, expected {len(content)}"
    ):
        store.manifest(snapshot)
    sample.image.unlink()
    with pytest.raises(ObjectError, match=f"{sample.image} is missing; take it from a backup"):
        store.manifest(snapshot)


def test_a_changed_byte_is_found_by_verify_alone(store: SnapshotStore, parts: Manifest) -> None:
    snapshot = add(store, parts)
    store.verify(snapshot)
    sample = store.manifest(snapshot).samples[1]
    content = sample.mask.read_bytes()
    damage(sample.mask, content[:-1] + bytes([content[-1] ^ 1]))
    store.manifest(snapshot)
    with pytest.raises(ObjectError, match=rf"changed since they were taken in: {sample.mask} \(b\); take"):
        store.verify(snapshot)


def test_a_damaged_object_is_not_overwritten_but_named(store: SnapshotStore, parts: Manifest) -> None:
    sample = store.manifest(add(store, parts)).samples[0]
    damage(sample.image, b"half")
    with pytest.raises(ObjectError, match=f"{sample.image} has 4 bytes"):
        add(store, parts)
    assert sample.image.read_bytes() == b"half"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        pytest.param(lambda path: path.unlink(), r"json is missing, snapshot s1; take it", id="missing"),
        pytest.param(
            lambda path: damage(path, b"{}"), r"json was changed, snapshot s1; take it", id="changed"
        ),
    ],
)
def test_a_snapshot_whose_file_was_touched_is_refused(
    store: SnapshotStore, parts: Manifest, harm: Callable[[Path], None], message: str
) -> None:
    harm(store.snapshot_path(add(store, parts)))
    with pytest.raises(SnapshotError, match=message):
        store.latest()


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        pytest.param("{}", SnapshotError, "a line is no snapshot .*; take it from a backup", id="no-entry"),
        pytest.param("no JSON", LogError, "line 2 is no JSON object", id="no-json"),
    ],
)
def test_a_log_that_was_edited_is_refused(
    store: SnapshotStore, parts: Manifest, line: str, error: type[ValueError], message: str
) -> None:
    add(store, parts)
    with (store.root / "log.jsonl").open("a") as log:
        log.write(f"{line}\n")
    with pytest.raises(error, match=message):
        store.log()


@pytest.mark.parametrize("where", ["before the log line", "in the middle of the files"])
def test_a_crash_leaves_the_store_as_it_was_and_the_next_run_goes_through(
    store: SnapshotStore, parts: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    first = add(store, parts)
    before = content_of(store.root)
    more = data_set(tmp_path / "more", labelled("d", 4), labelled("e", 5))

    def crash(*arguments: Any) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if where == "before the log line":
            patch.setattr(Writer, "append", crash)
        else:
            two_files = iter([os.fsync] * 2)
            patch.setattr(os, "fsync", lambda descriptor: next(two_files, crash)(descriptor))
        with pytest.raises(KeyboardInterrupt):
            add(store, more)
    assert store.latest() == first
    assert len(store.log()) == 1
    after = content_of(store.root)
    assert {name: after[name] for name in before} == before
    assert len(after) > len(before), "or it did not get as far as it should"
    second = add(store, more)
    assert (second.number, second.parent) == (2, first.digest)
    store.verify(second)


def test_a_file_that_changes_meanwhile_is_refused(store: SnapshotStore, parts: Manifest) -> None:
    read = list(labelled_samples(parts))
    parts.samples[2].image.write_bytes(picture(9))
    with pytest.raises(SnapshotError, match=r"c\.png changed while it was taken in"):
        store.add(read, class_map=CLASSES, note="")
    parts.samples[0].mask.write_bytes(parts.samples[1].mask.read_bytes())
    with pytest.raises(SnapshotError, match=r"masks/train/a\.png changed while it was taken in"):
        store.add(read, class_map=CLASSES, note="")
    assert store.log() == ()


def test_two_samples_of_one_name_are_refused(store: SnapshotStore, tmp_path: Path) -> None:
    manifest = data_set(tmp_path / "parts", labelled("a", 1), labelled("a", 2, split="val"))
    with pytest.raises(DatasetError, match="1 names stand for two samples each, the first 'a'"):
        add(store, manifest)
    assert store.log() == ()


def test_the_difference_names_what_became_of_each_sample(store: SnapshotStore, tmp_path: Path) -> None:
    old = add(
        store,
        data_set(
            tmp_path / "old",
            labelled("gone", 1),
            labelled("same", 2),
            labelled("corrected", 3),
            labelled("moved", 4),
            labelled("both", 5),
            labelled("grouped", 6),
            labelled("replaced", 7),
        ),
    )
    wider = ClassMap.from_names((*CLASSES.names, "fray"))
    new = add(
        store,
        data_set(
            tmp_path / "new",
            labelled("came", 8),
            labelled("same", 2),
            labelled("corrected", 3, 2),
            labelled("moved", 4, split="val"),
            labelled("both", 5, 3, split="val"),
            labelled("grouped", 6, group="plate"),
            labelled("replaced", 9),
            classes=wider,
        ),
    )
    change = store.diff(old, new)
    assert change.added == ("came", "replaced")
    assert change.removed == ("gone", "replaced")
    assert change.corrected == ("both", "corrected")
    assert change.moved == ("both", "grouped", "moved")
    assert change.classes_added == ("fray",)
    back = store.diff(new, old)
    assert (back.added, back.removed, back.classes_added) == (change.removed, change.added, ())


def test_a_class_that_is_appended_corrects_nothing(store: SnapshotStore, parts: Manifest) -> None:
    """The palettes of the masks differ then, and so do their files."""
    old = add(store, parts)
    wider = ClassMap.from_names((*CLASSES.names, "fray"))
    new = store.add(labelled_samples(parts, onto=wider), class_map=wider, note="")
    assert [one.mask for one in old.samples] != [one.mask for one in new.samples]
    assert store.diff(old, new).corrected == ()


def test_training_sees_samples_by_split_and_name(store: SnapshotStore, tmp_path: Path) -> None:
    manifest = data_set(tmp_path / "parts", labelled("a", 1, split="val"), labelled("b", 2))
    samples: tuple[Sample, ...] = store.manifest(add(store, manifest)).samples
    assert [(sample.split, sample.name) for sample in samples] == [("train", "b"), ("val", "a")]
