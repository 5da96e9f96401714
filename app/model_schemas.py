"""Answers about the service itself: its model, its recipes, its health."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.schemas import ClassInfo, ModelInfo, RecipeInfo

_FROZEN = ConfigDict(frozen=True)


class ModelResponse(ModelInfo):
    """What the model promises, and what runs it; the golden sample stays inside."""

    ready: bool = Field(
        description="Whether it passed its self-test on what runs it, and an image may come.", examples=[True]
    )
    provider: str = Field(
        description="What really runs the model, as its session says.", examples=["CPUExecutionProvider"]
    )
    store_version: str | None = Field(
        description="Its version in the model store; null: served from a file.", examples=["v3"]
    )
    format: int = Field(description="Version of the model file's layout.", examples=[1])
    created_at: datetime = Field(description="When the file was written.", examples=["2026-03-04T12:30:00Z"])
    classes: tuple[ClassInfo, ...] = Field(description="What each number in a mask means.")
    stride: int = Field(description="Images are padded to a multiple of it.", examples=[16])
    tile_px: int = Field(description="Side of the tiles that larger images are cut into.", examples=[512])
    halo_px: int = Field(description="How much of a tile's rim is context only.", examples=[64])
    weights: tuple[float, ...] = Field(
        description="A pixel's class is the largest weight x probability.", examples=[[1.0, 1.6]]
    )
    min_area_px: int = Field(description="Smaller patches are no defects to its own recipe.", examples=[12])
    scores: dict[str, dict[str, JsonValue]] = Field(
        description="By split, each with the number of images it was measured on.",
        examples=[{"test": {"images": 270, "mean_iou": 0.71}}],
    )
    provenance: dict[str, JsonValue] = Field(
        description="Run, commit, hashes and versions: enough to make it again.",
        examples=[{"run": "tile-7", "git": "4fc5a7b", "seed": 1}],
    )
    parity: dict[str, JsonValue] = Field(
        description="How closely the file agrees with the network that was trained.",
        examples=[{"images": 8, "label_agreement": 1.0, "max_probability_error": 2e-6}],
    )
    notes: str | None = Field(description="Free text of whoever made it.", examples=["for line 3"])


class RecipeEntry(RecipeInfo):
    """One recipe that a request may name."""

    mm_per_px: float | None = Field(description="Its scale; null: sizes in px.", examples=[0.05])
    is_default: bool = Field(description="Whether it judges where a request names none.", examples=[True])


class RecipesResponse(BaseModel):
    """All recipes, the default first."""

    model_config = _FROZEN

    recipes: tuple[RecipeEntry, ...] = Field(description="What `recipe` in a query may name.")


class Health(BaseModel):
    """The process lives."""

    model_config = _FROZEN

    status: Literal["ok"] = Field("ok", description="Always this.", examples=["ok"])


class Ready(BaseModel):
    """Images may come."""

    model_config = _FROZEN

    ready: Literal[True] = Field(
        True, description="Always this; while it is not ready the answer is a problem.", examples=[True]
    )
    provider: str = Field(
        description="What runs the model and passed the self-test.", examples=["CPUExecutionProvider"]
    )
