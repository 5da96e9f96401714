"""The study of accuracy: its files, its arithmetic on hand-worked rows, and a miniature of it from the shell."""

import importlib
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from data.classes import ClassMap
from data.sources import open_dataset
from data.synthetic import write_synthetic_dataset
from training.config import parse_config
from training.evaluation import Evaluation, ImageRow

from .test_benchmarks import run_quickly

CLASSES = ClassMap.from_names(["background", "scratch", "pit"])


@pytest.fixture
def modules(repository: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    names = ("accuracy_study", "accuracy_data", "accuracy_runs", "accuracy_scores", "accuracy_charts")
    return {name: importlib.import_module(name) for name in names}


def image(
    name: str,
    *,
    group: str,
    pixels: dict[str, tuple[int, int, int]],
    margin: float | None = None,
    is_ng: bool = True,
) -> ImageRow:
    return ImageRow(
        name=name, group=group, is_ng=is_ng, called_ng=False, margin=margin, regions=0, true_regions=0,
        missed_regions=0, false_regions=0, found_by_class={}, mean_defect_iou=None, pixels_by_class=pixels,
    )  # fmt: skip


def test_the_study_files_are_whole_and_their_configurations_build_networks(
    repository: Path, modules: dict[str, ModuleType]
) -> None:
    files = sorted((repository / "benchmarks" / "studies").glob("*.toml"))
    assert files
    for path in files:
        study = modules["accuracy_study"].Study.read(path)
        assert study.name == path.stem, "its folder is found by the file's name"
        header = path.read_text(encoding="utf-8")
        assert header.startswith("# What:")
        assert "# Command:" in header


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"crops": 100}, "either crops or cpu_minutes", id="two budgets"),
        pytest.param({"cpu_minutes": None}, "either crops or cpu_minutes", id="no budget"),
        pytest.param(
            {"row": [{"name": "U-Net"}, {"name": "u net"}]}, "U-Net, u net", id="one folder for two"
        ),
        pytest.param({"folds": 4, "scenes": True}, "folds are dealt by the defects", id="folds of scenes"),
        pytest.param({"colour": 1}, "colour", id="an unknown key"),
        pytest.param(
            {"row": [{"name": "a", "change": {"loss": {"gama": 1}}}]}, "did you mean gamma", id="misspelt"
        ),
    ],
)
def test_a_study_that_makes_no_comparison_is_refused(
    change: dict[str, Any], said: str, tmp_path: Path, modules: dict[str, ModuleType]
) -> None:
    import tomli_w

    tree: dict[str, Any] = {
        "name": "s",
        "data": "d",
        "seeds": [0],
        "cpu_minutes": 1,
        "epochs": 2,
        "row": [{"name": "a"}],
    }
    tree = {key: value for key, value in (tree | change).items() if value is not None}
    (tmp_path / "study.toml").write_text(tomli_w.dumps(tree), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(said)):
        modules["accuracy_study"].Study.read(tmp_path / "study.toml")


def test_a_row_changes_what_it_names(modules: dict[str, ModuleType]) -> None:
    base = {
        "network": {"name": "peer", "options": {"arch": "unet", "encoder": "resnet18"}},
        "optimizer": {"lr": 1.0},
    }
    change = {"network": {"options": {"arch": "fpn"}}, "optimizer": {"ema_decay": 0.5}}
    assert modules["accuracy_study"].merged(base, change) == {
        "network": {"name": "peer", "options": {"arch": "fpn", "encoder": "resnet18"}},
        "optimizer": {"lr": 1.0, "ema_decay": 0.5},
    }


def test_another_network_brings_all_its_options_and_a_sum_of_losses_all_its_terms(
    modules: dict[str, ModuleType],
) -> None:
    base = {
        "network": {"name": "peer", "options": {"arch": "unet"}},
        "loss": {"terms": {"balanced_ce": 1.0, "dice": 0.5}, "gamma": 0.5},
    }
    change = {
        "network": {"name": "residual_segnet", "options": {"widths": [4, 4]}},
        "loss": {"terms": {"lovasz": 1.0}},
    }
    assert modules["accuracy_study"].merged(base, change) == {
        "network": {"name": "residual_segnet", "options": {"widths": [4, 4]}},
        "loss": {"terms": {"lovasz": 1.0}, "gamma": 0.5},
    }
    named = modules["accuracy_study"].merged(base, {"network": {"name": "residual_segnet"}})
    assert named["network"] == {"name": "residual_segnet"}


