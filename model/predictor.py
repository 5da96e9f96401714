"""From an image of any size to its labels: the one road that serving, calibration and every score take.

Small images are padded by reflection to the network's stride and cropped back. Larger ones are cut into
tiles of one fixed shape with a halo of context: a runtime keeps memory for each shape it has ever seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.images import read_image
from data.masks import read_labels
from data.regions import Region, find_regions
from data.tiling import plan_tiles
from model.artifact import Artifact, open_artifact
from model.contract import Contract, Decision
from model.padding import pad_to_multiple
from model.runtime import Device, Output, Runtime, open_runtime

#: On a GPU so many tiles or equal images go in one batch. On the CPU batches gain nothing and cost memory.
_GPU_BATCH: Final = 8
#: The self-test lets this share of a class differ, as other devices round otherwise, or this many pixels.
_GOLDEN_SHARE: Final = 0.05
_GOLDEN_PX: Final = 16


class GoldenError(ValueError):
    """The model does not say of its own golden sample what it said when it was written."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one image.

    Attributes:
        labels: uint8 [height, width], class ids.
        confidence: uint8 [height, width], probability of the label x 255.
        probabilities: float32 [classes, height, width], summing to one over classes; None unless asked for.
    """

    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    probabilities: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class _Piece:
    """A part of an image that goes through the graph at once.

    `keep` is what is kept of it and `place` where that goes in the image, as (rows, columns).
    """

    image: int
    pixels: NDArray[np.uint8]
    keep: tuple[slice, slice]
    place: tuple[slice, slice]


class Predictor:
    """A model ready to judge images. One thread at a time."""

    def __init__(self, runtime: Runtime, *, contract: Contract, digest: str) -> None:
        self._runtime = runtime
        self._contract = contract
        self._digest = digest

    @classmethod
    def open(
        cls,
        source: Path | bytes | Artifact,
        *,
        device: Device = "auto",
        require: bool = False,
        threads: int | None = None,
    ) -> "Predictor":
        """Open a model file for work; the arguments are those of `model.runtime.open_runtime`.

        Raises:
            ArtifactError: the file is no model, or does not load.
            DeviceError: a required device is not there.
            OSError: the file cannot be read.
        """
        artifact = source if isinstance(source, Artifact) else open_artifact(source)
        runtime = open_runtime(artifact, device=device, require=require, threads=threads)
        return cls(runtime, contract=artifact.contract, digest=artifact.digest)

    @property
    def contract(self) -> Contract:
        """What the model promises."""
        return self._contract

    @property
    def digest(self) -> str:
        """sha256 (hex) of the model file without its metadata."""
        return self._digest

    @property
    def provider(self) -> str:
        """What really runs the graph, as the session says."""
        return self._runtime.provider

    @property
    def is_gpu(self) -> bool:
        """Whether images in one batch cost less than one after the other."""
        return self._runtime.is_gpu

    def predict(
        self, image: NDArray[np.uint8], *, want_probabilities: bool = False, decision: Decision | None = None
    ) -> Prediction:
        """Judge one RGB image, uint8 [height, width, 3] of any size.

        `decision` stands in for the model's own; its weights act on the labels.

        Raises:
            ValueError: not such an image, or a decision for another number of classes.
            DeviceError: the device cannot change the decision per call (OpenVINO).
        """
        return self.predict_batch([image], want_probabilities=want_probabilities, decision=decision)[0]

    def predict_batch(
        self,
        images: Sequence[NDArray[np.uint8]],
        *,
        want_probabilities: bool = False,
        decision: Decision | None = None,
    ) -> list[Prediction]:
        """Judge several RGB images of any sizes; on a GPU equal ones share a batch. Raises as `predict`."""
        weights = self._weights(decision)
        pieces = [piece for at, image in enumerate(images) for piece in self._pieces(image, at=at)]
        predictions = [self._blank(image, want_probabilities=want_probabilities) for image in images]
        want: tuple[Output, ...] = ("labels", "confidence")
        if want_probabilities:
            want += ("probabilities",)
        for batch in _batches(pieces, most=_GPU_BATCH if self.is_gpu else 1):
            outputs = self._runtime.run(
                np.stack([piece.pixels for piece in batch]), decision_weights=weights, want=want
            )
            for position, piece in enumerate(batch):
                _put(predictions[piece.image], piece, outputs=outputs, position=position)
        return predictions

    def find_defects(self, prediction: Prediction, *, decision: Decision | None = None) -> list[Region]:
        """The defect regions that count, largest first; the image is NG when there is any."""
        return find_regions(
            prediction.labels,
            class_ids=self._contract.classes.defect_ids,
            min_area_px=(decision or self._contract.decision).min_area_px,
        )

    def check_golden(self) -> float:
        """Judge the golden sample, and return the share of pixels labelled as when the file was written.

        Each class is held to account by itself: "background" everywhere would agree on most pixels.

        Raises:
            GoldenError: a class differs by more than another device's rounding explains.
        """
        golden = self._contract.golden
        expected = read_labels(golden.labels_png, class_count=len(self._contract.classes))
        labels = self.predict(read_image(golden.image_png)).labels
        if labels.shape != expected.shape:
            raise GoldenError(
                f"the golden sample's image and labels differ in size: {labels.shape} and {expected.shape} "
                "(height, width); export the model anew"
            )
        for class_id, name in enumerate(self._contract.classes.names):
            said, meant = labels == class_id, expected == class_id
            wrong_px, meant_px = int((said != meant).sum()), int(meant.sum())
            if wrong_px > max(_GOLDEN_PX, _GOLDEN_SHARE * meant_px):
                raise GoldenError(
                    f"self-test failed on {self.provider}: of the golden sample's {meant_px} px of {name!r}, "
                    f"{wrong_px} px are labelled otherwise than when the model was written. This device "
                    "computes it wrongly, or the file is damaged: try the device cpu, or export it anew"
                )
        return float((labels == expected).mean())

    def _weights(self, decision: Decision | None) -> tuple[float, ...] | None:
        if decision is not None and len(decision.weights) != len(self._contract.classes):
            raise ValueError(
                f"a decision of {len(decision.weights)} weights for a model of {len(self._contract.classes)} "
                "classes; expected one weight per class"
            )
        return None if decision is None else decision.weights

    def _pieces(self, image: NDArray[np.uint8], *, at: int) -> Iterator[_Piece]:
        """What of image number `at` goes through the graph: itself, or its tiles."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f"{image.dtype} {list(image.shape)}: expected an RGB image, uint8 [height, width, 3]; "
                "data.images.read_image gives such"
            )
        height, width = image.shape[:2]
        tile_px, stride = self._contract.tile_px, self._contract.stride
        if max(height, width) <= tile_px:
            whole = slice(0, height), slice(0, width)
            yield _Piece(at, pad_to_multiple(image, stride), keep=whole, place=whole)
            return
        # Planned for the padded size, but cut before padding: a large image is not copied for a few rows.
        rows, columns = (max(tile_px, -(-side // stride) * stride) for side in (height, width))
        for tile in plan_tiles((rows, columns), tile_px=tile_px, halo_px=self._contract.halo_px):
            core = tile.core
            place = slice(core.top, min(core.bottom, height)), slice(core.left, min(core.right, width))
            keep = (
                slice(place[0].start - tile.padded.top, place[0].stop - tile.padded.top),
                slice(place[1].start - tile.padded.left, place[1].stop - tile.padded.left),
            )
            pixels = pad_to_multiple(image[tile.padded.slices], stride, least_px=tile_px)
            yield _Piece(at, pixels, keep=keep, place=place)

    def _blank(self, image: NDArray[np.uint8], *, want_probabilities: bool) -> Prediction:
        size_hw = image.shape[:2]
        return Prediction(
            labels=np.empty(size_hw, np.uint8),
            confidence=np.empty(size_hw, np.uint8),
            probabilities=np.empty((len(self._contract.classes), *size_hw), np.float32)
            if want_probabilities
            else None,
        )


def _batches(pieces: Sequence[_Piece], *, most: int) -> Iterator[list[_Piece]]:
    """Pieces of equal shape together, by powers of two, so that the runtime sees few shapes."""
    by_shape: dict[tuple[int, ...], list[_Piece]] = {}
    for piece in pieces:
        by_shape.setdefault(piece.pixels.shape, []).append(piece)
    for alike in by_shape.values():
        start = 0
        while start < len(alike):
            size = min(most, 1 << ((len(alike) - start).bit_length() - 1))
            yield alike[start : start + size]
            start += size


def _put(prediction: Prediction, piece: _Piece, *, outputs: dict[str, NDArray[Any]], position: int) -> None:
    """Write what is kept of one piece to where it belongs."""
    prediction.labels[piece.place] = outputs["labels"][position][piece.keep]
    prediction.confidence[piece.place] = outputs["confidence"][position][piece.keep]
    if prediction.probabilities is not None:
        prediction.probabilities[:, *piece.place] = outputs["probabilities"][position][:, *piece.keep]
