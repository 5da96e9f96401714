"""What the service says of itself: model, recipes, health, numbers, its description and its page."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.model_schemas import ModelResponse
from app.settings import Settings
from model.predictor import GoldenError, Predictor
from model.recipe import RecipeError

Serve = Callable[..., TestClient]


def test_the_model_is_described_without_its_golden_sample(client: TestClient, model: Path) -> None:
    answer = client.get("/v1/model").json()
    predictor = Predictor.open(model, device="cpu")
    assert (answer["name"], answer["sha256"]) == (predictor.contract.name, predictor.digest)
    assert (answer["provider"], answer["ready"]) == ("CPUExecutionProvider", True)
    assert [one["name"] for one in answer["classes"]] == ["background", "scratch", "pit"]
    assert answer["tile_px"] == 64
    assert answer["scores"]["test"]["images"] == 12
    assert "golden" not in answer
    assert ModelResponse.model_validate(answer).model_dump(mode="json") == answer


def test_a_model_replaced_on_disk_is_taken_by_a_reload(serve: Serve, model: Path, tmp_path: Path) -> None:
    served = tmp_path / "model.onnx"
    shutil.copy(model, served)
    client = serve(model=served)
    # One character of the name in its contract: the graph stays, what is told of it changes.
    served.write_bytes(model.read_bytes().replace(b'"name":"colours"', b'"name":"coloura"'))
    assert client.get("/v1/model").json()["name"] == "colours"
    assert client.post("/v1/model/reload").json()["name"] == "coloura"
    assert client.get("/v1/model").json()["name"] == "coloura"


@pytest.mark.parametrize("content", [b"", b"no model", None], ids=["empty", "text", "gone"])
def test_a_bad_model_is_refused_and_the_old_one_stays(
    serve: Serve, model: Path, part: bytes, tmp_path: Path, content: bytes | None
) -> None:
    served = tmp_path / "model.onnx"
    shutil.copy(model, served)
    client = serve(model=served)
    if content is None:
        served.unlink()
    else:
        served.write_bytes(content)
    answer = client.post("/v1/model/reload")
    assert answer.status_code == 422
    assert "the old one stays" in answer.json()["detail"]
    assert str(tmp_path) not in answer.text
    assert client.post("/v1/predictions", content=part).json()["verdict"] == "NG"


def test_a_watched_model_file_is_taken_by_itself(serve: Serve, model: Path, tmp_path: Path) -> None:
    served = tmp_path / "model.onnx"
    shutil.copy(model, served)
    client = serve(model=served, watch_model_s=0.02)
    served.write_bytes(b"half of a")
    served.write_bytes(model.read_bytes().replace(b'"name":"colours"', b'"name":"coloura"'))
    for _ in range(500):
        if client.get("/v1/model").json()["name"] == "coloura":
            return
    raise AssertionError("not noticed")


def test_recipes_are_listed_with_the_default_first(serve: Serve, tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.toml").write_text(f'name = "recipe {name}"\nmm_per_px = 0.5\n')
    (tmp_path / "readme.md").write_text("no recipe")

    def listed(client: TestClient) -> list[tuple[str, bool]]:
        return [(one["name"], one["is_default"]) for one in client.get("/v1/recipes").json()["recipes"]]

    assert listed(serve(recipes_dir=tmp_path)) == [
        ("colours", True),
        ("recipe a", False),
        ("recipe b", False),
    ]
    with_default = serve(recipes_dir=tmp_path, recipe=tmp_path / "b.toml")
    assert listed(with_default) == [("recipe b", True), ("recipe a", False)]


def test_a_recipe_that_does_not_fit_the_model_refuses_the_start(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('name = "a"\n[classes.rust]\nng_area_px = 5\n')
    app = create_app(Settings(model=model, device="cpu", recipes_dir=tmp_path))
    with pytest.raises(RecipeError, match="the model finds no 'rust'"), TestClient(app):
        pass
    assert isinstance(app.state.start_error, RecipeError)


def test_a_service_whose_model_fails_its_self_test_lives_and_is_not_ready(
    serve: Serve, part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Predictor) -> float:
        raise GoldenError("self-test failed on the moon")

    with monkeypatch.context() as broken:
        broken.setattr(Predictor, "check_golden", fail)
        client = serve()
    assert client.get("/healthz").json() == {"status": "ok"}
    for answer in (
        client.get("/readyz"),
        client.get("/v1/model"),
        client.post("/v1/predictions", content=part),
    ):
        assert answer.status_code == 503
        assert "self-test failed on the moon" in answer.json()["detail"]
    assert client.post("/v1/model/reload").status_code == 200
    assert client.get("/readyz").json() == {"ready": True, "provider": "CPUExecutionProvider"}


def test_the_numbers_count_what_was_judged(client: TestClient, part: bytes, good_part: bytes) -> None:
    for content in (part, part, good_part, b"no image"):
        client.post("/v1/predictions", content=content)
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'segnet_verdicts_total{verdict="NG"} 2.0',
        'segnet_verdicts_total{verdict="OK"} 1.0',
        'segnet_defects_total{class="pit"} 2.0',
        'segnet_requests_total{route="/v1/predictions",status="200"} 3.0',
        'segnet_requests_total{route="/v1/predictions",status="415"} 1.0',
        'segnet_stage_seconds_count{stage="inference"} 3.0',
        'segnet_stage_seconds_count{stage="decode"} 3.0',
        "segnet_batch_images_count 3.0",
        "segnet_queue_requests 0.0",
    ):
        assert line in lines
    assert any('provider="CPUExecutionProvider"' in line for line in lines)


def test_every_field_and_parameter_is_described_with_an_example(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operations = [(path, one) for path, item in document["paths"].items() for one in item.values()]
    assert {"/v1/predictions", "/v1/predictions/batch", "/v1/model", "/readyz"} <= document["paths"].keys()
    bare = []
    for path, operation in operations:
        assert operation["summary"], path
        assert operation["description"], path
        for parameter in operation.get("parameters", ()):
            bare += [f"{path} {parameter['name']}"] if not _is_told(parameter) else []
    for name, schema in document["components"]["schemas"].items():
        for field, told in schema.get("properties", {}).items():
            bare += [f"{name}.{field}"] if not _is_told(told) else []
    assert bare == []


def test_each_error_of_a_route_is_in_its_description(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    told = set(paths["/v1/predictions"]["post"]["responses"])
    assert told == {"200", "400", "401", "403", "404", "413", "415", "422", "429", "503", "504"}
    contents = paths["/v1/predictions"]["post"]["responses"]["200"]["content"]
    assert set(contents) == {"application/json", "image/png", "image/jpeg"}
    assert set(paths["/v1/predictions/batch"]["post"]["responses"]["200"]["content"]) == {
        "application/x-ndjson"
    }


def test_the_page_and_its_modules_are_served(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert client.get("/app.js").headers["Content-Type"].startswith("text/javascript")
    assert client.get("/style.css").status_code == 200


def _is_told(part: dict[str, Any]) -> bool:
    """Described, and with an example; what is made of fields that have theirs needs none of its own."""
    if "$ref" in part:
        return True
    has_example = "examples" in part or "examples" in part.get("schema", {})
    return "description" in part and (has_example or "$ref" in str(part))
