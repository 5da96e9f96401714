"""Every kind of image file that comes from a factory: judged rightly, or a row that says what is wrong with it."""

import io
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.folder.inspection import Inspection
from app.folder.inspector import Inspector, Stems
from app.folder.sources import ImageFile, open_source
from data.images import encode_png, read_image
from data.masks import read_labels
from model.predictor import Predictor
from model.recipe import Recipe, default_recipe


@pytest.fixture(scope="module")
def predictor(repository: Path) -> Predictor:
    """Red pixels are scratches, blue ones pits."""
    return Predictor.open(repository / "tests" / "promises" / "format_1.onnx", device="cpu")


def part(*, size_hw: tuple[int, int] = (40, 60)) -> np.ndarray:
    """Grey with one red square of 10 x 12 px, of which the corners are not found: 116 px."""
    image = np.full((*size_hw, 3), 128, np.uint8)
    image[10:20, 30:42] = (255, 0, 0)
    return image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def of(mode: str, kind: str = "PNG", **options: object) -> bytes:
    """The part in another mode of colour."""
    return saved(Image.fromarray(part()).convert(mode), kind, **options)


def inspect(
    tmp_path: Path, predictor: Predictor, content: bytes, *, name: str = "part", recipe: Recipe | None = None
) -> Inspection:
    inbox = tmp_path / "inbox"
    inbox.mkdir(exist_ok=True)
    (inbox / name).write_bytes(content)
    source = open_source(str(inbox))
    rules = recipe or default_recipe(predictor.contract)
    inspector = Inspector(source, predictor, rules, tmp_path / "out")
    (file,) = source.list_files()
    return inspector.inspect(file, stem="part")


def turned() -> bytes:
    """Stored lying, with the EXIF mark that turns it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(np.rot90(part()).copy()), "PNG", exif=exif)


def animated() -> bytes:
    plain = Image.fromarray(np.full((40, 60, 3), 128, np.uint8))
    return saved(Image.fromarray(part()), "TIFF", save_all=True, append_images=[plain])


def palette() -> bytes:
    return saved(Image.fromarray(part()).quantize(4), "PNG")


def transparent() -> bytes:
    image = Image.fromarray(part()).convert("RGBA")
    image.putalpha(255)
    return saved(image, "PNG")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: of("RGB"), id="RGB"),
        pytest.param(palette, id="palette"),
        pytest.param(transparent, id="RGBA"),
        pytest.param(lambda: of("CMYK", "TIFF"), id="CMYK"),
        pytest.param(turned, id="EXIF"),
        pytest.param(animated, id="two frames: the first counts"),
        pytest.param(lambda: of("RGB", "BMP"), id="another format than the name says"),
        pytest.param(lambda: of("RGB", "WEBP", lossless=True), id="WebP"),
    ],
)
@pytest.mark.parametrize("name", ["part.png", "part"])
def test_an_image_of_any_kind_is_judged_by_its_content(
    tmp_path: Path, predictor: Predictor, content: Callable[[], bytes], name: str
) -> None:
    row = inspect(tmp_path, predictor, content(), name=name)
    assert row.verdict == "NG", row.reasons
    (defect,) = row.defects
    assert (defect.class_id, defect.area_px, defect.box_xyxy) == (1, 116, (30, 10, 42, 20))
    assert (row.width_px, row.height_px) == (60, 40)
    assert (read_labels(tmp_path / "out" / "masks" / "part.png") == 1).sum() == 116
    assert read_image(tmp_path / "out" / str(row.overlay)).shape == (40, 60, 3)
    assert max(read_image(tmp_path / "out" / str(row.thumbnail)).shape) <= 160


def test_sixteen_bits_become_eight_as_in_training(tmp_path: Path, predictor: Predictor) -> None:
    grey = Image.fromarray(np.full((40, 60), 128 * 257, np.uint16))
    row = inspect(tmp_path, predictor, saved(grey, "PNG"))
    assert (row.verdict, row.defects) == ("OK", ())


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 2000), (40, 30000)], ids=str)
def test_the_strangest_sizes_are_judged(
    tmp_path: Path, predictor: Predictor, size_hw: tuple[int, int]
) -> None:
    row = inspect(tmp_path, predictor, encode_png(np.full((*size_hw, 3), 128, np.uint8)))
    assert (row.verdict, row.height_px, row.width_px) == ("OK", *size_hw)
    assert read_labels(tmp_path / "out" / "masks" / "part.png").shape == size_hw


def bomb() -> bytes:
    """A PNG whose header promises 60000 x 60000 px."""
    content = bytearray(of("RGB"))
    content[16:24] = (60000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(lambda: b"", "empty file", id="zero bytes"),
        pytest.param(lambda: of("RGB")[:100], "truncated|damaged", id="truncated"),
        pytest.param(lambda: b"hello, world", "neither JPEG, PNG", id="no image"),
        pytest.param(bomb, "megapixels|damaged", id="decompression bomb"),
        pytest.param(lambda: of("P", "GIF"), "neither JPEG, PNG", id="GIF"),
    ],
)
def test_what_is_no_image_becomes_a_row_with_the_reason(
    tmp_path: Path, predictor: Predictor, content: Callable[[], bytes], reason: str
) -> None:
    row = inspect(tmp_path, predictor, content(), name="part.png")
    assert row.verdict == "ERROR"
    assert re.search(reason, row.reasons[0]), row.reasons
    assert row.mask is None
    assert not (tmp_path / "out" / "masks").exists()


def test_a_file_that_vanished_becomes_a_row(tmp_path: Path, predictor: Predictor) -> None:
    inspector = Inspector(
        open_source(str(tmp_path)), predictor, default_recipe(predictor.contract), tmp_path / "out"
    )
    row = inspector.inspect(ImageFile("gone.png", str(tmp_path / "gone.png"), 10, 5), stem="gone")
    assert (row.verdict, row.sha256) == ("ERROR", "")
    assert "not there" in row.reasons[0]


def test_zones_that_do_not_fit_the_image_are_an_error_of_that_image_and_its_mask_stays(
    tmp_path: Path, predictor: Predictor
) -> None:
    zone = {"polygon": [(0, 0), (9, 0), (9, 9)], "units": "px", "size_px": (10, 10)}
    recipe = Recipe.model_validate({"name": "small", "regions_of_interest": [zone]})
    row = inspect(tmp_path, predictor, of("RGB"), recipe=recipe)
    assert row.verdict == "ERROR"
    assert "10 x 10" in row.reasons[0]
    assert row.mask == "masks/part.png"


def test_names_of_masks_are_plain_where_they_can_be_and_never_clash() -> None:
    stems = Stems({"b/two.png": "b/two"})
    long = "x" * 300 + ".png"
    stems.give(["a/one.jpg", "a/one.png", "A/ONE.tif", "b/two.jpg", "b/two.png", "noending", long])
    assert [stems[key] for key in ("a/one.jpg", "a/one.png", "A/ONE.tif", "b/two.jpg", "b/two.png", "noending")] == [
        "a/one", "a/one.png", "A/ONE.tif", "b/two.jpg", "b/two", "noending",
    ]  # fmt: skip
    assert len(stems[long].encode()) <= 200
