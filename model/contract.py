"""What a model file promises to whoever runs it: its classes, sizes, decision, scores and origin.

The contract rides in the ONNX file as JSON under one metadata key, so that file and promise cannot be parted.
Only `training.export` writes it; `model.artifact` reads it. `format` changes when a reader of today would
misread a file of tomorrow, and only then.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from data.classes import ClassMap

#: The one key of the ONNX file's metadata.
METADATA_KEY: Final = "residual_segnet.contract"
FORMAT: Final = 1

_FROZEN: Final = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(ge=0.0, le=1.0)]


class Decision(BaseModel):
    """How probabilities become labels, and labels defects.

    `weights`: one per class; the label of a pixel is the argmax of weight x probability, so that all ones is
    the network's own argmax. `min_area_px`: connected defect regions below this area do not count.
    """

    model_config = _FROZEN

    weights: Annotated[tuple[Annotated[float, Field(ge=0.0)], ...], Field(min_length=1)]
    min_area_px: Annotated[int, Field(ge=1)] = 1

    @field_validator("weights")
    @classmethod
    def _not_all_zero(cls, weights: tuple[float, ...]) -> tuple[float, ...]:
        if not any(weights):
            raise ValueError("every decision weight is 0, so no class could ever win; expected one above 0")
        return weights

    @classmethod
    def neutral(cls, class_count: int) -> "Decision":
        """Plain argmax, every region counting: what a model decides before it is calibrated."""
        return cls(weights=(1.0,) * class_count, min_area_px=1)


class Provenance(BaseModel):
    """Where a model comes from: enough to make it again, or to find who can."""

    model_config = _FROZEN

    run: str
    git: str
    config_sha256: str
    data_sha256: str
    seed: int
    versions: dict[str, str]
    machine: str


class Parity(BaseModel):
    """How closely the file agrees with the network that was trained, over real images of several sizes."""

    model_config = _FROZEN

    images: Annotated[int, Field(ge=1)]
    pixels: Annotated[int, Field(ge=1)]
    label_agreement: Rate
    max_probability_error: Annotated[float, Field(ge=0.0)]


class GoldenSample(BaseModel):
    """A small image and the labels the file gave for it when written; both PNG bytes, base64 in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    image_png: bytes
    labels_png: bytes


class Contract(BaseModel):
    """All that a model file promises.

    Attributes:
        format: version of this layout.
        name: what people call the model.
        version: optional label within that name, free text.
        created_at: when the file was written, with its time zone.
        classes: what each label id means; label ids are positions in it.
        stride: images are padded to a multiple of it before they enter the graph.
        tile_px: side of the square tiles that larger images are cut into, a multiple of `stride`.
        halo_px: how much of a tile's rim is context only.
        decision: the default of the graph's `decision_weights`, and the smallest area that counts.
        scores: by split; each holds the count `images` it was measured on. What is unknown is null, not NaN.
        provenance: run, commit, hashes, versions.
        parity: the proof that the file is the network that was trained.
        golden: the self-test.
        graph_sha256: digest of the graph the contract was stamped on; empty before that.
        notes: free text for people.
    """

    model_config = _FROZEN

    format: Literal[1] = FORMAT
    name: Annotated[str, Field(min_length=1)]
    version: str | None = None
    created_at: AwareDatetime
    classes: ClassMap
    stride: Annotated[int, Field(ge=1)]
    tile_px: Annotated[int, Field(ge=1)]
    halo_px: Count
    decision: Decision
    scores: dict[str, dict[str, JsonValue]] = {}
    provenance: Provenance
    parity: Parity
    golden: GoldenSample
    graph_sha256: str = ""
    notes: str | None = None

    @field_validator("scores")
    @classmethod
    def _scores_are_counted(cls, scores: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for split, measured in scores.items():
            images = measured.get("images")
            if isinstance(images, bool) or not isinstance(images, int) or images < 0:
                raise ValueError(
                    f"scores of split {split!r} say images={images!r}; "
                    "expected the number of images they were measured on"
                )
        return scores

    @model_validator(mode="after")
    def _parts_fit(self) -> "Contract":
        if len(self.decision.weights) != len(self.classes):
            raise ValueError(
                f"{len(self.decision.weights)} decision weights for {len(self.classes)} classes; "
                "expected one per class, in the order of the classes"
            )
        if self.tile_px % self.stride:
            raise ValueError(f"tile_px {self.tile_px} is no multiple of the stride {self.stride}")
        if 2 * self.halo_px >= self.tile_px:
            raise ValueError(
                f"a halo of {self.halo_px} px on both sides leaves nothing of a tile of {self.tile_px} px; "
                "expected less than half of it"
            )
        return self
