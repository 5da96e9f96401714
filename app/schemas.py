"""Bodies of requests and answers, every field described with an example. What the OpenAPI document shows is made here.

Lengths and areas in px are of the upright image; in mm they are null where nobody said how large a pixel is.
"""

import base64
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.errors import Problem
from data.classes import Role
from model.verdict import Verdict

MaskEncoding = Literal["png", "rle", "polygons", "none"]
_FROZEN = ConfigDict(frozen=True)
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class ModelInfo(BaseModel):
    """Which model judged."""

    model_config = _FROZEN

    name: str = Field(description="What people call the model.", examples=["magnetic-tile"])
    version: str = Field(description="Its version; empty where it has none.", examples=["3"])
    sha256: str = Field(description="Of the model file without its metadata, hex.", examples=[_DIGEST])


class ImageInfo(BaseModel):
    """What was sent."""

    model_config = _FROZEN

    name: str = Field(description="Its file name as sent; empty for a raw body.", examples=["part-0042.jpg"])
    format: str = Field(description="By its content: JPEG, PNG, TIFF, BMP or WEBP.", examples=["JPEG"])
    width_px: int = Field(description="Width of the upright image.", examples=[1600])
    height_px: int = Field(description="Height of the upright image.", examples=[1200])
    bit_depth: int = Field(description="Bits per sample in the file.", examples=[8])
    exif_orientation: int | None = Field(
        description="1 to 8 as the file says; it was turned upright.", examples=[1]
    )
    sha256: str = Field(description="Of the file, hex.", examples=[_DIGEST])
    bytes: int = Field(description="Size of the file.", examples=[412_305])


class RecipeInfo(BaseModel):
    """Which rules judged."""

    model_config = _FROZEN

    name: str = Field(description="Its name, as `recipe` in a query.", examples=["incoming-goods"])
    sha256: str = Field(description="Of what it says, hex; the scale included.", examples=[_DIGEST])


class ClassInfo(BaseModel):
    """One class of the model."""

    model_config = _FROZEN

    id: int = Field(description="Its number in masks.", examples=[1])
    name: str = Field(description="What people call it.", examples=["crack"])
    color: tuple[int, int, int] = Field(description="Red, green, blue, 0 to 255.", examples=[[230, 25, 75]])
    role: Role = Field(description="Whether it makes a part bad.", examples=["defect"])


class ClassShare(ClassInfo):
    """One class, and how much of the image it covers."""

    pixels: int = Field(description="Pixels of the mask with this class.", examples=[412])
    share: float = Field(description="Of all pixels, 0 to 1.", examples=[0.000215])
    area_mm2: float | None = Field(description="The same in mm².", examples=[1.03])


