"""A small inspection for the tests of everything that is made from its rows."""

from datetime import UTC, datetime

import pytest

from app.folder.inspection import Inspection
from app.folder.tables import Facts
from data.classes import ClassMap
from data.defects import Defect


def _defect(class_id: int, *, area_px: int, centroid_xy: tuple[float, float], length_px: float) -> Defect:
    return Defect(
        class_id=class_id,
        area_px=area_px,
        box_xyxy=(10, 20, 40, 60),
        centroid_xy=centroid_xy,
        length_px=length_px,
        width_px=2.5,
        orientation_deg=45.0,
        mean_confidence=0.75,
        peak_confidence=1.0,
        touches_border=class_id == 2,
    )


@pytest.fixture
def class_map() -> ClassMap:
    return ClassMap.from_names(("background", "crack", "dent", "stain"))


@pytest.fixture
def inspections() -> tuple[Inspection, ...]:
    """Two OK, one NG with three defects, one REVIEW with one, one that could not be read; 320 x 160 px."""
    crack = _defect(1, area_px=300, centroid_xy=(159.5, 79.5), length_px=100.0)
    small = _defect(1, area_px=12, centroid_xy=(0.0, 0.0), length_px=6.0)
    dent = _defect(2, area_px=150, centroid_xy=(319.0, 159.0), length_px=20.0)
    size = {"width_px": 320, "height_px": 160}
    ng = ("2 crack up to 10 mm long, NG from 2 mm", "dent 1.5 mm² large, NG from 1 mm²")
    return (
        Inspection("a.jpg", "OK", **size, mask="masks/a.png", sha256="aa"),
        Inspection(
            "b.jpg", "NG", ng, (crack, dent, small), **size, mask="masks/b.png", overlay="overlays/b.jpg"
        ),
        Inspection("c/ä.jpg", "OK", **size, mask="masks/c/ä.png"),
        Inspection("d.jpg", "REVIEW", ("crack 0.6 mm long",), (small,), **size, mask="masks/d.png"),
        Inspection("e.jpg", "ERROR", ("a JPEG that is cut off; copy it again",)),
    )


@pytest.fixture
def facts() -> Facts:
    return Facts(
        model_name="tiles",
        model_version="7",
        model_sha256="cd",
        recipe_name="incoming",
        recipe_sha256="ef",
        provider="CPUExecutionProvider",
        started_at=datetime(2026, 3, 4, 12, 30, tzinfo=UTC),
        finished_at=datetime(2026, 3, 4, 12, 45, tzinfo=UTC),
        images_per_s=None,
    )
