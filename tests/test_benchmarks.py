"""All benchmarks run from a shell and print their table; their numbers at these sizes mean nothing."""

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.artifact import open_artifact


def run_quickly(script: Path, *options: str) -> str:
    """What the script prints at its smallest sizes, on one thread."""
    words = [sys.executable, str(script), "--quick", "--threads", "1", *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def row(text: str, name: str) -> list[float]:
    """The numbers of the row that begins with `name`."""
    line = next(line for line in text.splitlines() if line.startswith(name + "  "))
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", line.removeprefix(name))]


def signed_row(text: str, name: str) -> list[float]:
    """The same, where a number may be below 0."""
    line = next(line for line in text.splitlines() if line.startswith(name + "  "))
    return [float(number) for number in line.removeprefix(name).split()]


@pytest.mark.slow
def test_the_training_benchmark_measures_both_networks(repository: Path) -> None:
    text = run_quickly(repository / "benchmarks" / "training_step.py")
    assert "batches of 2 crops of 64 x 64" in text
    for name, parameters_m in (("residual_segnet", 1.27), ("U-Net, EfficientNet-lite0", 5.20)):
        found_m, images_per_s, best, waiting_percent, peak_mib, before_mib, *_ = row(text, name)
        assert found_m == pytest.approx(parameters_m, abs=0.1)
        assert 0 < images_per_s <= best
        assert 0 <= waiting_percent <= 100
        assert 0 < before_mib <= peak_mib


@pytest.mark.slow
def test_the_latency_benchmark_prints_floor_rows_and_ratios(repository: Path) -> None:
    text = run_quickly(repository / "benchmarks" / "latency.py")
    (floor_ms, one) = row(text, "floor fp32")
    assert floor_ms > 0
    assert one == 1.0
    names = ["PyTorch fp32", "PyTorch bf16 (autocast)", "ONNX Runtime", "ONNX Runtime, MaxUnpool"]
    if importlib.util.find_spec("openvino") is not None:
        names += ["OpenVINO fp32", "OpenVINO bf16"]
    for name in names:
        median_ms, min_ms, _ = row(text, name)
        assert 0 < min_ms <= median_ms
    assert re.search(r"^ONNX Runtime / floor: [\d.]+ \(min\), [\d.]+ \(median\); goal 2.0$", text, re.M)


@pytest.mark.slow
def test_the_folder_benchmark_prints_speed_agreement_and_memory(repository: Path) -> None:
    text = run_quickly(repository / "benchmarks" / "folder.py")
    (_, one, bare_cpu_s) = row(text, "bare session.run")
    (inside_per_s, inside_share) = row(text, "segnet inspect, without its start")
    (whole_per_s, whole_share, whole_cpu_s) = row(text, "segnet inspect, whole")
    assert one == 1.0
    assert 0 < whole_per_s < inside_per_s
    assert 0 <= whole_share <= inside_share
    assert 0 < bare_cpu_s < whole_cpu_s, "the command does all that the session does, and starts up"
    assert re.search(r"^segnet inspect / bare: [\d.]+; goal 0.85$", text, re.M)
    agreed = re.search(r"^tiles agree with the whole image: ([\d.]+)% of 24576 px in 2 images", text, re.M)
    assert agreed is not None
    assert float(agreed[1]) >= 99.9
    for name in (
        "peak MiB, 5 images of 64 x 64",
        "peak MiB, 20 images of 64 x 64",
        "peak MiB, one image of 1000 x 1000",
    ):
        peak_mib, *_ = row(text, name)
        assert 50 < peak_mib < 1000, "of the command, and not of the benchmark, which holds torch"
    assert row(text, "growth from few to many") == [pytest.approx(1.0, abs=0.2)]


@pytest.fixture(scope="module")
def service_text(repository: Path) -> str:
    """All that the service's benchmark prints."""
    return run_quickly(repository / "benchmarks" / "service.py")


@pytest.mark.slow
def test_the_service_benchmark_prints_speed_stages_and_memory(service_text: str) -> None:
    text = service_text
    names = ["segnet serve, empty", "segnet serve to 4", "segnet serve, JSON to 4"]
    if importlib.util.find_spec("litserve") is None:
        assert "LitServe  is not installed, so not measured" in text
    else:
        names += ["LitServe, empty", "LitServe to 4"]
        assert len(re.findall(r"^segnet serve / LitServe: [\d.]+, goal [\d.]+; p99 [\d.]+", text, re.M)) == 2
    if importlib.util.find_spec("openvino") is not None:
        names += ["ONNX Runtime CPU", "OpenVINO"]
    for name in names:
        per_s, *_, p50_ms, p95_ms, p99_ms, cpu_ms = row(text, name)
        assert per_s > 0
        assert 0 < p50_ms <= p95_ms <= p99_ms
        assert cpu_ms > 0
    bare_per_s, one, bare_cpu_ms = row(text, "bare session.run beside 4")
    assert bare_per_s > 0 < bare_cpu_ms
    assert one == 1.0
    total_ms = row(text, "  total")
    for stage in ("decode", "queue", "inference", "measure", "encode"):
        assert all(spent <= total for spent, total in zip(row(text, f"  {stage}"), total_ms, strict=True))
    few_mib, many_mib = (row(text, f"resident MiB after {requests} requests")[0] for requests in (20, 40))
    assert 50 < few_mib < 1000 > many_mib > 50
    assert re.search(r"^segnet serve / bare at 4: [\d.]+$", text, re.M)


@pytest.mark.slow
def test_the_service_benchmark_accounts_for_every_request_of_a_flood(service_text: str) -> None:
    text = service_text
    per_s = re.search(r"it bears ([\d.]+) images/s and gets 10 x as many", text)
    assert per_s is not None
    floods = text.split("\nby default")[1].split("\nwaiting at most")
    assert len(floods) == 2
    for flood in floods:
        accepted, _ = row(flood, "  accepted, their p99 / alone")
        refused, told = row(flood, "  503, with Retry-After")
        assert refused == told, "whoever is sent away hears when to come again"
        assert row(flood, "  anything else") == [0]
        # Half a second of ten times what it bears; the rate is printed rounded.
        assert accepted + refused == pytest.approx(5 * float(per_s[1]), abs=2)
        median_ms, worst_ms = row(flood, "  health ms, median and worst")
        assert 0 < median_ms <= worst_ms


@pytest.mark.slow
def test_the_gpu_benchmark_says_plainly_when_there_is_none(repository: Path) -> None:
    from model.runtime import has_nvidia_gpu

    text = run_quickly(repository / "benchmarks" / "gpu.py")
    if has_nvidia_gpu():
        assert row(text, "labels that agree, mean and worst")[1] > 0.99
        assert "nodes that work on pixels and stayed on the CPU: 0" in text
    else:
        assert text == "There is no NVIDIA GPU here (no driver that sees one), so nothing was measured.\n"


@pytest.mark.slow
def test_nodes_are_told_apart_by_where_they_ran_and_by_what_they_made(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    gpu = importlib.import_module("gpu")
    artifact = open_artifact(repository / "tests" / "promises" / "format_1.onnx")
    image = np.zeros((64, 64, 3), np.uint8)
    ran = gpu.profile_nodes(artifact, providers=["CPUExecutionProvider"], image=image)
    assert {place.provider for place in ran} == {"CPUExecutionProvider"}
    assert ran[gpu.Place("CPUExecutionProvider", "ArgMax", is_large=True)] == 1
    assert all(place.is_large for place in ran if place.operator in {"ArgMax", "Conv", "Exp"})


@pytest.mark.slow
def test_the_forgetting_benchmark_prints_every_strategy_beside_the_champion_and_goes_on_where_it_was_cut_off(
    repository: Path, tmp_path: Path
) -> None:
    script = repository / "benchmarks" / "forgetting.py"
    text = run_quickly(script, "--seeds", "0", "--out", str(tmp_path))
    champion = row(text, "champion")
    assert champion[1] == champion[3] == 0, "it has forgotten nothing"
    assert champion[5] == champion[6] == 0, "nor does it know the new class"
    for name in ("fine-tuning", "EWC 1000", "EWC 10000", "rehearsal", "EWC, chosen"):
        old_iou, iou_lost, old_found, found_lost, *shares, minutes = signed_row(text, name)
        assert old_iou + iou_lost == pytest.approx(champion[0], abs=0.011), "each rounded"
        assert old_found + found_lost == pytest.approx(champion[2], abs=0.011)
        assert all(0 <= share <= 1 for share in shares)
        assert len(shares) == 5
        assert minutes >= 0
    (tmp_path / "seed-0" / "rehearsal" / "scores.json").unlink()
    kept = tmp_path / "seed-0" / "EWC 1000" / "model.onnx"
    before = kept.stat().st_mtime_ns
    again = run_quickly(script, "--seeds", "0", "--out", str(tmp_path))
    assert kept.stat().st_mtime_ns == before
    assert signed_row(again, "rehearsal")[:-1] == signed_row(text, "rehearsal")[:-1]


@pytest.mark.slow
def test_of_the_holds_that_let_the_new_class_be_learnt_the_strongest_is_chosen(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    forgetting = importlib.import_module("forgetting")
    shares = dict.fromkeys(
        ("old_iou", "old_recall", "old_escape", "new_iou", "new_recall", "new_escape", "overkill"), 0.0
    )
    scores = {
        name: forgetting.Scores(**shares, val_iou=iou, cpu_minutes=1.0)
        for name, iou in (("fine-tuning", 0.80), ("weak", 0.70), ("middle", 0.73), ("strong", 0.71))
    }
    # 0.9 of 0.80 is 0.72: the middle one alone reaches it.
    assert forgetting.choose(scores, family=("weak", "middle", "strong")) == "middle"
    assert forgetting.choose(scores, family=("weak", "strong")) == "weak", (
        "none does: the one that holds least"
    )