class DefectInfo(BaseModel):
    """One defect that the recipe does not ignore."""

    model_config = ConfigDict(
        frozen=True, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    number: int = Field(description="Its place in the list, from 1; largest first.", examples=[1])
    class_id: int = Field(description="Number of its class.", examples=[1])
    class_name: str = Field(alias="class", description="Name of its class.", examples=["crack"])
    area_px: int = Field(description="Its pixels.", examples=[412])
    area_mm2: float | None = Field(description="The same in mm².", examples=[1.03])
    box_px: tuple[int, int, int, int] = Field(
        description="Left, top, right, bottom; right and bottom are just outside.",
        examples=[[120, 88, 214, 97]],
    )
    centroid_px: tuple[float, float] = Field(
        description="Mean (x, y) of its pixels; pixel centres lie on whole numbers.",
        examples=[[166.4, 92.1]],
    )
    length_px: float = Field(description="Length along its middle line: of a curve the arc.", examples=[95.2])
    length_mm: float | None = Field(description="The same in mm.", examples=[4.76])
    width_px: float = Field(description="Mean width across that line.", examples=[4.3])
    width_mm: float | None = Field(description="The same in mm.", examples=[0.215])
    orientation_deg: float = Field(
        description="Of its longer side, 0 up to 180: 0 is horizontal, 90 vertical, clockwise.",
        examples=[3.2],
    )
    mean_confidence: float = Field(
        description="Probability of its class, mean over its pixels, 0 to 1.", examples=[0.93]
    )
    peak_confidence: float = Field(description="The same, at its surest pixel.", examples=[0.99])
    touches_border: bool = Field(description="Whether the image's edge may cut it off.", examples=[False])


class PngMask(BaseModel):
    """The mask as a file: an indexed PNG whose pixels are class ids, whose palette is the classes' colours."""

    model_config = _FROZEN

    encoding: Literal["png"] = Field("png", description="Says that this is a PNG.", examples=["png"])
    data: str = Field(description="The file, base64.", examples=["iVBORw0KGgo…"])

    def to_png(self) -> bytes:
        """The file itself."""
        return base64.b64decode(self.data)


class ClassRle(BaseModel):
    """Where one class is, as COCO's compressed run lengths."""

    model_config = _FROZEN

    class_id: int = Field(description="Number of the class.", examples=[1])
    size: tuple[int, int] = Field(description="Height, width in px.", examples=[[1200, 1600]])
    counts: str = Field(description="The runs, as pycocotools reads them.", examples=["Zgl11f4"])


class RleMask(BaseModel):
    """The mask as run lengths, one entry for each defect class that is there."""

    model_config = _FROZEN

    encoding: Literal["rle"] = Field("rle", description="Says that these are run lengths.", examples=["rle"])
    rles: tuple[ClassRle, ...] = Field(description="By class, in the order of their ids.")


class ClassPolygon(BaseModel):
    """One connected patch of one class."""

    model_config = _FROZEN

    class_id: int = Field(description="Number of the class.", examples=[1])
    rings: tuple[tuple[tuple[float, float], ...], ...] = Field(
        description="The outline, then each hole: (x, y) along pixel edges; pixel (0, 0) spans 0 to 1.",
        examples=[[[[120, 88], [214, 88], [214, 97], [120, 97]]]],
    )


class PolygonsMask(BaseModel):
    """The mask as outlines with their holes; filled again they give the very same pixels."""

    model_config = _FROZEN

    encoding: Literal["polygons"] = Field(
        "polygons", description="Says that these are polygons.", examples=["polygons"]
    )
    polygons: tuple[ClassPolygon, ...] = Field(description="All patches of defect classes.")


Mask = PngMask | RleMask | PolygonsMask


class Timings(BaseModel):
    """Where the time went, in ms. What is left of the total was spent between the stages."""

    model_config = _FROZEN

    decode: float = Field(description="From the file to pixels.", examples=[8.1])
    queue: float = Field(description="Waiting for the model.", examples=[0.4])
    inference: float = Field(description="The model, for the whole batch it was in.", examples=[31.5])
    measure: float = Field(description="Defects measured, verdict found.", examples=[1.9])
    encode: float = Field(description="The mask encoded.", examples=[2.7])
    total: float = Field(description="All of it, from the whole upload on.", examples=[45.2])


class PredictionResponse(BaseModel):
    """What is known of one part."""

    model_config = _FROZEN

    id: str = Field(description="The request's id, as the log has it.", examples=["5f2b0c6e9d3a4f17"])
    model: ModelInfo = Field(description="Which model judged.")
    provider: str = Field(
        description="What really ran the model, as its session says.", examples=["CPUExecutionProvider"]
    )
    image: ImageInfo = Field(description="What was sent.")
    verdict: Verdict = Field(
        description="OK; NG: a limit was reached; REVIEW: a person must decide.", examples=["NG"]
    )
    reasons: tuple[str, ...] = Field(
        description="Why, in words.", examples=[["crack 4.76 mm long, NG from 2 mm"]]
    )
    recipe: RecipeInfo = Field(description="Which rules judged.")
    mm_per_px: float | None = Field(description="How large a pixel is on the part.", examples=[0.05])
    classes: tuple[ClassShare, ...] = Field(description="Every class of the model, in the order of ids.")
    defects: tuple[DefectInfo, ...] = Field(description="Those that the recipe does not ignore.")
    mask: Annotated[Mask, Field(discriminator="encoding")] | None = Field(
        description="The whole label map, before any recipe; null where none was asked for."
    )
    timings_ms: Timings = Field(description="Where the time went.")


class BatchPrediction(BaseModel):
    """A line of a batch: one image that was judged."""

    model_config = _FROZEN

    name: str = Field(description="Its file name, as sent.", examples=["tray/part-0042.jpg"])
    prediction: PredictionResponse = Field(description="What is known of the part.")


class BatchProblem(BaseModel):
    """A line of a batch: one image that was not judged, or an archive that breaks off."""

    model_config = _FROZEN

    name: str = Field(description="Its file name; empty: the archive itself.", examples=["tray/notes.txt"])
    problem: Problem = Field(description="Why, as for a single image.")


class BatchEnd(BaseModel):
    """The last line of a batch; without it the answer was cut off."""

    model_config = _FROZEN

    done: bool = Field(description="False: the archive broke off before its end.", examples=[True])
    images: int = Field(description="How many lines with an image came before.", examples=[24])
    errors: int = Field(description="How many of these hold a problem.", examples=[1])


BatchLine = BatchPrediction | BatchProblem | BatchEnd
