"""What a contract takes, what it refuses, and that JSON does not change it."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data.classes import ClassMap
from model.contract import Contract, Decision, GoldenSample

MakeContract = Callable[..., Contract]

_finite = st.floats(allow_nan=False, allow_infinity=False)
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _finite | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def contract_fields(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of a contract, as plain values: beartype may not draw lots inside a strategy."""
    class_count = draw(st.integers(1, 5))
    stride = draw(st.sampled_from([1, 8, 32]))
    tile_px = stride * draw(st.integers(1, 20))
    weights = st.lists(st.floats(0, 1e6), min_size=class_count, max_size=class_count).filter(any)
    zones = [datetime.UTC, datetime.timezone(datetime.timedelta(hours=9))]
    return {
        "name": draw(_text.filter(bool)),
        "version": draw(st.none() | _text),
        "created_at": draw(st.datetimes(timezones=st.sampled_from(zones))),
        "classes": ClassMap.from_names([f"class {number}" for number in range(class_count)]),
        "stride": stride,
        "tile_px": tile_px,
        "halo_px": draw(st.integers(0, (tile_px - 1) // 2)),
        "decision": {"weights": tuple(draw(weights)), "min_area_px": draw(st.integers(1, 10**6))},
        "scores": {
            "val": draw(st.dictionaries(_text, _json, max_size=3)) | {"images": draw(st.integers(0, 99))}
        },
        "provenance": {
            "run": draw(_text),
            "git": draw(_text),
            "config_sha256": "",
            "data_sha256": "",
            "seed": draw(st.integers(0, 2**31)),
            "versions": draw(st.dictionaries(_text, _text, max_size=2)),
            "machine": "",
        },
        "parity": {
            "images": 1,
            "pixels": 1,
            "label_agreement": draw(st.floats(0, 1)),
            "max_probability_error": draw(st.floats(0, 1)),
        },
        "golden": GoldenSample(
            image_png=draw(st.binary(max_size=40)), labels_png=draw(st.binary(max_size=40))
        ),
        "notes": draw(st.none() | _text),
    }


@given(contract_fields())
def test_json_gives_back_the_same_contract(fields: dict[str, Any]) -> None:
    contract = Contract.model_validate(fields)
    assert Contract.model_validate_json(contract.model_dump_json()) == contract


def test_golden_bytes_are_base64_in_json(color_contract: MakeContract) -> None:
    golden = GoldenSample(image_png=b"\x89PNG", labels_png=b"")
    assert color_contract(golden=golden).model_dump(mode="json")["golden"]["image_png"] == "iVBORw=="


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"format": 2}, "format", id="another format"),
        pytest.param({"colour": "red"}, "colour", id="an unknown key"),
        pytest.param({"name": ""}, "name", id="no name"),
        pytest.param({"created_at": datetime.datetime(2026, 1, 1)}, "timezone", id="a time without zone"),
        pytest.param({"decision": Decision.neutral(2)}, "2 decision weights for 3", id="weights short"),
        pytest.param({"tile_px": 60}, "no multiple of the stride", id="a tile off the stride"),
        pytest.param({"halo_px": 32}, "leaves nothing of a tile", id="a halo as large as the tile"),
        pytest.param({"halo_px": -1}, "halo_px", id="a negative halo"),
        pytest.param({"scores": {"val": {"mean_iou": 0.5}}}, "images=None", id="scores without a count"),
        pytest.param({"scores": {"val": {"images": 1.5}}}, "images=1.5", id="half an image"),
        pytest.param({"scores": {"val": {"images": True}}}, "images=True", id="a count that is no number"),
        pytest.param(
            {"scores": {"val": {"images": 1, "classes": [{"iou": float("nan")}]}}},
            "finite",
            id="a NaN deep inside",
        ),
    ],
)
def test_a_contract_that_does_not_hold_together_is_refused(
    color_contract: MakeContract, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        color_contract(**changes)


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param((), id="none"),
        pytest.param((1.0, -0.1), id="below zero"),
        pytest.param((1.0, float("inf")), id="infinite"),
        pytest.param((1.0, float("nan")), id="not a number"),
        pytest.param((0.0, 0.0), id="all zero"),
    ],
)
def test_a_decision_refuses_weights_that_decide_nothing(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="weights"):
        Decision(weights=weights)


def test_a_decision_refuses_an_area_below_one_pixel() -> None:
    with pytest.raises(ValidationError, match="min_area_px"):
        Decision(weights=(1.0,), min_area_px=0)


def test_a_contract_cannot_be_changed_in_place(color_contract: MakeContract) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        color_contract().name = "other"
