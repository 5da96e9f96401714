"""A job is what it is asked: champion, snapshot and configuration; the same question finds the same folder."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from data.classes import ClassMap
from data.snapshots import Snapshot
from model.store import Parents, Version
from training.config import RunConfig, parse_config
from training.retrain_job import JOB_FILE, Job, JobError, is_unfinished

NOW = datetime(2026, 3, 4, tzinfo=UTC)


def version(number: int, **parents: str) -> Version:
    return Version(
        number=number,
        digest=f"{number:064}",
        file_sha256=f"{number:064x}",
        name="tiles",
        added_at=NOW,
        by="a test",
        parents=Parents(**parents),
        attachments=(),
    )


def snapshot(number: int) -> Snapshot:
    return Snapshot(
        number=number,
        digest=f"{1000 + number:064x}",
        classes=ClassMap.from_names(["background", "scratch"]).to_text(),
        samples=(),
        parent=None,
        created_at=NOW,
        note="",
    )


CONFIG = parse_config({"adapt": {"strategy": "fine_tune"}}, origin="a test")
QUESTION: dict[str, Any] = {"champion": version(1), "snapshot": snapshot(2), "config": CONFIG}


def test_a_job_is_named_by_what_it_starts_from(tmp_path: Path) -> None:
    job = Job.begin(tmp_path, **QUESTION)
    assert job.folder.parent == tmp_path
    assert job.folder.name.startswith("retrain-v1-s2-fine_tune-")
    assert (job.record.champion, job.record.snapshot) == (version(1).file_sha256, snapshot(2).digest)
    assert job.record.strategy == "fine_tune"
    assert not job.is_finished


def test_the_same_question_finds_the_same_job_wherever_its_data_lie(tmp_path: Path) -> None:
    job = Job.begin(tmp_path, **QUESTION)
    assert Job.begin(tmp_path, **QUESTION) == job
    moved = CONFIG.with_data(tmp_path / "elsewhere")
    assert Job.begin(tmp_path, **(QUESTION | {"config": moved})) == job


@pytest.mark.parametrize(
    "other",
    [
        {"champion": version(3)},
        {"snapshot": snapshot(3)},
        {"config": CONFIG.model_copy(update={"seed": 1})},
        {"config": RunConfig()},
    ],
    ids=["champion", "snapshot", "seed", "strategy"],
)
def test_another_question_is_another_job(tmp_path: Path, other: dict[str, Any]) -> None:
    assert Job.begin(tmp_path, **(QUESTION | other)).folder != Job.begin(tmp_path, **QUESTION).folder


def test_how_it_ended_is_kept(tmp_path: Path) -> None:
    ended = Job.begin(tmp_path, **QUESTION).finished(verdict="refuse", promoted=False, version=version(2))
    assert ended.is_finished
    assert Job.begin(tmp_path, **QUESTION) == ended
    record = Job.open(ended.folder).record
    assert (record.verdict, record.promoted, record.version) == ("refuse", False, 2)


def test_a_folder_that_was_made_before_the_blow_is_taken_over(tmp_path: Path) -> None:
    job = Job.begin(tmp_path, **QUESTION)
    (job.folder / JOB_FILE).unlink()
    assert Job.begin(tmp_path, **QUESTION).folder == job.folder
    assert (job.folder / JOB_FILE).is_file()


def test_the_champion_that_came_out_of_a_job_is_its_answer(tmp_path: Path) -> None:
    job = Job.begin(tmp_path, **QUESTION)
    winner = version(2, champion=job.record.champion, snapshot=job.record.snapshot, run=job.folder.name)
    assert Job.begin(tmp_path, **(QUESTION | {"champion": winner})) == job
    for other in ({"snapshot": snapshot(3)}, {"config": RunConfig()}):
        asked = QUESTION | {"champion": winner} | other
        assert Job.begin(tmp_path, **asked).record.champion == winner.file_sha256


def test_a_champion_whose_run_was_elsewhere_starts_a_job_of_its_own(tmp_path: Path) -> None:
    trained = version(1, run="tiles-night")
    (tmp_path / "tiles-night").mkdir()
    job = Job.begin(tmp_path, **(QUESTION | {"champion": trained}))
    assert job.folder.name.startswith("retrain-v1-s2-")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"format": 2}'], ids=["empty", "no record", "of another format"]
)
def test_a_damaged_record_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    job = Job.begin(tmp_path, **QUESTION)
    (job.folder / JOB_FILE).write_bytes(content)
    with pytest.raises(JobError, match=rf"{JOB_FILE}: no record of a job; move .* away and start again"):
        Job.open(job.folder)


# Whether something was cut off


def test_a_job_is_unfinished_until_one_has_ended_on_that_snapshot(tmp_path: Path) -> None:
    asked = {"champion": version(1, snapshot=snapshot(1).digest), "snapshot": snapshot(2)}
    job = Job.begin(tmp_path, **asked, config=CONFIG)
    assert is_unfinished(tmp_path, **asked)
    job.finished(verdict="refuse", promoted=False, version=version(2))
    assert not is_unfinished(tmp_path, **asked)
    # Somebody tries another way and stops: no timer would go on with that.
    Job.begin(tmp_path, **asked, config=RunConfig())
    assert not is_unfinished(tmp_path, **asked)


@pytest.mark.parametrize(
    ("champion", "latest", "expected"),
    [
        pytest.param(version(1), None, False, id="no snapshot"),
        pytest.param(version(1, snapshot=snapshot(2).digest), snapshot(2), False, id="the champion's own"),
        pytest.param(
            version(1, snapshot=snapshot(1).digest), snapshot(2), True, id="newer than the champion's"
        ),
        pytest.param(version(1), snapshot(2), False, id="a champion that does not say what it learnt from"),
    ],
)
def test_before_any_job_the_champion_tells_whether_one_is_due(
    tmp_path: Path, champion: Version, latest: Snapshot | None, expected: bool
) -> None:
    assert is_unfinished(tmp_path, champion=champion, snapshot=latest) is expected
