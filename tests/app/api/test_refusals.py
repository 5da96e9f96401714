"""What the API refuses: with the right status, in one shape, as early as it can."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.api_keys import append_key, new_key
from data.images import encode_jpeg, encode_png

Serve = Callable[..., TestClient]

URL = "/v1/predictions"
PROBLEM = "application/problem+json"
GREY = np.full((60, 80, 3), 128, np.uint8)


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("recipe=lax", 404, "no recipe 'lax'; there are colours"),
        ("mm_per_px=0", 422, "query.mm_per_px"),
        ("mm_per_px=inf", 422, "query.mm_per_px"),
        ("mm_per_pixel=0.1", 422, "query.mm_per_pixel"),
        ("mask=jpeg", 422, "'png', 'rle', 'polygons' or 'none'"),
        ("weights=1,x,1", 422, "expected a number per class"),
        ("weights=0,0,0", 422, "not all of them 0"),
        ("weights=1,-1,1", 422, "expected weights of 0 to 1e+06"),
        ("weights=1,nan,1", 422, "expected weights of 0 to 1e+06"),
        ("weights=1,1e308,1", 422, "expected weights of 0 to 1e+06"),
        ("weights=1,1", 422, "2 weights for a model of 3 classes"),
        ("min_area_px=0", 422, "query.min_area_px"),
    ],
)
def test_a_query_that_cannot_be_met(
    client: TestClient, part: bytes, query: str, status: int, words: str
) -> None:
    answer = client.post(f"{URL}?{query}", content=part, headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM)
    assert words in answer.json()["detail"]
    assert answer.json()["instance"] == "mine"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"no image at all", 415),
        (encode_png(GREY)[:60], 422),
        (encode_jpeg(GREY)[:-200], 422),
    ],
    ids=["nothing", "text", "cut png", "cut jpeg"],
)
def test_a_body_that_is_no_image(client: TestClient, content: bytes, status: int) -> None:
    for answer in (client.post(URL, content=content), client.post(URL, files={"image": ("a.png", content)})):
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM)


def test_forms_without_their_image(client: TestClient, part: bytes) -> None:
    answers = (
        client.post(URL, files={"picture": ("a.png", part)}),
        client.post(URL, files={"picture": ("a.png", part), "image": ("b.png", part)}),
        client.post(URL, data={"image": "text"}, files={"other": ("a.png", part)}),
        client.post(URL, content=b"--x\r\nhalf", headers={"Content-Type": "multipart/form-data; boundary=x"}),
        client.post(URL, content=b"x", headers={"Content-Type": "multipart/form-data"}),
    )
    assert [answer.status_code for answer in answers] == [400] * len(answers)
    assert {answer.headers["Content-Type"] for answer in answers} == {PROBLEM}


def test_a_smallest_area_beside_a_recipe_of_ones_own_is_refused(
    serve: Serve, part: bytes, tmp_path: Path
) -> None:
    (tmp_path / "lax.toml").write_text('name = "lax"\n[default]\nng_area_px = 100\n')
    answer = serve(recipes_dir=tmp_path).post(f"{URL}?recipe=lax&min_area_px=5", content=part)
    assert answer.status_code == 422
    assert "limits of its own" in answer.json()["detail"]


def test_zones_of_another_image_size_are_refused(serve: Serve, part: bytes, tmp_path: Path) -> None:
    zone = 'polygon = [[0, 0], [9, 0], [9, 9]]\nunits = "px"\nsize_px = [640, 480]\n'
    (tmp_path / "zone.toml").write_text(f'name = "zone"\n[[regions_of_interest]]\n{zone}')
    answer = serve(recipe=tmp_path / "zone.toml").post(URL, content=part)
    assert answer.status_code == 422
    assert "this one has 80 x 60 px" in answer.json()["detail"]


@pytest.mark.parametrize("as_form", [False, True])
def test_bytes_and_pixels_have_their_limits(serve: Serve, as_form: bool) -> None:
    client = serve(max_bytes=1000, max_pixels=60 * 80)

    def send(content: bytes) -> int:
        if as_form:
            return client.post(URL, files={"image": ("a.png", content)}).status_code
        return client.post(URL, content=content).status_code

    assert send(encode_png(GREY)) == 200
    assert send(encode_png(np.full((60, 81, 3), 128, np.uint8))) == 413
    assert send(bytes(1001)) == 413
    assert send(bytes(100_000)) == 413


def test_the_path_and_method_have_to_be_right(client: TestClient) -> None:
    wrong = {
        "/v1/nowhere": 404,
        "/static/../../main.py": 404,
        "/v1/predictions": 405,
        "/v1/model/reload": 405,
    }
    for path, status in wrong.items():
        answer = client.get(path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM)
    assert client.get("/v1/predictions").headers["Allow"] == "POST"


@pytest.fixture
def keyed(serve: Serve, tmp_path: Path) -> tuple[TestClient, dict[str, str]]:
    """A service with a key for each scope, and those keys."""
    secrets = {}
    for scope in ("predict", "admin", "metrics"):
        secrets[scope], key = new_key(scope, scopes=[scope])
        append_key(tmp_path / "keys.txt", key)
    return serve(keys_file=tmp_path / "keys.txt"), secrets


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/predictions", "predict"),
        ("POST", "/v1/predictions/batch", "predict"),
        ("GET", "/v1/model", "predict"),
        ("GET", "/v1/recipes", "predict"),
        ("POST", "/v1/model/reload", "admin"),
        ("GET", "/metrics", "metrics"),
    ],
)
def test_each_route_asks_for_its_scope(
    keyed: tuple[TestClient, dict[str, str]], part: bytes, method: str, path: str, scope: str
) -> None:
    client, secrets = keyed
    field = {"/v1/predictions": "image", "/v1/predictions/batch": "images"}.get(path)
    files = field and {field: ("a.png", part)}

    def ask(**headers: str) -> int:
        return client.request(method, path, files=files, headers=headers).status_code

    assert ask() == 401
    for held, secret in secrets.items():
        assert ask(Authorization=f"Bearer {secret}") == (200 if held == scope else 403)
        assert ask(**{"X-API-Key": secret}) == (200 if held == scope else 403)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/app.js"])
def test_health_and_the_page_ask_for_no_key(keyed: tuple[TestClient, dict[str, str]], path: str) -> None:
    assert keyed[0].get(path).status_code == 200


def test_what_a_form_holds_beside_its_files_is_refused_rather_than_passed_over(
    client: TestClient, part: bytes
) -> None:
    scale = client.post(URL, files={"image": ("a.png", part)}, data={"mm_per_px": "0.05"})
    assert scale.status_code == 400
    assert "'mm_per_px'; expected image, all else goes into the query" in scale.json()["detail"]
    files = [("images", ("a.png", part)), ("archive", ("b.zip", part))]
    both = client.post(f"{URL}/batch", files=files)
    assert both.status_code == 400
    assert "send each archive by itself" in both.json()["detail"]
    text = client.post(f"{URL}/batch", files={"images": ("a.png", part)}, data={"images": "b.png"})
    assert text.status_code == 400
    assert "no file in the form's field `images`, but a text" in text.json()["detail"]


def test_a_batch_whose_every_image_would_fail_is_refused_at_once(client: TestClient, part: bytes) -> None:
    answer = client.post(f"{URL}/batch?weights=1,1", files={"images": ("a.png", part)})
    assert answer.status_code == 422
    assert "2 weights for a model of 3 classes" in answer.json()["detail"]


def test_names_in_a_strange_charset_cannot_break_the_answer(client: TestClient, part: bytes) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="+2AA-\\ud800"\r\n\r\n' + part
    for charset, status in (("utf-7", 200), ("unicode_escape", 200), ("undefined", 400)):
        headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
        answer = client.post(URL, content=body + b"\r\n--x--\r\n", headers=headers)
        assert answer.status_code == status, charset
        if status == 200:
            assert "\N{REPLACEMENT CHARACTER}" in answer.json()["image"]["name"]
