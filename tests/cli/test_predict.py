"""`segnet predict`: one line, one mask and one overlay per image, and no image lost to another's fault."""

from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from cli import predict
from data.images import encode_png, read_image
from data.masks import read_labels
from model.runtime import DeviceError
from model.store import ModelStore


@pytest.fixture
def model(repository: Path) -> Path:
    """Red pixels are scratches, blue ones pits."""
    return repository / "tests" / "promises" / "format_1.onnx"


def segnet_predict(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(predict.command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def write_part(path: Path, *, squares: int = 0) -> Path:
    """Grey, 60 x 80 px, with red squares of 10 x 10 px (96 px are found: a corner's neighbours are grey)."""
    image = np.full((60, 80, 3), 128, np.uint8)
    for number in range(squares):
        image[20:30, 5 + 20 * number : 15 + 20 * number] = (255, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(image))
    return path


def test_each_image_gets_a_line_a_mask_and_an_overlay(model: Path, tmp_path: Path) -> None:
    good, bad = write_part(tmp_path / "good.png"), write_part(tmp_path / "bad one.png", squares=2)
    out = tmp_path / "new" / "out"
    result = segnet_predict(good, bad, "--model", model, "--out", out, "--device", "cpu")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"OK  {good}",
        f"NG  {bad}  2 scratch (largest 96 px)",
        f"2 judged, 1 NG, on CPUExecutionProvider; masks and overlays in {out}",
    ]
    assert sorted(path.name for path in out.iterdir()) == [
        "bad one-overlay.jpg",
        "bad one.png",
        "good-overlay.jpg",
        "good.png",
    ]
    labels = read_labels(out / "bad one.png")
    assert labels.shape == (60, 80)
    assert np.bincount(labels.ravel()).tolist() == [60 * 80 - 192, 192]
    assert read_image(out / "bad one-overlay.jpg").shape == (60, 80, 3)


def test_a_version_of_a_store_judges(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ModelStore(tmp_path / "store").add(model, by="a test")
    monkeypatch.setenv("SEGNET_STORE", str(tmp_path / "store"))
    bad = write_part(tmp_path / "bad.png", squares=1)
    result = segnet_predict(bad, "--model", "store://candidate", "--out", tmp_path / "out", "--device", "cpu")
    assert f"NG  {bad}  1 scratch (96 px)" in result.stdout


def test_an_image_that_cannot_be_read_is_named_at_the_end_and_the_others_are_done(
    model: Path, tmp_path: Path
) -> None:
    broken, missing = tmp_path / "broken.png", tmp_path / "missing.png"
    broken.write_bytes(b"no picture")
    good = write_part(tmp_path / "good.png", squares=1)
    out = tmp_path / "out"
    result = segnet_predict(broken, missing, good, "--model", model, "--out", out, "--device", "cpu")
    assert result.exit_code == 1
    assert f"NG  {good}  1 scratch (96 px)" in result.stdout
    assert "1 judged, 1 NG" in result.stdout
    assert str(broken) in result.stderr.splitlines()[0]
    assert str(missing) in result.stderr.splitlines()[1]
    assert sorted(path.name for path in out.iterdir()) == ["good-overlay.jpg", "good.png"]


@pytest.mark.parametrize("names", [("a/part.png", "b/part.png"), ("a/part.png", "b/PART.jpg")])
def test_two_images_that_would_share_a_mask_are_refused_before_any_work(
    model: Path, tmp_path: Path, names: tuple[str, str]
) -> None:
    images = [write_part(tmp_path / name) for name in names]
    with pytest.raises(ValueError, match=r"would both be written as part\.png"):
        segnet_predict(*images, "--model", model, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mask_never_replaces_the_image_it_was_made_of(model: Path, tmp_path: Path) -> None:
    image = write_part(tmp_path / "part.png")
    before = image.read_bytes()
    with pytest.raises(ValueError, match="would replace an image"):
        segnet_predict(image, "--model", model, "--out", tmp_path)
    assert image.read_bytes() == before


def test_a_required_device_that_is_not_there_stops_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.runtime._available", lambda: ["CPUExecutionProvider"])
    image = write_part(tmp_path / "part.png")
    with pytest.raises(DeviceError, match="asked for cuda"):
        segnet_predict(
            image, "--model", model, "--out", tmp_path / "out", "--device", "cuda", "--require-device"
        )


def test_a_full_disk_is_not_taken_for_an_unreadable_image(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> Path:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("data.files.write_atomically", full)
    with pytest.raises(OSError, match="No space"):
        segnet_predict(write_part(tmp_path / "part.png"), "--model", model, "--out", tmp_path / "out")
