"""`segnet retrain`: what is asked, what is told, the exit code; and each reason for which it does not even begin."""

import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cli.main
import training.retrain
from data.classes import ClassMap
from data.golden import freeze
from data.images import encode_png
from data.inbox import Refusal, TakenIn
from data.layout import LabelledImage, write_layout
from data.snapshots import Snapshot
from data.sources import open_dataset
from data.workspace import Workspace
from model.store import ModelStore, Parents, Version
from training.config import RunConfig
from training.gate.finding import Finding
from training.gate.settings import GateSettings
from training.gate.verdict import GateResult, GateVerdict
from training.retrain import Outcome, Request
from training.retrain_job import Job, JobRecord

STORED = Path(__file__).parents[1] / "promises" / "format_1.onnx"
CLASSES = ClassMap.from_names(("background", "scratch", "pit"))
NOW = datetime(2026, 3, 4, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    Workspace.create(tmp_path / "line")
    return tmp_path / "line"


@pytest.fixture
def segnet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workspace: Path
) -> Callable[..., tuple[int, str, str]]:
    """`segnet retrain …` in the workspace: exit code, what it told, what it complained of."""
    monkeypatch.setenv("SEGNET_WORKSPACE", str(workspace))
    monkeypatch.setenv("SEGNET_BY", "anna")

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["segnet", "retrain", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main.main()
        assert isinstance(caught.value.code, int)
        told = capsys.readouterr()
        return caught.value.code, told.out, told.err

    return call


# What is asked


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Workspace, Request]]:
    """Whatever is asked for has nothing to do, and is written down."""
    asked: list[tuple[Workspace, Request]] = []

    def note(workspace: Workspace, request: Request) -> Outcome:
        asked.append((workspace, request))
        return Outcome(new_labels=2)

    monkeypatch.setattr(training.retrain, "retrain", note)
    return asked


def test_without_options_the_workspace_says_how(
    segnet: Callable[..., tuple[int, str, str]], workspace: Path, asked: list[tuple[Workspace, Request]]
) -> None:
    assert segnet()[0] == 0
    (workspace / "retrain.toml").write_text("[schedule]\nepochs = 3\n[gate]\nmax_latency_ratio = 2.0\n")
    assert segnet()[0] == 0
    place = Workspace.open(workspace)
    assert asked == [
        (place, Request(by="anna")),
        (
            place,
            Request(
                by="anna",
                overlay={"schedule": {"epochs": 3}},
                gate=GateSettings(max_latency_ratio=2.0),
            ),
        ),
    ]


def test_every_option_arrives(
    segnet: Callable[..., tuple[int, str, str]],
    workspace: Path,
    tmp_path: Path,
    asked: list[tuple[Workspace, Request]],
) -> None:
    (workspace / "retrain.toml").write_text("[schedule]\nepochs = 3\n")
    other = tmp_path / "other.toml"
    other.write_text("[schedule]\nepochs = 4\n")
    code, said, _ = segnet(
        other, "--strategy", "ewc", "--set", "seed=1", "--set", "schedule.batch_size=2", "--if-new", 20,
        "--wait-s", 2.5, "--force", "line 3 stands", "--by", "cron",
    )  # fmt: skip
    assert (code, said) == (0, "2 new labels in the inbox, fewer than 20: nothing to do\n")
    ((_, request),) = asked
    assert request == Request(
        by="cron",
        overlay={"schedule": {"epochs": 4}},
        strategy="ewc",
        overrides=["seed=1", "schedule.batch_size=2"],
        if_new=20,
        wait_s=2.5,
        force="line 3 stands",
    )


# What is told


def outcome(verdict: GateVerdict, *, promoted: bool) -> Outcome:
    finding = Finding(
        what="escape rate", verdict="better", text="escape rate is better beyond doubt: 9 % → 1 %"
    )
    version = Version(
        number=2, digest="ab" * 32, file_sha256="cd" * 32, name="tiles", added_at=NOW, by="anna",
        parents=Parents(), attachments=(),
    )  # fmt: skip
    snapshot = Snapshot(
        number=3,
        digest="ef" * 32,
        classes=CLASSES.to_text(),
        samples=(),
        parent=None,
        created_at=NOW,
        note="",
    )
    refused = (Refusal("d[1]", "shows the golden image g7"),)
    return Outcome(
        new_labels=3,
        refused=refused,
        taken=TakenIn(snapshot, ("a", "b"), ("c",), (), refused),
        job=Job(Path("runs/job"), JobRecord(champion="", snapshot="", strategy="ewc", started_at=NOW)),
        result=GateResult(
            verdict=verdict, summary="Because of its numbers.", reasons=(), findings=(finding,),
            champion={}, candidate={}, split="test", images=60, parts=60, settings=GateSettings(),
        ),
        version=version,
        promoted=promoted,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "promoted", "code", "word"),
    [
        ("promote", True, 0, "promoted"),
        ("refuse", False, 3, "refuse"),
        ("needs a person", False, 4, "needs a person"),
        pytest.param("refuse", True, 0, "promoted", id="refused, and forced"),
    ],
)
def test_how_it_ended_is_told_and_is_the_exit_code(
    segnet: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    verdict: GateVerdict,
    promoted: bool,
    code: int,
    word: str,
) -> None:
    monkeypatch.setattr(training.retrain, "retrain", lambda *_: outcome(verdict, promoted=promoted))
    ended, said, _ = segnet()
    assert ended == code
    lines = said.splitlines()
    assert lines[0] == "left out: d[1]: shows the golden image g7"
    assert lines[1] == "snapshot s3: 2 new images, 1 corrected"
    assert lines[2].startswith(f"v2: {word}. ")
    assert lines[3] == "   better  escape rate is better beyond doubt: 9 % → 1 %"
    assert lines[4] == "report: runs/job/gate.html"
    assert [line.startswith("next: look at it, then segnet models promote v2") for line in lines[5:]] == (
        [True] if verdict == "needs a person" else []
    )


