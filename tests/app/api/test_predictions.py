"""`POST /v1/predictions`: one image in, and the same mask, defects and verdict that every other road gives."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.folder.inspector import Inspector
from app.folder.sources import open_source
from app.schemas import PredictionResponse
from data.images import encode_png, read_image
from data.masks import Polygon, encode_labels, from_rle, overlay, polygons_to_mask, read_labels
from model.predictor import Predictor
from model.recipe import default_recipe

Serve = Callable[..., TestClient]

URL = "/v1/predictions"


def predict(client: TestClient, content: bytes, **query: object) -> dict[str, Any]:
    answer = client.post(URL, content=content, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_the_mask_is_byte_for_byte_that_of_folder_inspection(
    client: TestClient, model: Path, part: bytes, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "part.png").write_bytes(part)
    predictor = Predictor.open(model, device="cpu", threads=1)
    source = open_source(str(tmp_path / "in"), skip_below=tmp_path / "out")
    inspector = Inspector(source, predictor, default_recipe(predictor.contract), tmp_path / "out")
    (file,) = source.list_files()
    row = inspector.inspect(file, stem="part")
    written = (tmp_path / "out" / "masks" / "part.png").read_bytes()
    answer = predict(client, part)
    assert base64.b64decode(answer["mask"]["data"]) == written
    assert (answer["verdict"], tuple(answer["reasons"])) == (row.verdict, row.reasons)
    assert [defect["area_px"] for defect in answer["defects"]] == [defect.area_px for defect in row.defects]


@pytest.mark.parametrize("size_hw", [(1, 1), (64, 64), (65, 63), (300, 500)])
def test_images_of_any_size_get_the_labels_of_the_predictor(
    client: TestClient, model: Path, size_hw: tuple[int, int]
) -> None:
    random = np.random.default_rng(seed=5)
    image = random.choice(np.array([(128, 128, 128), (255, 0, 0), (0, 0, 255)], np.uint8), size=size_hw)
    predictor = Predictor.open(model, device="cpu", threads=1)
    expected = encode_labels(predictor.predict(image).labels, predictor.contract.classes)
    answer = client.post(URL, content=encode_png(image), headers={"Accept": "image/png"})
    assert answer.content == expected


def test_what_is_measured_is_what_was_drawn(client: TestClient, part: bytes) -> None:
    answer = predict(client, part, mm_per_px=0.5)
    pit, scratch = answer["defects"]
    assert (pit["number"], pit["class"], pit["class_id"], pit["area_px"]) == (1, "pit", 2, 196)
    assert (scratch["number"], scratch["class"], scratch["area_px"]) == (2, "scratch", 96)
    assert pit["box_px"] == [30, 40, 50, 50]
    assert pit["centroid_px"] == [39.5, 44.5]
    assert pit["area_mm2"] == 196 / 4
    assert pit["length_mm"] == pit["length_px"] / 2
    assert pit["width_mm"] == pit["width_px"] / 2
    assert pit["touches_border"] is False
    assert [(one["name"], one["pixels"], one["area_mm2"]) for one in answer["classes"]] == [
        ("background", 4800 - 292, (4800 - 292) / 4),
        ("scratch", 96, 24.0),
        ("pit", 196, 49.0),
    ]
    assert answer["classes"][1]["share"] == 96 / 4800
    assert (answer["verdict"], answer["mm_per_px"]) == ("NG", 0.5)


def test_without_a_scale_there_are_no_millimetres(client: TestClient, part: bytes) -> None:
    answer = predict(client, part)
    assert answer["mm_per_px"] is None
    for found in (*answer["defects"], *answer["classes"]):
        assert {found[key] for key in found if "mm" in key} == {None}


def test_the_answer_says_what_was_sent_and_what_judged(client: TestClient, model: Path, part: bytes) -> None:
    answer = client.post(
        URL, files={"image": ("tray 1/part.png", part)}, headers={"X-Request-ID": "mine"}
    ).json()
    assert answer["id"] == "mine"
    assert answer["image"] == {
        "name": "tray 1/part.png",
        "format": "PNG",
        "width_px": 80,
        "height_px": 60,
        "bit_depth": 8,
        "exif_orientation": None,
        "sha256": hashlib.sha256(part).hexdigest(),
        "bytes": len(part),
    }
    digest = Predictor.open(model, device="cpu").digest
    assert answer["model"] == {"name": "colours", "version": "", "sha256": digest}
    assert answer["provider"] == "CPUExecutionProvider"
    assert set(answer["timings_ms"]) == {"decode", "queue", "inference", "measure", "encode", "total"}
    spent = answer["timings_ms"]
    assert 0 < sum(ms for stage, ms in spent.items() if stage != "total") <= spent["total"]


def test_a_form_and_a_raw_body_of_any_type_are_one(client: TestClient, part: bytes) -> None:
    answers = [client.post(URL, files={"image": ("part.png", part, "text/html")}).json()]
    for content_type in ("image/png", "image/jpeg", "application/octet-stream", "application/json", ""):
        answers.append(client.post(URL, content=part, headers={"Content-Type": content_type}).json())
    for answer in answers:
        assert answer["mask"] == answers[0]["mask"]
        assert answer["defects"] == answers[0]["defects"]


@pytest.mark.parametrize("encoding", ["rle", "polygons"])
def test_each_encoding_of_the_mask_holds_the_same_pixels(
    client: TestClient, part: bytes, encoding: str
) -> None:
    labels = read_labels(base64.b64decode(predict(client, part)["mask"]["data"]))
    mask = predict(client, part, mask=encoding)["mask"]
    assert mask["encoding"] == encoding
    rebuilt = np.zeros_like(labels)
    if encoding == "rle":
        for rle in mask["rles"]:
            rebuilt[from_rle(rle)] = rle["class_id"]
    else:
        for one in mask["polygons"]:
            outline, *holes = (np.array(ring) for ring in one["rings"])
            polygon = Polygon(outline, tuple(holes))
            rebuilt[polygons_to_mask([polygon], size_hw=labels.shape)] = one["class_id"]
    assert np.array_equal(rebuilt, labels)


def test_who_wants_no_mask_gets_none(client: TestClient, part: bytes) -> None:
    assert predict(client, part, mask="none")["mask"] is None


def test_an_overlay_is_the_image_with_its_defects_tinted(
    client: TestClient, model: Path, part: bytes
) -> None:
    answer = client.post(URL, content=part, headers={"Accept": "image/jpeg"})
    assert answer.headers["Content-Type"] == "image/jpeg"
    predictor = Predictor.open(model, device="cpu", threads=1)
    image = read_image(part)
    tinted = overlay(image, predictor.predict(image).labels, predictor.contract.classes)
    assert np.abs(read_image(answer.content).astype(int) - tinted).mean() < 3


def test_an_image_no_jpeg_can_hold_still_gets_its_mask(client: TestClient) -> None:
    wide = encode_png(np.full((1, 65_536, 3), 128, np.uint8))
    refused = client.post(URL, content=wide, headers={"Accept": "image/jpeg"})
    assert refused.status_code == 422
    assert "ask for image/png" in refused.json()["detail"]
    assert client.post(URL, content=wide, headers={"Accept": "image/png"}).status_code == 200


def test_weights_stand_in_for_the_models_own(client: TestClient, part: bytes) -> None:
    answer = predict(client, part, weights="1,0,1")
    assert [one["pixels"] for one in answer["classes"]][1:] == [0, 196]
    assert [defect["class"] for defect in answer["defects"]] == ["pit"]


@pytest.mark.parametrize(
    ("min_area_px", "found", "verdict"),
    [(96, ["pit", "scratch"], "NG"), (97, ["pit"], "NG"), (197, [], "OK")],
)
def test_a_smallest_area_decides_what_is_a_defect(
    client: TestClient, part: bytes, min_area_px: int, found: list[str], verdict: str
) -> None:
    answer = predict(client, part, min_area_px=min_area_px)
    assert [defect["class"] for defect in answer["defects"]] == found
    assert answer["verdict"] == verdict


def test_a_request_may_name_its_recipe(serve: Serve, part: bytes, tmp_path: Path) -> None:
    (tmp_path / "lax.toml").write_text('name = "lax"\nmm_per_px = 0.1\n[default]\nng_area_mm2 = 1.5\n')
    client = serve(recipes_dir=tmp_path)
    own, lax = predict(client, part), predict(client, part, recipe="lax")
    assert (own["verdict"], own["recipe"]["name"]) == ("NG", "colours")
    # The pit has 196 px of 0.01 mm².
    assert (lax["verdict"], lax["recipe"]["name"]) == ("NG", "lax")
    assert lax["reasons"] == ["pit 1.96 mm² large, NG from 1.5 mm²"]
    assert predict(client, part, recipe="lax", mm_per_px=0.05)["verdict"] == "OK"


def test_the_answer_is_what_the_schema_says(client: TestClient, part: bytes) -> None:
    for encoding in ("png", "rle", "polygons", "none"):
        answer = predict(client, part, mask=encoding)
        again = PredictionResponse.model_validate(answer).model_dump(mode="json")
        assert again == answer
