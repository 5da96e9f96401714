"""A model is told as a path, or as a version in a store."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.locate import is_in_store, locate_model
from model.store import ModelStore, StoreError


@pytest.fixture
def store(tmp_path: Path, color_model: Callable[..., bytes]) -> Path:
    """Two versions, the second of which is champion."""
    folder = tmp_path / "store"
    store = ModelStore(folder)
    for name in ("first", "second"):
        file = tmp_path / f"{name}.onnx"
        file.write_bytes(color_model(name=name))
        version = store.add(file, by="a test")
        store.promote(version, by="a test", reason="it is due", expected_champion=store.champion)
    return folder


@pytest.mark.parametrize(
    ("model", "number"), [("store://champion", 2), ("store://previous", 1), ("store://v1", 1)]
)
def test_a_version_of_a_store_is_found(store: Path, model: str, number: int) -> None:
    versions = ModelStore(store)
    assert locate_model(model, store=store) == versions.model_path(versions.resolve(str(number)))


@pytest.mark.parametrize("model", ["a/model.onnx", Path("a/model.onnx")], ids=["text", "path"])
def test_a_path_is_left_as_it_is_with_or_without_a_store(store: Path, model: str | Path) -> None:
    assert not is_in_store(model)
    for folder in (None, store):
        assert locate_model(model, store=folder) == Path("a/model.onnx")


@pytest.mark.parametrize(
    ("model", "folder", "said"),
    [
        pytest.param("store://champion", None, "--store DIR or SEGNET_STORE", id="no store given"),
        pytest.param("store://champion", "gone", "there is no model store at gone", id="no folder"),
        pytest.param("store://v7", "store", "no version 'store://v7'", id="no such version"),
    ],
)
def test_what_is_not_there_is_named(
    store: Path, monkeypatch: pytest.MonkeyPatch, model: str, folder: str | None, said: str
) -> None:
    monkeypatch.chdir(store.parent)
    with pytest.raises(StoreError, match=said):
        locate_model(model, store=None if folder is None else Path(folder))
