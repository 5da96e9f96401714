"""A service whose model is the champion of a store."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from ..models import (
    blind_model,
    block_writing,
    clumsy_model,
    fill_store,
    lying_model,
    promote,
    renamed_model,
    sighted_model,
    trap,
)

Serve = Callable[..., TestClient]


def serve_champion(serve: Serve, store: Path, **settings: object) -> TestClient:
    return serve(model="store://champion", store=store, **settings)


def outcomes(client: TestClient) -> dict[str, int]:
    lines = client.get("/metrics").text.splitlines()
    told = [
        line.split('outcome="')[1].split('"} ') for line in lines if line.startswith("segnet_models_total")
    ]
    return {outcome: int(float(count)) for outcome, count in told}


def test_the_model_is_told_with_its_version(serve: Serve, tmp_path: Path) -> None:
    fill_store(tmp_path, blind_model(), sighted_model())
    told = serve_champion(serve, tmp_path).get("/v1/model").json()
    assert (told["name"], told["store_version"]) == ("sighted", "v2")


def test_a_model_of_a_file_has_no_version(client: TestClient) -> None:
    assert client.get("/v1/model").json()["store_version"] is None


def test_a_reload_takes_the_champion_of_now(serve: Serve, tmp_path: Path) -> None:
    store = fill_store(tmp_path, sighted_model())
    client = serve_champion(serve, tmp_path, watch_model_s=0)
    promote(store, blind_model())
    assert client.post("/v1/model/reload").json()["store_version"] == "v2"
    store.roll_back(by="a test", reason="it is blind")
    assert client.post("/v1/model/reload").json()["store_version"] == "v1"
    assert outcomes(client) == {"swapped": 2, "refused": 0, "fell_back": 0}


def test_a_champion_that_fails_its_self_test_is_refused_and_rolled_back(serve: Serve, tmp_path: Path) -> None:
    store = fill_store(tmp_path, sighted_model())
    client = serve_champion(serve, tmp_path, watch_model_s=0)
    promote(store, lying_model())
    refused = client.post("/v1/model/reload")
    assert (refused.status_code, "self-test failed" in refused.json()["detail"]) == (422, True)
    assert client.get("/v1/model").json()["store_version"] == "v1"
    assert client.get("/readyz").status_code == 200
    assert store.champion == store.resolve("v1")
    event = store.history()[-1]
    assert (event.kind, event.version) == ("rolled_back", 2)
    assert "self-test failed" in event.reason
    assert outcomes(client) == {"swapped": 0, "refused": 1, "fell_back": 0}


def test_a_champion_that_fails_at_work_is_rolled_back_and_the_request_is_answered(
    serve: Serve, part: bytes, tmp_path: Path
) -> None:
    store = fill_store(tmp_path, sighted_model())
    client = serve_champion(serve, tmp_path, watch_model_s=0)
    promote(store, clumsy_model())
    client.post("/v1/model/reload")
    assert client.post("/v1/predictions", content=part).json()["model"]["name"] == "clumsy"
    answer = client.post("/v1/predictions", content=trap())
    assert (answer.status_code, answer.json()["model"]["name"]) == (200, "sighted")
    assert client.get("/v1/model").json()["store_version"] == "v1"
    _wait_until(lambda: store.champion == store.resolve("v1"))
    assert "failed at one of its first images" in store.history()[-1].reason
    assert outcomes(client) == {"swapped": 1, "refused": 0, "fell_back": 1}


def test_without_probation_what_fails_at_work_fails(serve: Serve, tmp_path: Path) -> None:
    store = fill_store(tmp_path, sighted_model())
    client = serve_champion(serve, tmp_path, watch_model_s=0, probation_images=0)
    promote(store, clumsy_model())
    client.post("/v1/model/reload")
    assert client.post("/v1/predictions", content=trap()).status_code == 500
    assert client.get("/v1/model").json()["store_version"] == "v2"


def test_a_store_that_cannot_be_written_keeps_its_champion_and_the_old_model_serves(
    serve: Serve, part: bytes, tmp_path: Path
) -> None:
    store = fill_store(tmp_path, sighted_model())
    client = serve_champion(serve, tmp_path, watch_model_s=0)
    promote(store, lying_model())
    block_writing(tmp_path)
    assert client.post("/v1/model/reload").status_code == 422
    assert client.post("/v1/predictions", content=part).json()["model"]["name"] == "sighted"
    assert store.champion == store.resolve("v2")


@pytest.mark.parametrize("writable", [True, False])
def test_a_start_with_a_bad_champion_serves_the_one_before(
    serve: Serve, part: bytes, tmp_path: Path, writable: bool
) -> None:
    store = fill_store(tmp_path, sighted_model(), lying_model())
    if not writable:
        block_writing(tmp_path)
    client = serve_champion(serve, tmp_path, watch_model_s=0)
    assert client.post("/v1/predictions", content=part).json()["model"]["name"] == "sighted"
    assert client.get("/v1/model").json()["store_version"] == "v1"
    assert store.champion == store.resolve("v1" if writable else "v2")


def test_a_machine_on_which_nothing_works_rolls_nothing_back(serve: Serve, tmp_path: Path) -> None:
    store = fill_store(tmp_path, lying_model())
    client = serve_champion(serve, tmp_path, watch_model_s=0)
    promote(store, clumsy_model())
    promote(store, lying_model(name="lying again"))
    assert client.post("/v1/model/reload").status_code == 422
    assert client.get("/readyz").status_code == 503
    assert store.champion == store.resolve("v3")


def test_a_recipe_that_does_not_fit_a_champion_is_no_reason_to_roll_back(
    serve: Serve, tmp_path: Path
) -> None:
    store = fill_store(tmp_path / "store", sighted_model())
    (tmp_path / "recipe.toml").write_text('name = "a"\n[classes.scratch]\nng_area_px = 5\n')
    client = serve_champion(serve, tmp_path / "store", recipe=tmp_path / "recipe.toml", watch_model_s=0)
    promote(store, renamed_model())
    refused = client.post("/v1/model/reload")
    assert (refused.status_code, "finds no 'scratch'" in refused.json()["detail"]) == (422, True)
    assert store.champion == store.resolve("v2")
    assert client.get("/v1/model").json()["store_version"] == "v1"


def test_a_store_that_is_empty_is_waited_for(serve: Serve, tmp_path: Path) -> None:
    store = fill_store(tmp_path)
    client = serve_champion(serve, tmp_path, watch_model_s=0.02)
    waiting = client.get("/readyz")
    assert (waiting.status_code, "no champion yet" in waiting.json()["detail"]) == (503, True)
    promote(store, lying_model())
    _wait_until(lambda: "self-test failed" in client.get("/readyz").json()["detail"])
    promote(store, sighted_model())
    _wait_until(lambda: client.get("/readyz").status_code == 200)
    assert client.get("/v1/model").json()["store_version"] == "v2"


def _wait_until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s, "it never came to that"
        time.sleep(0.01)
