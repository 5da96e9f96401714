"""Where a model is: a path, or `store://REF` for a version in a model store."""

from pathlib import Path

from model.store import STORE_SCHEME, ModelStore, StoreError


def is_in_store(model: str | Path) -> bool:
    """Whether this names a version of a store, not a file."""
    return isinstance(model, str) and model.startswith(STORE_SCHEME)


def open_store(folder: Path | None, *, wanted: str) -> ModelStore:
    """The store that the model `wanted` is in. Raises StoreError when no folder is given, or there is none."""
    if folder is None:
        raise StoreError(
            f"{wanted} is a version in a model store; say where that is, with --store DIR or SEGNET_STORE"
        )
    if not folder.is_dir():
        raise StoreError(f"{wanted}: there is no model store at {folder}; expected a folder")
    return ModelStore(folder)


def locate_model(model: str | Path, *, store: Path | None) -> Path:
    """The file of a model: the path that is given, or that of a version, such as store://champion.

    Raises:
        StoreError: no store to look in, or no such version; says what there is.
        OSError: the store cannot be read.
    """
    if not is_in_store(model):
        return Path(model)
    versions = open_store(store, wanted=str(model))
    return versions.model_path(versions.resolve(str(model)))