# Why it does not begin


def test_below_its_number_it_takes_nothing_in_and_names_what_does_not_count(
    segnet: Callable[..., tuple[int, str, str]], workspace: Path
) -> None:
    nothing_to_learn(workspace)
    fill_inbox(
        workspace, *(part(name, seed=seed, split="train") for name, seed in (("a", 7), ("leak", 1), ("b", 8)))
    )
    code, said, _ = segnet("--if-new", 3)
    assert code == 0
    left_out, told = said.splitlines()
    assert left_out.startswith("left out: leak: is the golden image golden1 itself (correlation 1.00), ")
    assert told == "2 new labels in the inbox, fewer than 3: nothing to do"
    assert not list((workspace / "datasets").glob("snapshots/*"))


def part(name: str, *, seed: int, split: str | None = None) -> LabelledImage:
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    labels = np.zeros((64, 64), np.uint8)
    labels[10:20, 10:20] = seed % len(CLASSES)
    return LabelledImage(name, split, encode_png(image), labels, "a test")


def freeze_golden(workspace: Path) -> None:
    parts = workspace.parent / "parts"
    write_layout(
        [part(f"golden{n}", seed=n, split="test") for n in range(3)], class_map=CLASSES, destination=parts
    )
    freeze(open_dataset(parts), split="test", destination=workspace / "golden")


def add_champion(workspace: Path, **attachments: bytes) -> None:
    store = ModelStore(workspace / "models")
    named = {name.replace("_", "."): content for name, content in attachments.items()}
    store.promote(
        store.add(STORED, by="a test", attachments=named), by="a test", reason="first", expected_champion=None
    )


def fill_inbox(workspace: Path, *parts: LabelledImage) -> None:
    write_layout(parts, class_map=CLASSES, destination=workspace / "inbox")


def leave(workspace: Path) -> None:
    shutil.rmtree(workspace)


def only_a_store(workspace: Path) -> None:
    freeze_golden(workspace)


def no_golden(workspace: Path) -> None:
    add_champion(workspace)


def changed_golden(workspace: Path) -> None:
    add_champion(workspace)
    freeze_golden(workspace)
    mask = workspace / "golden" / "masks" / "test" / "golden1.png"
    mask.chmod(0o644)
    mask.write_bytes((workspace / "golden" / "masks" / "test" / "golden2.png").read_bytes())


def a_bare_file(workspace: Path) -> None:
    add_champion(workspace)
    freeze_golden(workspace)
    fill_inbox(workspace, part("a", seed=7, split="train"), part("b", seed=8, split="val"))


def no_network(workspace: Path) -> None:
    add_champion(workspace, config_toml=RunConfig().to_toml().encode())
    freeze_golden(workspace)
    fill_inbox(workspace, part("a", seed=7, split="train"), part("b", seed=8, split="val"))
    (workspace / "retrain.toml").write_text('adapt.strategy = "fine_tune"\n')


def nothing_to_learn(workspace: Path) -> None:
    add_champion(workspace, config_toml=RunConfig().to_toml().encode())
    freeze_golden(workspace)


def only_golden_images(workspace: Path) -> None:
    nothing_to_learn(workspace)
    fill_inbox(workspace, part("leak", seed=1, split="train"))


def a_misspelt_setting(workspace: Path) -> None:
    nothing_to_learn(workspace)
    fill_inbox(workspace, part("a", seed=7, split="train"), part("b", seed=8, split="val"))
    (workspace / "retrain.toml").write_text("[schedule]\nepoch = 3\n")


_REFUSALS = [
    (leave, "is no workspace (no workspace.toml); make one with `segnet init"),
    (only_a_store, "has no champion to start from; put one in with `segnet models add RUN --promote`"),
    (no_golden, "holds no golden set, which candidates are judged on; `segnet init DIR --data DATA` freezes"),
    (changed_golden, "masks/test/golden1.png changed; take it from a backup, or freeze another set"),
    (
        a_bare_file,
        "v1 came into the store without its config.toml, so nothing can go on from it; add its run",
    ),
    (no_network, "v1 came into the store without its network.pt, so nothing can go on from it; add its run"),
    (nothing_to_learn, "inbox is empty: put pictures into images/ and their masks under the same names"),
    (only_golden_images, "nothing in it may be learnt from: leak is the golden image golden1 itself"),
    (a_misspelt_setting, "unknown key schedule.epoch; did you mean epochs?"),
]


@pytest.mark.parametrize(
    ("prepare", "told"), [pytest.param(*one, id=one[0].__name__.replace("_", " ")) for one in _REFUSALS]
)
def test_what_is_missing_is_said_and_the_champion_stays(
    segnet: Callable[..., tuple[int, str, str]], workspace: Path, prepare: Callable[[Path], Any], told: str
) -> None:
    prepare(workspace)
    before = ModelStore(workspace / "models").history()
    code, _, complaint = segnet()
    assert code == 1
    assert told in complaint
    assert ModelStore(workspace / "models").history() == before


@pytest.mark.parametrize("prepare", [a_bare_file, a_misspelt_setting])
def test_settings_are_looked_at_before_the_inbox_is_taken_in(
    segnet: Callable[..., tuple[int, str, str]], workspace: Path, prepare: Callable[[Path], Any]
) -> None:
    prepare(workspace)
    assert segnet()[0] == 1
    assert not list((workspace / "datasets").glob("snapshots/*"))
