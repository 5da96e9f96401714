"""What is offered for serving, and what becomes of an offer that is no good."""

import logging
import threading
from pathlib import Path

import pytest

from app.model_loader import ModelLoader
from app.model_source import FileSource, NoModelYet, StoreSource, open_source
from data.files import write_atomically
from model.artifact import ArtifactError
from model.predictor import GoldenError, Predictor
from model.recipe import RecipeError
from model.runtime import DeviceError
from model.store import ModelStore, StoreError

from .models import blind_model, block_writing, fill_store, lying_model, promote, sighted_model

CHAMPION = "store://champion"


def open_predictor(content: bytes) -> Predictor:
    return Predictor.open(content, device="cpu", threads=1)


def kinds(store: ModelStore) -> list[str]:
    return [event.kind for event in store.history()]


def test_a_file_is_another_offer_once_it_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"one")
    source = open_source(path, store=None)
    first = source.look()
    assert isinstance(source, FileSource)
    assert source.look().mark == first.mark
    write_atomically(path, b"two")
    assert source.look().mark != first.mark
    assert source.stand_in(first) is None


def test_a_store_offers_its_champion_whoever_that_is(tmp_path: Path) -> None:
    store = fill_store(tmp_path, sighted_model())
    source = open_source(CHAMPION, store=tmp_path)
    first = source.look()
    assert (str(first), first.path) == ("v1", store.model_path(store.resolve("v1")))
    assert source.stand_in(first) is None
    promote(store, blind_model())
    second = source.look()
    assert (str(second), second.mark != first.mark) == ("v2", True)
    assert source.stand_in(second) == first


def test_where_the_store_has_moved_on_the_champion_of_now_stands_in(tmp_path: Path) -> None:
    store = fill_store(tmp_path, blind_model(), sighted_model(), lying_model())
    source = open_source(CHAMPION, store=tmp_path)
    offer = source.look()
    store.roll_back(by="another", reason="it lies")
    stand_in = source.stand_in(offer)
    assert stand_in is not None
    assert str(stand_in) == "v2"


def test_a_fixed_version_has_no_stand_in_and_is_not_rolled_back(tmp_path: Path) -> None:
    store = fill_store(tmp_path, sighted_model(), blind_model())
    source = open_source("store://v2", store=tmp_path)
    offer = source.look()
    assert (str(offer), source.stand_in(offer)) == ("v2", None)
    source.reject(offer, reason="it is slow")
    assert "rolled_back" not in kinds(store)


def test_a_store_without_a_champion_offers_nothing_yet(tmp_path: Path) -> None:
    with pytest.raises(NoModelYet, match="no champion yet"):
        open_source(CHAMPION, store=tmp_path).look()


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        pytest.param(None, "--store DIR or SEGNET_STORE", id="none is given"),
        pytest.param("nowhere", "there is no model store at .*nowhere", id="it is not there"),
    ],
)
def test_a_store_that_is_not_there_is_an_error_at_once(tmp_path: Path, folder: str | None, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        open_source(CHAMPION, store=None if folder is None else tmp_path / folder)


def test_two_services_that_reject_the_same_champion_roll_it_back_once(tmp_path: Path) -> None:
    store = fill_store(tmp_path, blind_model(), sighted_model(), lying_model())
    sources = [StoreSource(ModelStore(tmp_path), CHAMPION) for _ in range(2)]
    offers = [source.look() for source in sources]
    at_once = threading.Barrier(2)

    def reject(number: int) -> None:
        at_once.wait(30)
        sources[number].reject(offers[number], reason="its self-test failed")

    threads = [threading.Thread(target=reject, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert kinds(store).count("rolled_back") == 1
    assert store.champion == store.resolve("v2")
    event = store.history()[-1]
    assert (event.version, event.reason) == (3, "its self-test failed")
    assert event.by.startswith("service ")


def test_a_store_that_cannot_be_written_keeps_its_champion_and_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = fill_store(tmp_path, sighted_model(), lying_model())
    block_writing(tmp_path)
    source = open_source(CHAMPION, store=tmp_path)
    with caplog.at_level(logging.WARNING):
        source.reject(source.look(), reason="its self-test failed")
    assert "v2 is champion still" in caplog.text
    assert "segnet models rollback" in caplog.text
    assert store.champion == store.resolve("v2")


class TestTheStart:
    """What is served first."""

    def test_is_with_the_champion(self, tmp_path: Path) -> None:
        fill_store(tmp_path, blind_model(), sighted_model())
        loaded = ModelLoader(open_source(CHAMPION, store=tmp_path), open_predictor).load_first()
        assert (loaded.facts.contract.name, loaded.facts.store_version) == ("sighted", "v2")

    def test_is_with_the_one_before_where_the_champion_fails_which_is_rolled_back(
        self, tmp_path: Path
    ) -> None:
        store = fill_store(tmp_path, sighted_model(), lying_model())
        loaded = ModelLoader(open_source(CHAMPION, store=tmp_path), open_predictor).load_first()
        assert (loaded.facts.contract.name, loaded.facts.store_version) == ("sighted", "v1")
        assert store.champion == store.resolve("v1")
        assert "self-test failed" in store.history()[-1].reason

    def test_rolls_nothing_back_where_both_fail(self, tmp_path: Path) -> None:
        store = fill_store(tmp_path, lying_model(), sighted_model())

        def fail(content: bytes) -> Predictor:
            raise ArtifactError("it does not load")

        with pytest.raises(ArtifactError):
            ModelLoader(open_source(CHAMPION, store=tmp_path), fail).load_first()
        assert "rolled_back" not in kinds(store)

    def test_without_another_fails_as_the_champion_does(self, tmp_path: Path) -> None:
        fill_store(tmp_path, lying_model())
        with pytest.raises(GoldenError):
            ModelLoader(open_source(CHAMPION, store=tmp_path), open_predictor).load_first()


@pytest.mark.parametrize(
    ("error", "is_blamed"),
    [
        pytest.param(ArtifactError("cut off"), True, id="a damaged file"),
        pytest.param(GoldenError("it lies"), True, id="a failed self-test"),
        pytest.param(RuntimeError("node 7"), True, id="a graph that fails"),
        pytest.param(DeviceError("no GPU"), False, id="a device that is missing here"),
        pytest.param(RecipeError("no such class"), False, id="a recipe of this service"),
        pytest.param(OSError(5, "Input/output error"), False, id="a disk that cannot be read"),
        pytest.param(MemoryError(), False, id="no memory here"),
    ],
)
def test_a_model_is_taken_from_everybody_only_for_a_fault_of_its_own(
    tmp_path: Path, error: Exception, is_blamed: bool
) -> None:
    store = fill_store(tmp_path, sighted_model(), blind_model())
    loader = ModelLoader(open_source(CHAMPION, store=tmp_path), open_predictor)
    loader.blame(loader.source.look(), error)
    assert ("rolled_back" in kinds(store)) is is_blamed
