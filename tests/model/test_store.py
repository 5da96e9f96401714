"""Versions stay what they are, one of them serves, and the history tells how that came about."""

import errno
import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from model.artifact import ArtifactError, open_artifact
from model.contract import Decision
from model.store import ModelStore, Parents, StoreConflict, StoreError, Version

STORED = Path(__file__).parents[1] / "promises" / "format_1.onnx"
ME: dict[str, Any] = {"by": "me", "reason": "because"}


def variant(number: int) -> bytes:
    """The stored model as another file that computes the same: one more piece of metadata, up to 127."""
    # Protobuf: field 14 of ModelProto holds an entry of 6 bytes, key "n" and a value of one character.
    return STORED.read_bytes() + bytes([14 << 3 | 2, 6, 0x0A, 1, ord("n"), 0x12, 1, number])


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder but locks, which only tell who holds them."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def add(store: ModelStore, tmp_path: Path) -> Callable[..., Version]:
    """Add the variant of a number."""

    def add(number: int = 0, **facts: Any) -> Version:
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(variant(number))
        return store.add(path, **({"by": "me"} | facts))

    return add


def promote(store: ModelStore, *versions: Version) -> None:
    for version in versions:
        store.promote(version, **ME, expected_champion=store.champion)


def test_a_store_that_is_not_there_is_empty_and_stays_away(store: ModelStore, tmp_path: Path) -> None:
    assert store.versions() == ()
    assert store.history() == ()
    assert (store.champion, store.previous, store.candidate) == (None, None, None)
    with pytest.raises(StoreError, match=r"no version 'champion' in the store; it is empty: .*models add"):
        store.resolve("champion")
    assert list(tmp_path.iterdir()) == []


