"""What the environment says about the service: every variable SEGNET_NAME, read once where the service is made."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.locate import is_in_store
from model.runtime import Device
from model.store import STORE_SCHEME

_LOOK_AT_STORE_S: Final = 2.0
_StoreReference = Annotated[str, Field(pattern=f"^{STORE_SCHEME}.")]


class Settings(BaseSettings):
    """The service's settings; what is not given in the call comes from the environment, else from here.

    An empty variable counts as not given: compose files pass such on.

    Raises:
        ValidationError: a value that cannot be used, or no model; a ValueError that names each.
    """

    # Settings are handed about: nobody may change them under another's feet.
    model_config = SettingsConfigDict(env_prefix="SEGNET_", env_ignore_empty=True, frozen=True)

    model: _StoreReference | Path = Field(
        description="The model file, .onnx, or a version in the store, such as store://champion.",
        union_mode="left_to_right",
    )
    store: Path | None = Field(None, description="The folder of the model store.")
    recipe: Path | None = Field(None, description="The recipe that judges where a request names none.")
    recipes_dir: Path | None = Field(None, description="Folder of recipes that requests may name.")
    device: Device = Field("auto", description="What computes: auto, cpu, cuda, tensorrt or openvino.")
    require_device: bool = Field(False, description="Refuse to start when that device is not there.")
    threads: int | None = Field(
        None, ge=1, description="Processor threads of one inference; none: every core."
    )
    watch_model_s: float | None = Field(
        None,
        ge=0,
        description="Seconds between two looks for a new model; 0: never; none: 2 for a store, never for a file.",
    )
    probation_images: int = Field(
        100,
        ge=0,
        description="Images for which the old model stands by, in memory, in case the new one fails; 0: none.",
    )
    probation_s: float = Field(60.0, ge=0, description="Seconds for which it stands by at least.")

    max_bytes: int = Field(50_000_000, ge=1, description="Bytes of one upload.")
    max_pixels: int = Field(
        100_000_000, ge=1, description="Pixels (width x height) of one image, read before it is decoded."
    )
    archive_max_files: int = Field(1_000, ge=1, description="Files in one archive.")
    archive_max_bytes: int = Field(
        500_000_000, ge=1, description="Bytes of one archive's files together, unpacked."
    )

    batch_pixels: int = Field(4_000_000, ge=1, description="Pixels that are judged in one go.")
    batch_wait_ms: float = Field(
        5.0, ge=0, description="Milliseconds that a request may be held up for the sake of a larger batch."
    )
    waiting_pixels: int = Field(
        64_000_000, ge=1, description="Pixels that may wait; more is refused with 503. Each costs 3 bytes."
    )
    max_wait_s: float = Field(
        10.0,
        gt=0,
        description="Seconds of waiting, by the speed so far, beyond which a request is refused with 503; less in a "
        "flood.",
    )
    request_timeout_s: float = Field(
        30.0, gt=0, description="Seconds from a decoded image to its answer, or 504."
    )
    drain_s: float = Field(20.0, ge=0, description="Seconds that a stop grants to what waits already.")

    keys_file: Path | None = Field(None, description="The file of API keys; none: no key is asked for.")
    rate_per_minute: int = Field(
        0, ge=0, description="Requests a minute that one key may make; 0: any number."
    )

    @property
    def look_every_s(self) -> float:
        """Seconds between two looks for a new model; 0: never."""
        if self.watch_model_s is not None:
            return self.watch_model_s
        return _LOOK_AT_STORE_S if is_in_store(self.model) else 0.0
