"""Settings come from the environment, and wrong ones are named."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SEGNET_{name.upper()}", raising=False)


def test_the_environment_sets_them_and_the_rest_has_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGNET_MODEL", "/models/parts.onnx")
    monkeypatch.setenv("SEGNET_DEVICE", "cuda")
    monkeypatch.setenv("SEGNET_REQUIRE_DEVICE", "1")
    monkeypatch.setenv("SEGNET_MAX_PIXELS", "12_000_000")
    monkeypatch.setenv("SEGNET_BATCH_WAIT_MS", "2.5")
    settings = Settings()
    assert settings.model == Path("/models/parts.onnx")
    assert (settings.device, settings.require_device) == ("cuda", True)
    assert settings.max_pixels == 12_000_000
    assert settings.batch_wait_ms == 2.5
    assert settings.max_bytes == 50_000_000
    assert settings.keys_file is None


def test_what_the_call_gives_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGNET_MODEL", "/models/parts.onnx")
    assert Settings(model=Path("other.onnx")).model == Path("other.onnx")


def test_an_empty_variable_counts_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGNET_MODEL", "parts.onnx")
    monkeypatch.setenv("SEGNET_RECIPE", "")
    monkeypatch.setenv("SEGNET_THREADS", "")
    settings = Settings()
    assert settings.recipe is None
    assert settings.threads is None


def test_a_service_without_a_model_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"model\n  Field required"):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("device", "gpu", id="an unknown device"),
        pytest.param("threads", "0", id="no thread"),
        pytest.param("max_bytes", "50 MB", id="a unit"),
        pytest.param("request_timeout_s", "0", id="no time at all"),
        pytest.param("batch_wait_ms", "-1", id="a negative wait"),
        pytest.param("rate_per_minute", "-1", id="a negative rate"),
        pytest.param("watch_model_s", "-1", id="a look into the past"),
        pytest.param("probation_images", "-1", id="a negative probation"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("SEGNET_MODEL", "parts.onnx")
    monkeypatch.setenv(f"SEGNET_{name.upper()}", value)
    with pytest.raises(ValidationError, match=name):
        Settings()


def test_a_model_may_be_a_version_in_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGNET_MODEL", "store://champion")
    monkeypatch.setenv("SEGNET_STORE", "/workspace/models")
    settings = Settings()
    assert (settings.model, settings.store) == ("store://champion", Path("/workspace/models"))


@pytest.mark.parametrize(
    ("model", "told", "looks"),
    [
        pytest.param("store://champion", None, 2.0, id="a store is followed"),
        pytest.param("parts.onnx", None, 0.0, id="a file is not"),
        pytest.param("parts.onnx", 5.0, 5.0, id="a file that is to be"),
        pytest.param("store://champion", 0.0, 0.0, id="a store that is not to be"),
    ],
)
def test_how_often_to_look_for_a_new_model_depends_on_where_it_is(
    model: str, told: float | None, looks: float
) -> None:
    assert Settings(model=model, watch_model_s=told).look_every_s == looks


def test_nobody_may_change_them() -> None:
    settings = Settings(model=Path("parts.onnx"))
    with pytest.raises(ValidationError, match="frozen"):
        settings.max_bytes = 1


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