def test_an_added_model_is_kept_whole_with_what_came_along(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    parents = Parents(champion="1" * 64, snapshot="2" * 64, strategy="ewc", run="0007")
    version = store.add(
        STORED,
        by="retrain",
        reason="40 new labels",
        parents=parents,
        attachments={"metrics.json": tmp_path / "metrics.json", "network.pt": b"weights"},
    )
    artifact = open_artifact(store.model_path(version))
    assert store.model_path(version).read_bytes() == STORED.read_bytes()
    assert (version.number, version.label, version.name) == (1, "v1", "colours")
    assert version.digest == artifact.digest
    assert version.parents == parents
    for name, content in (("metrics.json", b"{}"), ("network.pt", b"weights")):
        path = store.attachment(version, name)
        assert path is not None
        assert path.read_bytes() == content
    assert store.attachment(version, "report.html") is None
    assert store.versions() == (version,)
    assert store.candidate == version
    assert store.champion is None
    (event,) = store.history()
    assert (event.kind, event.version, event.by, event.reason) == ("added", 1, "retrain", "40 new labels")


def test_the_files_of_a_version_cannot_be_written_to_by_accident(
    store: ModelStore, add: Callable[..., Version]
) -> None:
    folder = store.model_path(add(attachments={"config.toml": b""})).parent
    assert sorted(path.name for path in folder.iterdir()) == ["config.toml", "model.onnx", "version.json"]
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert Version.model_validate_json((folder / "version.json").read_bytes()) == store.versions()[0]


def test_the_same_file_again_is_the_same_version(store: ModelStore, add: Callable[..., Version]) -> None:
    first = add(0)
    promote(store, first)
    before = tree(store.model_path(first).parents[2])
    assert add(0, by="somebody else", attachments={"late.txt": b""}) == first
    assert tree(store.model_path(first).parents[2]) == before
    assert store.candidate is None


def test_what_is_no_model_is_not_taken_in(store: ModelStore, tmp_path: Path) -> None:
    path = tmp_path / "notes.onnx"
    path.write_text("not a model")
    with pytest.raises(ArtifactError, match="no ONNX file"):
        store.add(path, by="me")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", ".hidden", "model.onnx", "version.json"])
def test_an_attachment_has_a_plain_name_of_its_own(store: ModelStore, name: str) -> None:
    with pytest.raises(StoreError, match=r"attachment .*expected a plain file name"):
        store.add(STORED, by="me", attachments={name: b""})
    assert store.versions() == ()


def test_promotions_are_undone_in_their_order(store: ModelStore, add: Callable[..., Version]) -> None:
    one, two, three = add(1), add(2), add(3)
    promote(store, one, two, one, three)
    assert (store.champion, store.previous) == (three, one)
    for left, (champion, previous) in ((three, (one, two)), (one, (two, one)), (two, (one, None))):
        assert store.roll_back(**ME).version == left.number
        assert (store.champion, store.previous) == (champion, previous)
    with pytest.raises(
        StoreError, match=r"no champion before this one to go back to; there is: champion \(v1\)"
    ):
        store.roll_back(**ME)
    assert store.champion == one


def test_the_candidate_is_the_newest_that_nobody_has_judged(
    store: ModelStore, add: Callable[..., Version]
) -> None:
    one, two, three = add(1), add(2), add(3)
    assert store.candidate == three
    store.refuse(three, **ME, numbers={"escape_rate": 0.2})
    assert store.candidate == two
    promote(store, two)
    assert store.candidate == one
    promote(store, one)
    store.roll_back(**ME)
    assert store.candidate is None


def test_the_history_keeps_who_why_and_the_numbers(store: ModelStore, add: Callable[..., Version]) -> None:
    version = add()
    numbers = {"escape_rate": [0.1, 0.02], "verdict": "refuse", "images": 120, "ece": None}
    store.refuse(version, by="gate", reason="no proof that it is better", numbers=numbers)
    told = store.promote(
        version, by="anna", reason="the line waits", expected_champion=None, forced=True, numbers=numbers
    )
    refused, promoted = store.history()[1:]
    assert (refused.kind, refused.by, refused.forced, refused.numbers) == ("refused", "gate", False, numbers)
    assert promoted == told
    assert (promoted.kind, promoted.by, promoted.forced, promoted.numbers) == (
        "promoted", "anna", True, numbers,
    )  # fmt: skip
    assert refused.at <= promoted.at


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_without_a_reason_nothing_changes(
    store: ModelStore, add: Callable[..., Version], reason: str
) -> None:
    one, two = add(1), add(2)
    promote(store, one, two)
    before = store.history()
    for decide in (
        lambda: store.promote(one, by="me", reason=reason, expected_champion=two),
        lambda: store.refuse(one, by="me", reason=reason),
        lambda: store.roll_back(by="me", reason=reason),
    ):
        with pytest.raises(StoreError, match="no reason given"):
            decide()
    assert store.history() == before


def test_a_decision_made_against_another_champion_is_a_conflict_that_names_him(
    store: ModelStore, add: Callable[..., Version]
) -> None:
    one, two, three = add(1), add(2), add(3)
    with pytest.raises(StoreConflict, match="no version is the champion by now, not v2"):
        store.promote(one, **ME, expected_champion=two)
    promote(store, one, two)
    for expected in (None, one, three):
        with pytest.raises(StoreConflict, match="v2 is the champion by now"):
            store.promote(three, **ME, expected_champion=expected)
    with pytest.raises(StoreConflict, match="v2 is the champion by now, not v1"):
        store.roll_back(**ME, expected_champion=one)
    assert store.champion == two
    store.roll_back(**ME, expected_champion=two)
    assert store.champion == one


def test_the_champion_is_neither_promoted_again_nor_refused(
    store: ModelStore, add: Callable[..., Version]
) -> None:
    one = add(1)
    promote(store, one)
    with pytest.raises(StoreError, match="v1 is the champion already"):
        promote(store, one)
    with pytest.raises(StoreError, match="v1 is the champion and cannot be refused; roll back instead"):
        store.refuse(one, **ME)
    assert [event.kind for event in store.history()] == ["added", "promoted"]


def test_every_reference_finds_its_version(
    store: ModelStore, color_model: Callable[..., bytes], tmp_path: Path
) -> None:
    versions = []
    for number in (1, 2, 3):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(color_model(decision=Decision(weights=(1.0, 1.0, float(number)))))
        versions.append(store.add(path, by="me"))
    one, two, three = versions
    promote(store, one, two)
    for ref, expected in (
        ("champion", two), ("previous", one), ("candidate", three), ("v1", one), ("2", two), ("v03", three),
        (one.digest, one), (two.digest[:6], two), (three.file_sha256[:12], three),
    ):  # fmt: skip
        assert store.resolve(ref) == expected
        assert store.resolve(f"store://{ref}") == expected


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("previous", r"no version 'previous' .*there is: champion \(v1\), candidate \(v2\), v1, v2"),
        ("v3", "no version 'v3' .*v1, v2"),
        ("store://v3", "no version 'store://v3'"),
        ("", "no version ''"),
        ("v", "no version 'v'"),
        ("../v1", "no version"),
        ("37877", "no version '37877'"),
        ("37877c", "'37877c' may be any of v1, v2; give the number"),
    ],
)
def test_a_reference_to_none_or_several_lists_what_there_is(
    store: ModelStore, add: Callable[..., Version], ref: str, said: str
) -> None:
    assert add(1).digest == add(2).digest == open_artifact(STORED).digest
    assert store.versions()[0].digest.startswith("37877c")
    promote(store, store.versions()[0])
    with pytest.raises(StoreError, match=said):
        store.resolve(ref)