def test_the_budget_becomes_whole_batches_in_equal_epochs(modules: dict[str, ModuleType]) -> None:
    study = modules["accuracy_study"].Study.model_validate(
        tomllib.loads('name="s"\ndata="d"\nseeds=[3]\ncrops=100\nepochs=4\n[[row]]\nname="One"\n')
    )
    config = study.config(study.rows[0], seed=3, crops=100, threads=1)
    # 100 crops are 25 an epoch: three batches of 8.
    assert (config.schedule.epochs, config.schedule.crops_per_epoch) == (4, 24)
    assert (config.name, config.seed) == ("one", 3)
    assert config == parse_config(tomllib.loads(config.to_toml()), origin="its own text")


def test_mean_iou_is_over_the_classes_in_the_truth(modules: dict[str, ModuleType]) -> None:
    # scratch: 2 right of 3 true and 2 said: 2/3. pit: not in the truth, so its 5 false pixels are others' loss.
    counts = np.array([[2.0, 3.0, 2.0], [0.0, 0.0, 5.0]])
    assert modules["accuracy_scores"].mean_iou(counts) == pytest.approx(2 / 3)


def test_pixels_are_summed_by_part(modules: dict[str, ModuleType]) -> None:
    rows = [
        image("a", group="tile", pixels={"scratch": (1, 2, 3)}),
        image("b", group="tile", pixels={"scratch": (1, 1, 1), "pit": (0, 4, 0)}),
        image("c", group="other", pixels={}),
    ]
    parts, counts = modules["accuracy_scores"].count_parts(rows, names=("scratch", "pit"))
    assert parts == ("other", "tile")
    assert counts.tolist() == [[[0, 0, 0], [0, 0, 0]], [[2, 3, 4], [0, 4, 0]]]


@pytest.mark.parametrize(
    ("ng", "ok", "expected"),
    [
        pytest.param([2.0, 3.0], [1.0, 0.0], 1.0, id="all above"),
        pytest.param([1.0, None], [0.0, None], 0.625, id="what shows nothing is last, and ties count half"),
        pytest.param([1.0], [], None, id="nothing to tell apart"),
    ],
)
def test_auroc_is_the_share_of_pairs_in_the_right_order(
    ng: list[float | None], ok: list[float | None], expected: float | None, modules: dict[str, ModuleType]
) -> None:
    rows = [image(f"ng{at}", group=f"ng{at}", pixels={}, margin=margin) for at, margin in enumerate(ng)]
    rows += [
        image(f"ok{at}", group=f"ok{at}", pixels={}, margin=margin, is_ng=False)
        for at, margin in enumerate(ok)
    ]
    assert modules["accuracy_scores"].auroc(rows) == expected


