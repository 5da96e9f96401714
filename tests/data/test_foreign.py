"""What Datumaro reads (CVAT, Pascal VOC) arrives with the same labels, splits and ignore pixels."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data.foreign import ForeignDataset
from data.formats import import_dataset
from data.images import encode_jpeg
from data.manifest import DatasetError
from data.masks import read_labels
from data.sources import open_dataset

pytest.importorskip("datumaro")

HEIGHT_PX, WIDTH_PX = 12, 16
PICTURE = encode_jpeg(np.full((HEIGHT_PX, WIDTH_PX, 3), 90, np.uint8))
LABELS = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
LABELS[2:5, 3:9] = 1
LABELS[3, 6:14] = 2
CVAT = f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
  <meta><task><labels>
    <label><name>scratch</name><attributes></attributes></label>
    <label><name>dent</name><attributes></attributes></label>
  </labels></task></meta>
  <image id="0" name="a.jpg" width="{WIDTH_PX}" height="{HEIGHT_PX}">
    <polygon label="dent" occluded="0" points="6,3;14,3;14,4;6,4" z_order="5"></polygon>
    <polygon label="scratch" occluded="0" points="3,2;9,2;9,5;3,5" z_order="1"></polygon>
  </image>
  <image id="1" name="b.jpg" width="{WIDTH_PX}" height="{HEIGHT_PX}"></image>
</annotations>
"""
VOC_COLORS = {
    "background": (0, 0, 0),
    "scratch": (128, 0, 0),
    "dent": (0, 128, 0),
    "ignored": (224, 224, 192),
}


def cvat_source(root: Path, *, text: str = CVAT, images: tuple[str, ...] = ("a", "b")) -> Path:
    (root / "images").mkdir(parents=True)
    for name in images:
        (root / "images" / f"{name}.jpg").write_bytes(PICTURE)
    (root / "train.xml").write_text(text)
    return root


def voc_source(root: Path, labels: NDArray[np.uint8]) -> Path:
    """A "Segmentation mask" export of CVAT: colours from labelmap.txt, one list of names per split."""
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    lines = [f"{name}:{','.join(map(str, color))}::" for name, color in VOC_COLORS.items()]
    (root / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *lines, ""]))
    pixels = np.zeros((*labels.shape, 3), np.uint8)
    for label, color in zip((0, 1, 2, 255), VOC_COLORS.values(), strict=True):
        pixels[labels == label] = color
    for folder in ("SegmentationClass", "SegmentationObject"):
        Image.fromarray(pixels).save(root / folder / "a.png")
    (root / "JPEGImages" / "a.jpg").write_bytes(PICTURE)
    (root / "ImageSets/Segmentation/val.txt").write_text("a\n")
    return root


def test_cvat_polygons_lie_by_their_z_order(tmp_path: Path) -> None:
    source = cvat_source(tmp_path / "cvat")
    imported = import_dataset(source, destination=tmp_path / "out", format_name="cvat")
    assert (imported.images, imported.has_splits) == (2, True)
    manifest = open_dataset(tmp_path / "out")
    assert manifest.class_map.names == ("background", "scratch", "dent")
    first, second = manifest.split("train")
    assert first.image.read_bytes() == PICTURE
    np.testing.assert_array_equal(read_labels(first.mask), LABELS)
    assert not read_labels(second.mask).any(), "an image that was looked at and left empty"


def test_voc_masks_keep_their_ignored_pixels(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[0] = 255
    source = voc_source(tmp_path / "voc", labels)
    import_dataset(source, destination=tmp_path / "out", format_name="voc_segmentation")
    manifest = open_dataset(tmp_path / "out")
    assert manifest.class_map.names == ("background", "scratch", "dent")
    (sample,) = manifest.split("val")
    np.testing.assert_array_equal(read_labels(sample.mask), labels)


# pycocotools, which Datumaro calls, has not caught up with NumPy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_cvat_brush_strokes_arrive_where_they_were_drawn(tmp_path: Path) -> None:
    # Run lengths of the window's rows: 2 pixels outside, then 16 inside.
    mask = (
        '<mask label="dent" occluded="0" rle="2,16" left="3" top="2" width="6" height="3" z_order="0"></mask>'
    )
    text = CVAT[: CVAT.index("    <polygon")] + mask + CVAT[CVAT.index("  </image>\n  <image") :]
    source = cvat_source(tmp_path / "cvat", text=text)
    import_dataset(source, destination=tmp_path / "out", format_name="cvat")
    expected = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    expected[2:5, 3:9] = 2
    expected[2, 3:5] = 0
    np.testing.assert_array_equal(read_labels(tmp_path / "out/masks/train/a.png"), expected)


def test_an_ellipse_that_datumaro_would_lose_is_refused(tmp_path: Path) -> None:
    ellipse = '<ellipse label="dent" cx="5" cy="5" rx="2" ry="2" z_order="0"></ellipse>'
    text = CVAT.replace("  </image>\n  <image", f"{ellipse}  </image>\n  <image")
    with pytest.raises(DatasetError, match=r"train\.xml: holds an ellipse"):
        import_dataset(
            cvat_source(tmp_path / "cvat", text=text), destination=tmp_path / "out", format_name="cvat"
        )


def test_the_file_that_cvat_exports_names_no_split(tmp_path: Path) -> None:
    source = cvat_source(tmp_path / "cvat")
    (source / "train.xml").rename(source / "annotations.xml")
    assert not import_dataset(source, destination=tmp_path / "out", format_name="cvat").has_splits
    assert (tmp_path / "out/masks/a.png").is_file()


def test_boxes_alone_are_no_labels(tmp_path: Path) -> None:
    box = '<box label="dent" occluded="0" xtl="1" ytl="1" xbr="4" ybr="4" z_order="0"></box>'
    text = CVAT[: CVAT.index("    <polygon")] + box + CVAT[CVAT.index("  </image>\n  <image") :]
    source = cvat_source(tmp_path / "cvat", text=text)
    with pytest.raises(DatasetError, match="a: boxes or lines only"):
        import_dataset(source, destination=tmp_path / "out", format_name="cvat")
    assert not (tmp_path / "out").exists()


def test_an_export_without_its_images_is_named(tmp_path: Path) -> None:
    source = cvat_source(tmp_path / "cvat", images=("a",))
    with pytest.raises(DatasetError, match=r"name=b\.jpg|no image b\.jpg"):
        import_dataset(source, destination=tmp_path / "out", format_name="cvat")


@pytest.mark.parametrize(
    ("format_name", "message"),
    [
        pytest.param("cvatt", "no format 'cvatt'; Datumaro reads .*cvat", id="unknown"),
        pytest.param("voc", "cannot be read as voc", id="another-format"),
    ],
)
def test_a_wrong_format_is_said(tmp_path: Path, format_name: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        ForeignDataset(cvat_source(tmp_path / "cvat"), format_name=format_name)