def test_a_digest_of_digits_alone_is_found(store: ModelStore, add: Callable[..., Version]) -> None:
    version = add(0)
    now = store.read()
    numeric = version.model_copy(update={"digest": "123456789" + version.digest[9:]})
    changed = type(now)(events=now.events, versions=(numeric,), champions=(), open_candidates=())
    assert changed.resolve("123456") == numeric


def test_gc_keeps_the_last_champions_and_all_that_has_a_name(
    store: ModelStore, add: Callable[..., Version]
) -> None:
    old, one, two, three, refused, four, candidate = (add(number) for number in range(7))
    promote(store, old, one, two, three, four)
    store.refuse(refused, **ME)
    assert store.gc(keep=3, by="cron") == (old, one, refused)
    assert store.versions() == (two, three, four, candidate)
    assert (store.champion, store.previous, store.candidate) == (four, three, candidate)
    assert not store.model_path(old).parent.exists()
    assert all(store.model_path(version).is_file() for version in store.versions())
    assert store.gc(keep=3, by="cron") == ()
    store.roll_back(**ME)
    store.roll_back(**ME)
    with pytest.raises(StoreError, match="no champion before"):
        store.roll_back(**ME)
    with pytest.raises(StoreError, match="v1 is not in the store"):
        promote(store, old)


def test_gc_keeps_the_previous_champion_even_when_told_to_keep_one(
    store: ModelStore, add: Callable[..., Version]
) -> None:
    one, two, three = add(1), add(2), add(3)
    promote(store, one, two, three)
    assert store.gc(keep=1, by="cron") == (one,)
    with pytest.raises(StoreError, match="keep 0 champions; expected 1 or more"):
        store.gc(keep=0, by="cron")


def test_nobody_goes_back_through_a_removed_version(store: ModelStore, add: Callable[..., Version]) -> None:
    """1, 2, 1, 3, 1: of the last two, 2 is none; the older place of 1 goes with it."""
    one, two, three = add(1), add(2), add(3)
    promote(store, one, two, one, three, one)
    assert store.gc(keep=2, by="cron") == (two,)
    for champion in (three, one):
        store.roll_back(**ME)
        assert store.champion == champion
    with pytest.raises(StoreError, match="no champion before"):
        store.roll_back(**ME)


def test_a_removed_model_comes_back_under_a_new_number(
    store: ModelStore, add: Callable[..., Version]
) -> None:
    one = add(1)
    promote(store, one, add(2), add(3))
    store.gc(keep=1, by="cron")
    again = add(1)
    assert again.number == 4
    assert again.file_sha256 == one.file_sha256
    assert store.model_path(again).is_file()


def test_gc_removes_what_crashes_left(store: ModelStore, add: Callable[..., Version]) -> None:
    folder = store.model_path(add()).parent
    for name in (".incoming", "0" * 64):
        (folder.parent / name).mkdir()
        (folder.parent / name / "model.onnx").write_bytes(b"half")
    assert store.gc(keep=1, by="cron") == ()
    assert list(folder.parent.iterdir()) == [folder]


def test_versions_without_their_history_are_not_numbered_anew(
    store: ModelStore, add: Callable[..., Version], tmp_path: Path
) -> None:
    version = add(1)
    (tmp_path / "models" / "history.jsonl").unlink()
    for write in (lambda: add(2), lambda: store.gc(keep=1, by="cron")):
        with pytest.raises(StoreError, match=r"history\.jsonl is missing, but .* take it from a backup"):
            write()
    assert store.model_path(version).is_file()