def test_a_gain_is_taken_on_the_same_parts_and_from_the_first_row_of_its_group(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    def result(name: str, group: str, rights: tuple[int, ...], *, fold: int | None = None) -> Any:
        rows = tuple(
            image(f"p{at}", group=f"p{at}", pixels={"scratch": (right, 10, 10)})
            for at, right in enumerate(rights)
            if fold in (None, at)
        )
        judged = Evaluation(split="test", scores={}, rows=rows, confusion=(), reliability=())
        return modules["accuracy_runs"].Result(
            row=modules["accuracy_study"].Row(name=name, group=group),
            seed=0,
            fold=fold,
            crops=8,
            log=[{"train": {"loss": 1.0}, "val": {"mean_defect_iou": 0.25}}],
            argmax=judged,
            decided=judged,
            model=tmp_path,
        )

    found = [
        result("first", "one", (5, 5)),
        result("better", "one", (10, 10)),
        result("alone", "two", (5, 10), fold=0),
        result("alone", "two", (5, 10), fold=1),
    ]
    scored = modules["accuracy_scores"].score_rows(found, class_map=CLASSES, monitor="mean_defect_iou")
    assert scored["first"].gain is None
    assert scored["alone"].gain is None
    # Two folds of one part each: 15 of 20 right with 20 said is 15/25, whatever the mean of the folds is.
    assert (scored["alone"].iou.mean, scored["alone"].iou.deviation) == (0.6, None)
    better = scored["better"]
    # 5 of 10 right with 10 said is 5/15; all right is 1. Every draw of equal parts says the same.
    assert (better.iou.mean, better.iou.deviation) == (1.0, None)
    assert (better.gain, better.gain_low, better.gain_high) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert better.val is not None
    assert better.val.mean == 0.25
    assert better.overkill is None
    assert better.escape is not None
    assert better.escape.mean == 1.0
    front = modules["accuracy_charts"].undominated(
        scored, milliseconds={"first": 1.0, "better": 2.0, "alone": 3.0}
    )
    assert front == ["first", "better"]


def test_test_images_are_grouped_by_the_part_that_the_study_names(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    parts = tmp_path / "parts"
    write_synthetic_dataset(parts, counts={"train": 1, "val": 1, "test": 2}, size_hw=(64, 64))
    samples = open_dataset(parts).samples
    text = 'name="s"\ndata="parts"\npart_column="tile"\nseeds=[0]\ncrops=8\nepochs=1\n[[row]]\nname="One"\n'
    study = modules["accuracy_study"].Study.model_validate(tomllib.loads(text))
    table = parts / "split.csv"
    table.write_text("name,tile\n" + "".join(f"{one.name},t1\n" for one in samples), encoding="utf-8")
    grouped = modules["accuracy_data"].prepare(study, datasets=tmp_path, out=tmp_path / "out")
    assert {(one.split, one.group) for one in grouped.samples} == {
        ("train", None), ("val", None), ("test", "t1"),
    }  # fmt: skip
    table.write_text("name,other\n" + "".join(f"{one.name},t1\n" for one in samples), encoding="utf-8")
    with pytest.raises(ValueError, match="no column 'tile'"):
        modules["accuracy_data"].prepare(study, datasets=tmp_path, out=tmp_path / "out")


def test_folds_judge_each_part_once_and_leave_test_out(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    parts = tmp_path / "parts"
    write_synthetic_dataset(parts, counts={"train": 8, "val": 4, "test": 2}, size_hw=(64, 64))
    source = open_dataset(parts)
    tiles = {sample.name: f"t{at // 2}" for at, sample in enumerate(source.samples)}
    table = "name,tile\n" + "".join(f"{name},{tile}\n" for name, tile in tiles.items())
    (parts / "split.csv").write_text(table, encoding="utf-8")
    text = 'name="s"\ndata="parts"\npart_column="tile"\nfolds=3\nseeds=[0]\ncrops=8\nepochs=1\n[[row]]\nname="One"\n'
    study = modules["accuracy_study"].Study.model_validate(tomllib.loads(text))
    assert study.runs == ((0, 0), (0, 1), (0, 2))
    dealt = modules["accuracy_data"].deal(study, source)
    judged: list[str] = []
    for manifest in dealt:
        assert {one.name for one in manifest.samples} == {
            one.name for one in source.samples if one.split != "test"
        }
        judged += [one.name for one in manifest.split("test")]
        assert all(one.group == tiles[one.name] for one in manifest.split("test"))
        where: dict[str, set[str]] = {}
        for one in manifest.samples:
            where.setdefault(tiles[one.name], set()).add(one.split)
        assert all(len(splits) == 1 for splits in where.values()), "a part stands on one side"
    assert sorted(judged) == sorted(one.name for one in dealt[0].samples)
    followers = [{one.name for one in manifest.split("val")} for manifest in dealt]
    assert followers[0] == {one.name for one in dealt[1].split("test")}


@pytest.mark.slow
def test_a_miniature_of_the_study_trains_judges_and_draws_and_makes_only_what_is_missing(
    repository: Path, tmp_path: Path
) -> None:
    script = repository / "benchmarks" / "accuracy.py"
    text = run_quickly(script, "--out", str(tmp_path))
    rows = [
        line for line in text.splitlines() if line.startswith(("| SegNet, tiny", "| residual SegNet, tiny"))
    ]
    assert len(rows) == 2
    for line in rows:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[1] == "2", "both seeds"
        assert all(0 <= float(cells[at].split()[0]) <= 1 for at in (6, 10, 12, 13))
        assert float(cells[4]) > 0
    for picture in ("curves.png", "cost.png"):
        assert (tmp_path / "quick" / picture).read_bytes().startswith(b"\x89PNG")
    kept = tmp_path / "quick" / "segnet-tiny" / "seed-0" / "model.onnx"
    before = kept.stat().st_mtime_ns
    results = [tmp_path / "quick" / "segnet-tiny" / "seed-1" / name for name in ("argmax.json", "test.json")]
    for path in results:
        path.unlink()
    run_quickly(script, "--out", str(tmp_path))
    assert kept.stat().st_mtime_ns == before
    assert all(path.is_file() for path in results)
