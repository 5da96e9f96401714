"""What a request may ask for beyond its image; unknown names are errors: a misspelt scale must not pass in silence."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.schemas import MaskEncoding
from model.contract import Decision

_LARGEST_WEIGHT: Final = 1e6
_NUMBER: Final = r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?"
_WeightsText = Annotated[
    str, Field(max_length=4096, json_schema_extra={"pattern": rf"^{_NUMBER}(,{_NUMBER})*$"})
]


class PredictionQuery(BaseModel):
    """The query of a prediction."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    recipe: str | None = Field(
        None, description="Name of the recipe that judges; see /v1/recipes.", examples=["incoming-goods"]
    )
    mm_per_px: float | None = Field(
        None, ge=1e-9, le=1e6, description="Scale, in place of the recipe's own.", examples=[0.05]
    )
    mask: MaskEncoding = Field("png", description="How the mask comes in the JSON.", examples=["png"])
    weights: _WeightsText | None = Field(
        None,
        description="One number per class, in place of the model's own: a pixel's class is the largest "
        "weight x probability.",
        examples=["1,1.6,1"],
    )
    min_area_px: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="Smallest patch that is a defect, in place of the model's own; where the model's own recipe "
        "judges, as others have limits of theirs.",
        examples=[12],
    )

    @field_validator("weights")
    @classmethod
    def _are_numbers(cls, weights: str | None) -> str | None:
        if weights is not None:
            _parse(weights)
        return weights

    @property
    def decision(self) -> Decision | None:
        """What stands in for the model's own decision about each pixel."""
        return None if self.weights is None else Decision(weights=_parse(self.weights))


class BatchQuery(PredictionQuery):
    """The query of a batch; the same for each of its images."""

    mask: MaskEncoding = Field("none", description="How the masks come in the JSON.", examples=["rle"])


def _parse(weights: str) -> tuple[float, ...]:
    """`1,1.6,1` → numbers. Raises ValueError for anything else, negative or huge ones, or zeros alone."""
    try:
        numbers = tuple(float(number) for number in weights.split(","))
    except ValueError:
        raise ValueError(
            f"{weights!r}: expected a number per class with commas between, such as 1,1.6"
        ) from None
    if not all(0 <= number <= _LARGEST_WEIGHT for number in numbers) or not any(numbers):
        raise ValueError(f"{weights!r}: expected weights of 0 to {_LARGEST_WEIGHT:g}, not all of them 0")
    return numbers