def test_a_damaged_model_file_is_noticed(store: ModelStore, add: Callable[..., Version]) -> None:
    version = add()
    store.verify(version)
    path = store.model_path(version)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(StoreError, match=r"model\.onnx: sha256 .*, expected .*damaged"):
        store.verify(version)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"kind": "praised"}, "kind", id="an unknown kind"),
        pytest.param({"version": 7}, "promoted v7, which is not there", id="an unknown version"),
        pytest.param({"by": None}, "by", id="nobody"),
        pytest.param(
            {"kind": "rolled_back"}, "v1 is rolled back, but is no champion", id="nothing to go back from"
        ),
        pytest.param({"kind": "added"}, "v1 is added without its record", id="no record"),
        pytest.param({"mood": "good"}, "mood", id="an unknown key"),
    ],
)
def test_a_history_edited_by_hand_is_named_by_its_line(
    store: ModelStore, add: Callable[..., Version], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    promote(store, add())
    path = tmp_path / "models" / "history.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{json.dumps(json.loads(second) | change)}\n")
    with pytest.raises(StoreError, match=rf"history makes no sense at line 2 \({said}"):
        store.versions()


def test_a_torn_last_line_never_happened(
    store: ModelStore, add: Callable[..., Version], tmp_path: Path
) -> None:
    one, two = add(1), add(2)
    promote(store, one)
    path = tmp_path / "models" / "history.jsonl"
    whole = path.read_bytes()
    promote(store, two)
    line = path.read_bytes()[len(whole) :]
    for length in range(0, len(line), 13):
        path.write_bytes(whole + line[:length])
        assert store.champion == one
    promote(store, two)
    assert (store.champion, store.previous) == (two, one)


def test_reading_writes_nothing_and_needs_no_right_to(
    store: ModelStore, add: Callable[..., Version], tmp_path: Path
) -> None:
    version = add(attachments={"metrics.json": b"{}"})
    promote(store, version)
    root = tmp_path / "models"
    (root / "history.jsonl.lock").unlink()
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    before = [(path, path.stat().st_mtime_ns, sorted(path.iterdir())) for path in folders]
    for folder in folders:
        folder.chmod(0o555)
    try:
        reader = ModelStore(root)
        assert reader.resolve("store://champion") == version
        assert reader.versions() == (version,)
        assert len(reader.history()) == 2
        reader.verify(version)
        assert [(path, path.stat().st_mtime_ns, sorted(path.iterdir())) for path in folders] == before
        if os.geteuid() != 0:  # root may write anywhere
            with pytest.raises(PermissionError):
                reader.refuse(version, **ME)
    finally:
        for folder in folders:
            folder.chmod(0o755)


class PowerCut(BaseException):
    """Nothing runs after it."""


