"""The proof that a model file is the network that was trained: both judge real images, and must agree."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.contract import Parity
from model.padding import pad_to_multiple
from model.predictor import Predictor

#: Share of pixels whose label must be the same; the rest are ties that rounding decides.
LEAST_AGREEMENT: Final = 0.9999
#: Float32 sums in another order differ by about 1e-5 after a hundred layers, nearly everywhere: where two of the four
#: values that a pooling compares are equal but for rounding, its position may flip, and a patch of pixels differs
#: by more (seen: by 0.06 in one patch of 700 000 pixels, which cost a trained network its file while the largest
#: difference was judged). So nearly all pixels must be close, and hardly any far: an operation exported wrongly, be it
#: at borders alone, makes more of them.
CLOSE_PROBABILITY: Final = 1e-3
LEAST_CLOSE: Final = 0.99
FAR_PROBABILITY: Final = 0.05
MOST_FAR: Final = 1e-4


class ParityError(ValueError):
    """The file and the network disagree; nothing was written."""


def prove_parity(
    network: nn.Module,
    predictor: Predictor,
    *,
    images: Sequence[NDArray[np.uint8]],
) -> Parity:
    """Compare the network in PyTorch with its file, the latter through the very code that serves it.

    Each image is judged whole (its upper left tile, if it is larger than one) and as a smaller cut of odd
    height and width, so that padding, cropping and sizes the graph was not traced at take part.

    Args:
        network: pixels uint8 [batch, height, width, 3] to logits [batch, classes, height, width], in
            evaluation mode, on the CPU.
        predictor: the file, opened.
        images: uint8 RGB [height, width, 3], at least one.

    Raises:
        ParityError: labels or probabilities differ by more than rounding can explain.
    """
    contract = predictor.contract
    weights = np.array(contract.decision.weights, np.float32)
    pixels = agreeing = close = far = 0
    largest_error = 0.0
    for view in _views(images, tile_px=contract.tile_px):
        prediction = predictor.predict(view, want_probabilities=True)
        assert prediction.probabilities is not None, "asked for probabilities"
        expected = _probabilities(network, view, stride=contract.stride)
        labels = np.argmax(expected * weights[:, None, None], axis=0)
        pixels += labels.size
        agreeing += int((labels == prediction.labels).sum())
        errors = np.abs(expected - prediction.probabilities).max(axis=0)
        close += int((errors <= CLOSE_PROBABILITY).sum())
        far += int((errors > FAR_PROBABILITY).sum())
        error = float(errors.max())
        if not np.isfinite(error):
            raise ParityError(
                "the network gives NaN on a real image; nothing was written. Training diverged: take an "
                "earlier checkpoint, or train with a smaller learning rate"
            )
        largest_error = max(largest_error, error)
    agreement, closeness, farness = agreeing / pixels, close / pixels, far / pixels
    if agreement < LEAST_AGREEMENT or closeness < LEAST_CLOSE or farness > MOST_FAR:
        raise ParityError(
            f"the exported graph labels {agreement:.4%} of {pixels} pixels as PyTorch does (expected "
            f"{LEAST_AGREEMENT:.2%}), gives {closeness:.2%} of them probabilities within "
            f"{CLOSE_PROBABILITY:g} (expected {LEAST_CLOSE:.0%}), and {farness:.3%} of them some that differ by more "
            f"than {FAR_PROBABILITY:g} (allowed {MOST_FAR:.2%}); nothing was written. Either the network has hardly "
            "been trained, so that rounding decides between its classes: train longer; or an operation of it is "
            "exported wrongly: find it by exporting its parts"
        )
    return Parity(
        images=len(images), pixels=pixels, label_agreement=agreement, max_probability_error=largest_error
    )


def _views(images: Sequence[NDArray[np.uint8]], *, tile_px: int) -> Iterator[NDArray[np.uint8]]:
    """Each image as far as one tile reaches, and a cut of about three by two quarters with odd sides."""
    for image in images:
        whole = image[:tile_px, :tile_px]
        height, width = whole.shape[:2]
        yield whole
        yield whole[: (height * 3 // 4) | 1, : (width // 2) | 1]


def _probabilities(network: nn.Module, image: NDArray[np.uint8], *, stride: int) -> NDArray[np.float32]:
    """What PyTorch says of one image, float32 [classes, height, width]."""
    height, width = image.shape[:2]
    batch = torch.from_numpy(np.ascontiguousarray(pad_to_multiple(image, stride)))[None]
    with torch.inference_mode():
        probabilities: Tensor = network(batch).float().softmax(1)
    return np.asarray(probabilities[0, :, :height, :width].numpy(), np.float32)
