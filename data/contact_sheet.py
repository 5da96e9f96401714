"""One picture that shows a data set: each class at its defects, with outlines, and parts without any.

Whoever looks at it for a minute sees turned masks, shifted masks, swapped classes and forgotten defects.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from data.classes import ClassMap
from data.images import ImageError, read_image
from data.manifest import Manifest, Sample
from data.masks import MaskError, read_labels
from data.regions import Region, find_regions

_PANEL_PX = 200
_COLUMNS = 6
_GAP_PX = 6
_MARGIN_PX = 24
_CAPTION_PX = 20
_HEADING_PX = 40
_PAPER = (250, 250, 248)
_INK = (40, 44, 52)
_FAINT = (120, 124, 132)
_ZOOM_CONTEXT = 2.0
_SMALLEST_ZOOM_PX = 48
_CIRCLED_AT_MOST = 6

Rgb = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Cell:
    """Two square panels side by side, [200, 406, 3]: the whole image, and the defect close up."""

    picture: Rgb
    caption: str


def contact_sheet(manifest: Manifest, *, images_per_class: int | None = None, seed: int = 0) -> Rgb:
    """Draw the sheet: a row for each defect class, one for images without a defect; uint8 [h, w, 3] RGB.

    Each cell shows the whole image with outlines in the class's colour, and beside it the largest defect of
    that class close up, outlined thinly. Images are picked at random by `seed`; unreadable ones are left out.
    Without `images_per_class` it is 6, or more where few classes leave room. Reading stops when every class
    has its images.
    """
    picker = _Picker(manifest, seed=seed)
    wanted = [*manifest.class_map.defect_ids, None]
    count = images_per_class or _COLUMNS * max(1, 4 // len(wanted))
    picked = picker.pick(wanted, count=count)
    rows = [(_heading(manifest.class_map, class_id, len(cells)), cells) for class_id, cells in picked.items()]
    return _draw_sheet(rows, title=_title(manifest))


class _Picker:
    """Reads images in a random order until every class has its cells, or patience ends."""

    def __init__(self, manifest: Manifest, *, seed: int) -> None:
        self._manifest = manifest
        self._order = sorted(
            manifest.samples,
            key=lambda sample: hashlib.sha256(f"{seed}\0{sample.split}\0{sample.name}".encode()).digest(),
        )

    def pick(self, wanted: Sequence[int | None], *, count: int) -> Mapping[int | None, list[_Cell]]:
        """class id → its cells; None stands for images without a defect."""
        cells: dict[int | None, list[_Cell]] = {class_id: [] for class_id in wanted}
        for sample in self._order:
            if all(len(row) >= count for row in cells.values()):
                break
            try:
                labels = read_labels(sample.mask)
                present = set(np.unique(labels).tolist()) & set(self._manifest.class_map.defect_ids)
                open_rows = [
                    class_id
                    for class_id in (present or {None})
                    if class_id in cells and len(cells[class_id]) < count
                ]
                if not open_rows:
                    continue
                class_id = min(open_rows, key=lambda class_id: len(cells[class_id]))
                image = read_image(sample.image)
            except (OSError, ImageError, MaskError):
                continue
            if image.shape[:2] == labels.shape:
                cells[class_id].append(self._cell(sample, image, labels, class_id))
        return cells

    def _cell(self, sample: Sample, image: Rgb, labels: NDArray[np.uint8], class_id: int | None) -> _Cell:
        class_map = self._manifest.class_map
        # The largest first; those of other classes have their own row.
        regions = [] if class_id is None else find_regions(labels, class_ids=(class_id,))
        whole = _outlined(image, labels, class_map, edge_px=_PANEL_PX, thickness_px=2)
        for region in regions[:_CIRCLED_AT_MOST]:
            color = class_map.classes[region.class_id].color
            _circle_if_small(whole, region, image_hw=labels.shape, color=color)
        top, bottom, left, right = _close_up(labels.shape, regions[0] if regions else None)
        near = _outlined(
            image[top:bottom, left:right],
            labels[top:bottom, left:right],
            class_map,
            edge_px=_PANEL_PX,
            thickness_px=1,
        )
        gap = np.full((_PANEL_PX, _GAP_PX // 2, 3), _PAPER, np.uint8)
        return _Cell(np.hstack([whole, gap, near]), f"{sample.split} / {sample.name}")


def _outlined(
    image: Rgb, labels: NDArray[np.uint8], class_map: ClassMap, *, edge_px: int, thickness_px: int
) -> Rgb:
    """The image fitted into a square of paper, with the outline of every defect drawn at that scale."""
    height, width = labels.shape
    scale = edge_px / max(height, width)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(image, size_wh, interpolation=shrinks)
    for class_id in class_map.defect_ids:
        inside = (labels == class_id).astype(np.uint8)
        if not inside.any():
            continue
        # Any pixel of a defect counts, however small the picture becomes: area, then anything above zero.
        small = cv2.resize(inside * 255, size_wh, interpolation=shrinks) > (0 if scale < 1 else 127)
        outlines, _ = cv2.findContours(small.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, class_map.classes[class_id].color, thickness_px, cv2.LINE_AA)
    panel = np.full((edge_px, edge_px, 3), _PAPER, np.uint8)
    top, left = (edge_px - size_wh[1]) // 2, (edge_px - size_wh[0]) // 2
    panel[top : top + size_wh[1], left : left + size_wh[0]] = picture
    return panel


def _circle_if_small(
    panel: Rgb, region: Region, *, image_hw: tuple[int, ...], color: tuple[int, int, int]
) -> None:
    """A circle around a defect that the shrunk picture would hide."""
    scale = _PANEL_PX / max(image_hw)
    left, top, right, bottom = (value * scale for value in region.box_xyxy)
    if max(right - left, bottom - top) > 12:
        return
    shift_y = (_PANEL_PX - round(image_hw[0] * scale)) // 2
    shift_x = (_PANEL_PX - round(image_hw[1] * scale)) // 2
    centre = round((left + right) / 2 + shift_x), round((top + bottom) / 2 + shift_y)
    cv2.circle(panel, centre, 10, color, 1, cv2.LINE_AA)


def _close_up(image_hw: tuple[int, ...], region: Region | None) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of a square around a region, or of the middle of the image."""
    height, width = image_hw
    if region is None:
        edge = min(height, width)
        centre_x, centre_y = width / 2, height / 2
    else:
        left, top, right, bottom = region.box_xyxy
        edge = round(max(right - left, bottom - top, _SMALLEST_ZOOM_PX / _ZOOM_CONTEXT) * _ZOOM_CONTEXT)
        edge = min(edge, height, width)
        centre_x, centre_y = (left + right) / 2, (top + bottom) / 2
    start_x = int(np.clip(round(centre_x - edge / 2), 0, width - edge))
    start_y = int(np.clip(round(centre_y - edge / 2), 0, height - edge))
    return start_y, start_y + edge, start_x, start_x + edge


