"""Verdicts: defects of known size against rules whose outcome is worked out by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from data.classes import ClassMap
from data.defects import Defect
from data.regions import find_regions
from model.contract import Contract, Decision
from model.recipe import Recipe, default_recipe
from model.rules import Rules
from model.verdict import judge

CLASSES = ClassMap.from_names(["background", "crack", "pore"])


def crack(length_px: float = 10.0, *, area_px: int = 20, sure: float = 0.9, class_id: int = 1) -> Defect:
    return Defect(
        class_id=class_id,
        area_px=area_px,
        box_xyxy=(0, 0, 30, 30),
        centroid_xy=(3.0, 4.0),
        length_px=float(length_px),
        width_px=2.0,
        orientation_deg=0.0,
        mean_confidence=sure,
        peak_confidence=1.0,
        touches_border=False,
    )


def pore(area_px: int = 20) -> Defect:
    return crack(area_px=area_px, class_id=2)


def recipe(*, mm_per_px: float | None = 0.1, default: Rules | None = None, **rules: Any) -> Recipe:
    """A recipe with these rules for cracks."""
    classes = {"crack": Rules.model_validate(rules)}
    return Recipe(name="a", mm_per_px=mm_per_px, default=default or Rules(), classes=classes)


# One pixel is 0.1 mm wide: 32 px long are 3.2 mm, 100 px of area are 1 mm².
@pytest.mark.parametrize(
    ("rules", "defects", "verdict", "reasons"),
    [
        pytest.param({}, [], "OK", (), id="no defect"),
        pytest.param({}, [crack()], "NG", ("1 crack, NG from 1",), id="no NG limit: any defect"),
        pytest.param(
            {"ng_length_mm": 2}, [crack(32)], "NG", ("crack 3.2 mm long, NG from 2 mm",), id="too long"
        ),
        pytest.param({"ng_length_mm": 2}, [crack(20)], "NG", ("crack 2 mm long, NG from 2 mm",), id="at the limit"),
        pytest.param(
            {"ng_length_mm": 2}, [crack(19)], "OK", ("1 crack tolerated: below every limit",), id="just below"
        ),
        pytest.param(
            {"ng_length_px": 20},
            [crack(32), crack(25), crack(3)],
            "NG",
            ("2 crack up to 32 px long, NG from 20 px",),
            id="several in one line",
        ),
        pytest.param(
            {"ng_area_mm2": 1}, [crack(area_px=100)], "NG", ("crack 1 mm² large, NG from 1 mm²",), id="area at limit"
        ),
        pytest.param(
            {"ng_area_px": 100}, [crack(area_px=1234)], "NG", ("crack 1234 px large, NG from 100 px",), id="px"
        ),
        pytest.param({"ng_count": 3}, [crack()] * 2, "OK", ("2 crack tolerated: below every limit",), id="few"),
        pytest.param({"ng_count": 3}, [crack()] * 3, "NG", ("3 crack, NG from 3",), id="many"),
        pytest.param(
            {"ng_total_area_mm2": 0.5},
            [crack(area_px=30), crack(area_px=22)],
            "NG",
            ("crack 0.52 mm² in total, NG from 0.5 mm²",),
            id="in total",
        ),
        pytest.param(
            {"ng_total_area_px": 53, "ng_length_mm": 2, "ng_count": 2},
            [crack(32, area_px=30), crack(area_px=22)],
            "NG",
            ("crack 3.2 mm long, NG from 2 mm", "2 crack, NG from 2"),
            id="a line for each rule that was reached",
        ),
        pytest.param(
            {"ignore_below_area_px": 4, "ng_count": 1},
            [crack(area_px=3), crack(area_px=2)],
            "OK",
            ("2 crack smaller than 4 px ignored",),
            id="ignored by area",
        ),
        pytest.param(
            {"ignore_below_area_px": 4, "ignore_below_length_mm": 0.5, "ng_count": 2},
            [crack(area_px=3), crack(4.9), crack(5)],
            "OK",
            (
                "1 crack smaller than 4 px ignored",
                "1 crack shorter than 0.5 mm ignored",
                "1 crack tolerated: below every limit",
            ),
            id="ignored by either, the rest tolerated",
        ),
        pytest.param(
            {"never_ng": True}, [crack(99)], "OK", ("1 crack tolerated: never NG",), id="never NG"
        ),
        pytest.param(
            {"review_length_mm": 1, "ng_length_mm": 2},
            [crack(15)],
            "REVIEW",
            ("crack 1.5 mm long, REVIEW from 1 mm",),
            id="between REVIEW and NG",
        ),
        pytest.param(
            {"review_length_mm": 1, "ng_length_mm": 2},
            [crack(15), crack(21)],
            "NG",
            ("crack 2.1 mm long, NG from 2 mm",),
            id="NG outweighs REVIEW",
        ),
        pytest.param(
            {"never_ng": True, "review_area_px": 20}, [crack()], "REVIEW", ("crack 20 px large, REVIEW from 20 px",),
            id="REVIEW at most",
        ),
    ],
)  # fmt: skip
def test_the_verdict_and_its_reasons_follow_from_the_rules(
    rules: dict[str, Any], defects: list[Defect], verdict: str, reasons: tuple[str, ...]
) -> None:
    ruling = judge(defects, recipe=recipe(**rules), class_map=CLASSES)
    assert (ruling.verdict, ruling.reasons) == (verdict, reasons)


@pytest.mark.parametrize(
    ("rules", "defects", "verdict", "reasons"),
    [
        pytest.param(
            {"ng_length_mm": 2},
            [crack(32, sure=0.599)],
            "REVIEW",
            ("crack 3.2 mm long, NG from 2 mm, but only 59 % sure, NG needs 60 %",),
            id="the only one is unsure",
        ),
        pytest.param(
            {"ng_length_mm": 2}, [crack(32, sure=0.6)], "NG", ("crack 3.2 mm long, NG from 2 mm",), id="sure enough"
        ),
        pytest.param(
            {"ng_length_mm": 2}, [crack(9, sure=0.1)], "OK", ("1 crack tolerated: below every limit",), id="harmless"
        ),
        pytest.param(
            {"ng_length_mm": 2},
            [crack(32, sure=0.1), crack(21, sure=0.2)],
            "REVIEW",
            ("2 crack up to 3.2 mm long, NG from 2 mm, but 2 of them less than 60 % sure",),
            id="two are unsure",
        ),
        pytest.param(
            {"ng_length_mm": 2},
            [crack(32, sure=0.1), crack(21)],
            "NG",
            ("crack 2.1 mm long, NG from 2 mm",),
            id="the shorter one is sure",
        ),
        pytest.param(
            {"ng_count": 3},
            [crack(), crack(), crack(sure=0.3)],
            "REVIEW",
            ("3 crack, NG from 3, but 1 of them less than 60 % sure",),
            id="a count that needs the unsure one",
        ),
        pytest.param(
            {"ng_total_area_px": 40, "review_area_px": 30},
            [crack(area_px=30), crack(area_px=10, sure=0.3)],
            "REVIEW",
            (
                "crack 40 px in total, NG from 40 px, but 1 of them less than 60 % sure",
                "crack 30 px large, REVIEW from 30 px",
            ),
            id="a sum that needs the unsure one, and a limit for REVIEW",
        ),
    ],
)  # fmt: skip
def test_what_the_model_is_not_sure_of_is_for_a_person_to_see(
    rules: dict[str, Any], defects: list[Defect], verdict: str, reasons: tuple[str, ...]
) -> None:
    ruling = judge(defects, recipe=recipe(**rules, review_below_confidence=0.6), class_map=CLASSES)
    assert (ruling.verdict, ruling.reasons) == (verdict, reasons)


def test_the_worst_class_decides_and_gives_the_reasons() -> None:
    rules = recipe(ng_length_px=99, default=Rules(ng_area_px=50))
    ruling = judge([pore(60), crack(), pore(7)], recipe=rules, class_map=CLASSES)
    assert ruling.verdict == "NG"
    assert ruling.reasons == ("pore 60 px large, NG from 50 px",)


def test_counted_defects_keep_their_order() -> None:
    big, middle, small = pore(60), crack(area_px=30), pore(7)
    rules = recipe(ng_count=9, default=Rules(ignore_below_area_px=10))
    assert judge([big, middle, small], recipe=rules, class_map=CLASSES).counted == (big, middle)


def test_a_defect_of_a_background_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"class \[0\]; expected one of \[1, 2\]"):
        judge([crack(class_id=0)], recipe=recipe(), class_map=CLASSES)


@pytest.mark.parametrize("sides_px", [(), (3,), (3, 3), (4,), (2, 9)], ids=str)
def test_the_default_recipe_calls_ng_what_evaluate_calls_ng(
    color_contract: Callable[..., Contract], sides_px: tuple[int, ...]
) -> None:
    """`segnet evaluate` calls an image NG when it holds a region of the least area."""
    contract = color_contract(decision=Decision(weights=(1, 1, 1), min_area_px=12))
    labels = np.zeros((10, 40), np.uint8)
    for at, side_px in enumerate(sides_px):
        labels[:side_px, 20 * at : 20 * at + side_px] = 1 + at
    regions = find_regions(labels, class_ids=contract.classes.defect_ids)
    defects = [crack(area_px=region.area_px, class_id=region.class_id) for region in regions]
    ruling = judge(defects, recipe=default_recipe(contract), class_map=contract.classes)
    counted = find_regions(labels, class_ids=contract.classes.defect_ids, min_area_px=12)
    assert (ruling.verdict == "NG") == bool(counted) == (max(sides_px, default=0) >= 4)
    assert [defect.area_px for defect in ruling.counted] == [region.area_px for region in counted]
