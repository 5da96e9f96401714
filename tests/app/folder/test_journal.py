"""The journal: what stands in it is done, what was cut off is not, and two inspections never mix."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.folder.inspection import Inspection
from app.folder.journal import Header, Journal, JournalError, open_journal, set_aside
from app.folder.sources import ImageFile

HEADER = Header(
    model_sha256="a" * 64,
    recipe_sha256="b" * 64,
    source="/parts",
    started_at=datetime(2026, 11, 27, tzinfo=UTC),
)


def row(key: str, *, size_bytes: int = 5, verdict: str = "OK") -> Inspection:
    return Inspection.from_line(
        f'{{"key":"{key}","verdict":"{verdict}","sha256":"c","size_bytes":{size_bytes},"mtime_ns":7,'
        f'"mask":"masks/{key}.png"}}'
    )


def path_of(out: Path) -> Path:
    return out / ".segnet" / "journal.jsonl"


def filled(out: Path) -> Journal:
    journal = open_journal(out, header=HEADER)
    for key in ("b", "a", "ü/c"):
        journal.add(row(key))
    return journal


def test_rows_come_back_by_key_and_say_what_is_done(tmp_path: Path) -> None:
    with filled(tmp_path):
        pass
    with open_journal(tmp_path, header=HEADER) as journal:
        assert [one.key for one in journal] == ["a", "b", "ü/c"]
        assert len(journal) == 3
        assert journal.is_done(ImageFile("a", "/parts/a", 5, 7))
        assert not journal.is_done(ImageFile("a", "/parts/a", 6, 7)), "it changed"
        assert not journal.is_done(ImageFile("d", "/parts/d", 5, 7))
        assert journal.stems() == {"a": "a", "b": "b", "ü/c": "ü/c"}


def test_an_image_that_was_never_read_is_not_done(tmp_path: Path) -> None:
    with open_journal(tmp_path, header=HEADER) as journal:
        journal.add(Inspection("a", "ERROR", ("permission denied",), size_bytes=5, mtime_ns=7))
        assert not journal.is_done(ImageFile("a", "/parts/a", 5, 7))


def test_a_later_row_counts_instead_of_an_earlier_one(tmp_path: Path) -> None:
    with filled(tmp_path) as journal:
        journal.add(row("a", size_bytes=9, verdict="NG"))
        assert [one.verdict for one in journal] == ["NG", "OK", "OK"]
    with open_journal(tmp_path, header=HEADER) as journal:
        assert [one.verdict for one in journal] == ["NG", "OK", "OK"]
        found = journal.get("a")
        assert found is not None
        assert found.size_bytes == 9


def test_killed_at_any_byte_the_whole_rows_are_there_and_the_next_one_can_be_added(tmp_path: Path) -> None:
    with filled(tmp_path):
        pass
    whole = path_of(tmp_path).read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path_of(tmp_path).write_bytes(whole[:cut])
        with open_journal(tmp_path, header=HEADER) as journal:
            assert len(journal) == max(0, sum(end <= cut for end in ends) - 1)
            journal.add(row("z"))
        with open_journal(tmp_path, header=HEADER) as journal:
            assert "z" in [one.key for one in journal]


@pytest.mark.parametrize("what", ["model_sha256", "recipe_sha256", "source"])
def test_another_model_recipe_or_source_is_refused_and_nothing_is_lost(tmp_path: Path, what: str) -> None:
    with filled(tmp_path):
        pass
    before = path_of(tmp_path).read_bytes()
    with pytest.raises(JournalError, match="--restart"):
        open_journal(tmp_path, header=HEADER.model_copy(update={what: "other"}))
    assert path_of(tmp_path).read_bytes() == before


def test_begun_anew_the_old_journal_is_kept_aside(tmp_path: Path) -> None:
    with filled(tmp_path):
        pass
    before = path_of(tmp_path).read_bytes()
    set_aside(tmp_path)
    with open_journal(tmp_path, header=HEADER) as journal:
        assert len(journal) == 0
    (kept,) = path_of(tmp_path).parent.glob("journal-*.jsonl")
    assert kept.read_bytes() == before


def test_a_second_process_is_told_so(tmp_path: Path) -> None:
    with filled(tmp_path), pytest.raises(JournalError, match="another `segnet inspect` is writing"):
        open_journal(tmp_path, header=HEADER)
    with open_journal(tmp_path, header=HEADER) as journal:
        assert len(journal) == 3


def damage_a_row(content: bytes) -> bytes:
    lines = content.split(b"\n")
    lines[2] = b'{"key": 5}'
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_a_row, "row at byte .* is damaged"),
        (lambda content: b"something else\n" + content, "no journal of an inspection"),
    ],
    ids=["row", "header"],
)
def test_damage_is_said_with_its_place(
    tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    with filled(tmp_path):
        pass
    path_of(tmp_path).write_bytes(damage(path_of(tmp_path).read_bytes()))
    with pytest.raises(JournalError, match=message):
        open_journal(tmp_path, header=HEADER)
