"""The self-test that rides in a model file: a small image in which much is found, and its labels."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from data.images import encode_png, read_image
from data.masks import encode_labels
from model.contract import GoldenSample
from model.predictor import Predictor

#: Side of the golden image: about 60 kB of the file, and milliseconds to judge.
_SIDE_PX: Final = 160


def choose_golden(predictor: Predictor, *, images: Sequence[NDArray[np.uint8]]) -> GoldenSample:
    """Cut the golden image out of the place where most pixels differ from their image's commonest label.

    Args:
        predictor: the file, opened; its labels are what later self-tests are held to.
        images: uint8 RGB [height, width, 3], at least one.
    """
    best_px, best_cut = -1.0, images[0][:_SIDE_PX, :_SIDE_PX]
    for image in images:
        whole = image[: predictor.contract.tile_px, : predictor.contract.tile_px]
        labels = predictor.predict(whole).labels
        rare = (labels != np.bincount(labels.ravel()).argmax()).astype(np.float32)
        # How many rare pixels lie in the square whose upper left corner each pixel is.
        side_hw = min(_SIDE_PX, rare.shape[0]), min(_SIDE_PX, rare.shape[1])
        found_px = cv2.boxFilter(
            rare, -1, side_hw[::-1], anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT
        )[: rare.shape[0] - side_hw[0] + 1, : rare.shape[1] - side_hw[1] + 1]
        top, left = np.unravel_index(int(found_px.argmax()), found_px.shape)
        if found_px[top, left] > best_px:
            best_px = float(found_px[top, left])
            best_cut = whole[top : top + side_hw[0], left : left + side_hw[1]]
    return judge_golden(predictor, image_png=encode_png(np.ascontiguousarray(best_cut)))


def judge_golden(predictor: Predictor, *, image_png: bytes) -> GoldenSample:
    """The golden sample of an image: its labels by this file, with this decision."""
    labels = predictor.predict(read_image(image_png)).labels
    return GoldenSample(image_png=image_png, labels_png=encode_labels(labels, predictor.contract.classes))
