"""Make an image as large as the network wants it, by mirroring at the right and lower border."""

import cv2
import numpy as np
from numpy.typing import NDArray


def pad_to_multiple(image: NDArray[np.uint8], multiple: int, *, least_px: int = 0) -> NDArray[np.uint8]:
    """uint8 [height, width, 3] → the same with height and width raised to multiples of `multiple`.

    The image stays at the upper left, so cropping to its size undoes it. Mirroring without repeating the border
    pixel is what training crops show beyond an image's border; an image of one pixel is repeated. `least_px` is the
    least height and width of the result.
    """
    height, width = image.shape[:2]
    below, right = (-(-max(size, least_px, 1) // multiple) * multiple - size for size in (height, width))
    if not below and not right:
        return image
    border = cv2.BORDER_REFLECT_101 if min(height, width) > 1 else cv2.BORDER_REPLICATE
    return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, border), np.uint8)