def _title(manifest: Manifest) -> str:
    counts = ", ".join(f"{len(manifest.split(split))} {split}" for split in manifest.splits)
    return f"{manifest.root.name}: {counts or 'no images'}"


def _heading(class_map: ClassMap, class_id: int | None, cells: int) -> tuple[str, tuple[int, int, int]]:
    if class_id is None:
        return ("without a defect" if cells else "without a defect: none"), _FAINT
    name = class_map.names[class_id]
    return (f"{class_id} {name}" if cells else f"{class_id} {name}: none"), class_map.classes[class_id].color


def _draw_sheet(
    rows: Sequence[tuple[tuple[str, tuple[int, int, int]], Sequence[_Cell]]], *, title: str
) -> Rgb:
    pitch_x, pitch_y = 2 * _PANEL_PX + 3 * _GAP_PX, _PANEL_PX + _CAPTION_PX
    columns = min(_COLUMNS, max([2, *(len(cells) for _, cells in rows)]))
    heights = [_HEADING_PX + -(-len(cells) // columns) * pitch_y for _, cells in rows]
    size_wh = 2 * _MARGIN_PX + columns * pitch_x, 2 * _MARGIN_PX + _HEADING_PX + sum(heights)
    sheet = Image.new("RGB", size_wh, _PAPER)
    pen = ImageDraw.Draw(sheet)
    large, medium, small = (ImageFont.load_default(size) for size in (24, 18, 12))
    pen.text((_MARGIN_PX, _MARGIN_PX - 6), title, fill=_INK, font=large)
    top = _MARGIN_PX + _HEADING_PX
    for ((heading, color), cells), height in zip(rows, heights, strict=True):
        pen.rectangle((_MARGIN_PX, top + 10, _MARGIN_PX + 18, top + 28), fill=color)
        pen.text((_MARGIN_PX + 28, top + 8), heading, fill=_INK, font=medium)
        for number, cell in enumerate(cells):
            left = _MARGIN_PX + number % columns * pitch_x
            upper = top + _HEADING_PX + number // columns * pitch_y
            sheet.paste(Image.fromarray(cell.picture), (left, upper))
            caption = cell.caption if len(cell.caption) <= 60 else f"{cell.caption[:57]}…"
            pen.text((left, upper + _PANEL_PX + 3), caption, fill=_FAINT, font=small)
        top += height
    return np.asarray(sheet)
