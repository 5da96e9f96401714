"""From what a model said and a recipe ruled to the answer that a client gets: here and nowhere else.

Each `to_…` is one form of the answer. They take milliseconds and more: call them in a thread.
"""

import base64
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.archives import Member
from app.errors import Unprocessable
from app.examine import examine
from app.schemas import (
    BatchPrediction,
    ClassPolygon,
    ClassRle,
    ClassShare,
    DefectInfo,
    ImageInfo,
    Mask,
    MaskEncoding,
    ModelInfo,
    PngMask,
    PolygonsMask,
    PredictionResponse,
    RecipeInfo,
    RleMask,
    Timings,
)
from app.worker import Judged
from data.classes import ClassMap
from data.defects import Defect, in_mm
from data.images import ImageFacts, encode_jpeg
from data.label_counts import count_labels
from data.masks import encode_labels, overlay, to_polygons, to_rle
from model.recipe import Recipe, RecipeError
from model.verdict import Ruling


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image as it came.

    Attributes:
        upload: name and bytes as sent.
        image: RGB, uint8 [height, width, 3], upright.
        facts: what its header said.
        began_s: on the clock of `time.perf_counter`, when the whole upload was there.
        decode_ms: how long it took.
    """

    upload: Member
    image: NDArray[np.uint8]
    facts: ImageFacts
    began_s: float
    decode_ms: float


@dataclass(frozen=True, eq=False)
class Judgement:
    """All that is known of one image: as it came, what the model said, what the rules led to and how long that took.

    `request_id` is of the request it came in.
    """

    request_id: str
    decoded: Decoded
    judged: Judged
    recipe: Recipe
    ruling: Ruling
    measure_ms: float

    @property
    def class_map(self) -> ClassMap:
        """The classes of the model that judged."""
        return self.judged.model.contract.classes


Encoder = Callable[[Judgement], bytes]
"""One form of the answer."""


def rule(judged: Judged, *, recipe: Recipe) -> Ruling:
    """What the recipe makes of a prediction. Raises Unprocessable where its zones do not fit the image."""
    try:
        return examine(judged.prediction, recipe=recipe, class_map=judged.model.contract.classes)
    except RecipeError as error:
        raise Unprocessable(str(error)) from error


def to_json(judgement: Judgement, *, mask: MaskEncoding) -> bytes:
    """A PredictionResponse."""
    return to_response(judgement, mask=mask).model_dump_json().encode()


def to_line(judgement: Judgement, *, mask: MaskEncoding) -> bytes:
    """A BatchPrediction on a line of its own."""
    prediction = to_response(judgement, mask=mask)
    return (
        BatchPrediction(name=judgement.decoded.upload.name, prediction=prediction).model_dump_json().encode()
        + b"\n"
    )


def to_mask(judgement: Judgement) -> bytes:
    """The mask alone, an indexed PNG: the very bytes that folder inspection writes."""
    return encode_labels(judgement.judged.prediction.labels, judgement.class_map)


def to_overlay(judgement: Judgement) -> bytes:
    """The image with its defects tinted, a JPEG. Raises Unprocessable for sides that no JPEG can have."""
    tinted = overlay(judgement.decoded.image, judgement.judged.prediction.labels, judgement.class_map)
    try:
        return encode_jpeg(tinted)
    except ValueError as error:
        raise Unprocessable(f"{error}; ask for image/png, or for JSON") from error


def to_response(judgement: Judgement, *, mask: MaskEncoding) -> PredictionResponse:
    """Everything, with the mask in one encoding."""
    judged, recipe, class_map = judgement.judged, judgement.recipe, judgement.class_map
    labels, scale = judged.prediction.labels, recipe.mm_per_px
    encode_began_s = time.perf_counter()
    encoded = _encode_mask(labels, class_map=class_map, encoding=mask)
    classes = _class_shares(labels, class_map=class_map, mm_per_px=scale)
    ended_s = time.perf_counter()
    return PredictionResponse(
        id=judgement.request_id,
        model=_model_info(judged),
        provider=judged.model.provider,
        image=_image_info(judgement.decoded),
        verdict=judgement.ruling.verdict,
        reasons=judgement.ruling.reasons,
        recipe=RecipeInfo(name=recipe.name, sha256=recipe.digest()),
        mm_per_px=scale,
        classes=classes,
        defects=tuple(
            _defect_info(defect, number=number, class_map=class_map, mm_per_px=scale)
            for number, defect in enumerate(judgement.ruling.counted, 1)
        ),
        mask=encoded,
        timings_ms=Timings(
            decode=_ms(judgement.decoded.decode_ms),
            queue=_ms(judged.queue_ms),
            inference=_ms(judged.inference_ms),
            measure=_ms(judgement.measure_ms),
            encode=_ms(1000 * (ended_s - encode_began_s)),
            total=_ms(1000 * (ended_s - judgement.decoded.began_s)),
        ),
    )


def _model_info(judged: Judged) -> ModelInfo:
    model = judged.model
    return ModelInfo(name=model.contract.name, version=model.contract.version or "", sha256=model.digest)


def _image_info(decoded: Decoded) -> ImageInfo:
    height_px, width_px = decoded.image.shape[:2]
    return ImageInfo(
        name=decoded.upload.name,
        format=decoded.facts.format,
        width_px=width_px,
        height_px=height_px,
        bit_depth=decoded.facts.bit_depth,
        exif_orientation=decoded.facts.exif_orientation,
        sha256=hashlib.sha256(decoded.upload.content).hexdigest(),
        bytes=len(decoded.upload.content),
    )


def _class_shares(
    labels: NDArray[np.uint8], *, class_map: ClassMap, mm_per_px: float | None
) -> tuple[ClassShare, ...]:
    pixels = count_labels(labels).tolist()
    return tuple(
        ClassShare(
            id=class_id,
            name=spec.name,
            color=spec.color,
            role=spec.role,
            pixels=pixels[class_id],
            share=pixels[class_id] / labels.size,
            area_mm2=in_mm(pixels[class_id], mm_per_px, power=2),
        )
        for class_id, spec in enumerate(class_map.classes)
    )


def _defect_info(defect: Defect, *, number: int, class_map: ClassMap, mm_per_px: float | None) -> DefectInfo:
    return DefectInfo(
        number=number,
        class_id=defect.class_id,
        class_name=class_map.names[defect.class_id],
        area_px=defect.area_px,
        area_mm2=in_mm(defect.area_px, mm_per_px, power=2),
        box_px=defect.box_xyxy,
        centroid_px=defect.centroid_xy,
        length_px=defect.length_px,
        length_mm=in_mm(defect.length_px, mm_per_px),
        width_px=defect.width_px,
        width_mm=in_mm(defect.width_px, mm_per_px),
        orientation_deg=defect.orientation_deg,
        mean_confidence=defect.mean_confidence,
        peak_confidence=defect.peak_confidence,
        touches_border=defect.touches_border,
    )


def _encode_mask(labels: NDArray[np.uint8], *, class_map: ClassMap, encoding: MaskEncoding) -> Mask | None:
    """The label map in one encoding; run lengths and polygons of the defect classes that are there."""
    if encoding == "none":
        return None
    if encoding == "png":
        return PngMask(data=base64.b64encode(encode_labels(labels, class_map)).decode())
    found = {class_id: labels == class_id for class_id in class_map.defect_ids if (labels == class_id).any()}
    if encoding == "rle":
        rles = {class_id: to_rle(inside) for class_id, inside in found.items()}
        return RleMask(rles=tuple(ClassRle(class_id=class_id, **rle) for class_id, rle in rles.items()))
    return PolygonsMask(
        polygons=tuple(
            ClassPolygon(
                class_id=class_id,
                rings=tuple(ring.tolist() for ring in (polygon.outline, *polygon.holes)),
            )
            for class_id, inside in found.items()
            for polygon in to_polygons(inside)
        )
    )


def _ms(value: float) -> float:
    return round(value, 3)
