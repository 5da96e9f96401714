"""All benchmarks run from a shell and print their table; their numbers at these sizes mean nothing."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest


def run_quickly(script: Path) -> str:
    """What the script prints at its smallest sizes, on one thread."""
    words = [sys.executable, str(script), "--quick", "--threads", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def row(text: str, name: str) -> list[float]:
    """The numbers of the row that begins with `name`."""
    line = next(line for line in text.splitlines() if line.startswith(name + "  "))
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", line.removeprefix(name))]


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
