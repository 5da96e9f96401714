"""The pictures of a report: an image, or a detail of it, with labels tinted and outlined, as a data URI.

Every picture travels inside the page, so it is small, few are shown, and a tiny defect in a large image is
shown as a detail around it: shrunk with the rest it would vanish.
"""

import base64
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from data.classes import IGNORE_LABEL, ClassMap
from data.images import encode_jpeg
from data.masks import overlay

#: Longest side of a picture, and of what is shown of a larger image, in pixels.
_SHOWN_PX: Final = 420
_DETAIL_PX: Final = 512


def find_window(
    truth: NDArray[np.uint8], labels: NDArray[np.uint8], *, class_map: ClassMap
) -> tuple[slice, slice]:
    """Everything, or of a large image a square around the largest mistake, else the largest defect."""
    height, width = truth.shape
    if max(height, width) <= int(_DETAIL_PX * 1.5):
        return slice(0, height), slice(0, width)
    true_defect, said_defect = np.isin(truth, class_map.defect_ids), np.isin(labels, class_map.defect_ids)
    wrong = (true_defect != said_defect) & (truth != IGNORE_LABEL)
    for mask in (wrong, true_defect, said_defect):
        if mask.any():
            _, _, stats, centres = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
            x, y = centres[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))]
            break
    else:
        return slice(0, height), slice(0, width)
    top = int(np.clip(y - _DETAIL_PX / 2, 0, max(0, height - _DETAIL_PX)))
    left = int(np.clip(x - _DETAIL_PX / 2, 0, max(0, width - _DETAIL_PX)))
    return slice(top, min(height, top + _DETAIL_PX)), slice(left, min(width, left + _DETAIL_PX))


def draw_picture(
    image: NDArray[np.uint8], *, labels: NDArray[np.uint8] | None = None, class_map: ClassMap | None = None
) -> str:
    """A JPEG data URI, scaled to the shown size, its labels tinted and outlined."""
    scale = _SHOWN_PX / max(image.shape[:2])
    size_wh = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    drawn = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    shown = np.asarray(drawn, np.uint8)
    if labels is not None and class_map is not None:
        scaled = np.asarray(cv2.resize(labels, size_wh, interpolation=cv2.INTER_NEAREST), np.uint8)
        shown = np.ascontiguousarray(overlay(shown, scaled, class_map, 0.3))
        for class_id in class_map.defect_ids:
            contours, _ = cv2.findContours(
                (scaled == class_id).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
            )
            color = tuple(int(channel) for channel in class_map.classes[class_id].color)
            cv2.drawContours(shown, contours, -1, color, 1, cv2.LINE_AA)
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(shown)).decode()