def stop_at(call: int, *, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the `call`-th os.fsync fail; returns a list that grows with each call."""
    sync, calls = os.fsync, list[int]()

    def failing(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == call:
            raise error
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    return calls


SYNCS_OF_ADD = 6  # model, record, attachment; the names in the folder, the folder's own; the line


@pytest.mark.parametrize("call", range(1, SYNCS_OF_ADD + 1))
def test_a_full_disk_leaves_the_store_as_it_was(
    store: ModelStore, add: Callable[..., Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    promote(store, add(1))
    before = tree(tmp_path / "models")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch:
        calls = stop_at(call, error=full, monkeypatch=patch)
        with pytest.raises(OSError, match="No space left"):
            add(2, attachments={"metrics.json": b"{}"})
        assert len(calls) == call
    assert tree(tmp_path / "models") == before
    assert len(list((tmp_path / "models" / "versions").iterdir())) == 1
    assert add(2, attachments={"metrics.json": b"{}"}).number == 2


@pytest.mark.parametrize(
    "decide",
    [
        pytest.param(lambda store: promote(store, store.resolve("v3")), id="promote"),
        pytest.param(lambda store: store.refuse(store.resolve("v3"), **ME), id="refuse"),
        pytest.param(lambda store: store.roll_back(**ME), id="roll back"),
        pytest.param(lambda store: store.gc(keep=1, by="cron"), id="gc"),
    ],
)
def test_a_full_disk_stops_a_decision_whole(
    store: ModelStore,
    add: Callable[..., Version],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    decide: Callable[[ModelStore], object],
) -> None:
    promote(store, add(1), add(2))
    store.refuse(add(3), **ME)
    add(4)
    before = tree(tmp_path / "models")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch:
        stop_at(1, error=full, monkeypatch=patch)
        with pytest.raises(OSError, match="No space left"):
            decide(store)
    assert tree(tmp_path / "models") == before
    decide(store)
    assert tree(tmp_path / "models") != before


@pytest.mark.parametrize("call", range(1, SYNCS_OF_ADD + 1))
def test_a_power_cut_while_adding_leaves_nothing_that_is_half_there(
    store: ModelStore, add: Callable[..., Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    one = add(1)
    promote(store, one)
    with monkeypatch.context() as patch:
        stop_at(call, error=PowerCut(), monkeypatch=patch)
        with pytest.raises(PowerCut):
            add(2, attachments={"metrics.json": b"{}"})
    # The line that was being forced to disk may have got there, or not; here it has.
    assert len(store.versions()) == (2 if call == SYNCS_OF_ADD else 1)
    for version in store.versions():
        store.verify(version)
    assert store.champion == one
    again = add(2, attachments={"metrics.json": b"[]"})
    assert again.number == 2
    store.verify(again)
    kept = store.attachment(again, "metrics.json")
    assert kept is not None
    assert kept.read_bytes() == (b"{}" if call == SYNCS_OF_ADD else b"[]")
    store.gc(keep=1, by="cron")
    assert len(list((tmp_path / "models" / "versions").iterdir())) == 2


def test_a_power_cut_while_removing_leaves_a_store_that_opens(
    store: ModelStore, add: Callable[..., Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = [add(number) for number in range(5)]
    promote(store, *versions)
    with monkeypatch.context() as patch:
        stop_at(2, error=PowerCut(), monkeypatch=patch)
        with pytest.raises(PowerCut):
            store.gc(keep=1, by="cron")
    assert versions[0] not in store.versions()
    for version in store.versions():
        store.verify(version)
    store.gc(keep=1, by="cron")
    assert store.versions() == tuple(versions[3:])
    assert len(list(store.model_path(versions[4]).parents[1].iterdir())) == 2


class StoreAgainstLists(RuleBasedStateMachine):
    """The store does what plain lists do: numbers of those there are, the stack of champions, those not judged."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.store = ModelStore(self.root / "models")
        self.content: dict[int, int] = {}
        self.stack: list[int] = []
        self.waiting: list[int] = []
        self.given = 0
        self.sync, os.fsync = os.fsync, lambda descriptor: None  # a hundred times faster

    def teardown(self) -> None:
        os.fsync = self.sync
        self.folder.cleanup()

    def version(self, number: int) -> Version:
        return self.store.resolve(f"v{number}")

    @initialize()
    def first(self) -> None:
        self.add(0)

    @rule(content=st.integers(0, 7))
    def add(self, content: int) -> None:
        path = self.root / "model.onnx"
        path.write_bytes(variant(content))
        found = self.store.add(path, by="me").number
        if content in self.content.values():
            assert self.content[found] == content
        else:
            self.given += 1
            assert found == self.given
            self.content[found] = content
            self.waiting.append(found)

    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.content)))
        if self.stack[-1:] == [number]:
            with pytest.raises(StoreError, match="champion already"):
                promote(self.store, self.version(number))
            return
        promote(self.store, self.version(number))
        self.stack.append(number)
        self.waiting = [one for one in self.waiting if one != number]

    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.content)))
        if self.stack[-1:] == [number]:
            with pytest.raises(StoreError, match="cannot be refused"):
                self.store.refuse(self.version(number), **ME)
            return
        self.store.refuse(self.version(number), **ME)
        self.waiting = [one for one in self.waiting if one != number]

    @rule()
    def roll_back(self) -> None:
        if len(self.stack) < 2:
            with pytest.raises(StoreError, match="no champion before"):
                self.store.roll_back(**ME)
            return
        assert self.store.roll_back(**ME).version == self.stack.pop()

    @precondition(lambda self: self.stack)
    @rule(keep=st.integers(1, 4))
    def gc(self, keep: int) -> None:
        needed = {*self.stack[-max(keep, 2) :], *self.waiting[-1:]}
        gone = [number for number in self.content if number not in needed]
        assert [one.number for one in self.store.gc(keep=keep, by="me")] == gone
        for number in gone:
            del self.content[number]
        while set(self.stack) & set(gone):
            self.stack.pop(0)
        self.waiting = [one for one in self.waiting if one not in gone]

    @invariant()
    def says_the_same(self) -> None:
        now = self.store.read()
        assert [one.number for one in now.versions] == sorted(self.content)
        assert [one.number for one in now.champions] == self.stack
        assert [one.number for one in now.open_candidates] == self.waiting
        folders = self.root / "models" / "versions"
        kept = {path.name for path in folders.iterdir()} if folders.exists() else set()
        assert kept == {one.file_sha256 for one in now.versions}


StoreAgainstLists.TestCase.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStoreAgainstLists = StoreAgainstLists.TestCase
