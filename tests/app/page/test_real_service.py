"""The page before the real service: its policy, its answers and its errors are those that the page was made for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from app.main import create_app
from app.settings import Settings
from data.images import encode_png


def test_the_real_service_and_the_page_understand_each_other(
    repository: Path, serve: Callable[[Any], str], open_desk: Callable[..., "Desk"]
) -> None:
    # The stored model finds what is red: here 100 x 20 px of it.
    model = repository / "tests" / "promises" / "format_1.onnx"
    image = np.full((100, 200, 3), 128, np.uint8)
    image[40:60, 50:150] = (255, 0, 0)
    desk = open_desk(url=serve(create_app(Settings(model=model, device="cpu", threads=1))))
    desk.service.parts = {"red.png": (encode_png(image), None), "broken.png": (b"no image at all", None)}
    desk.drop("red.png", "broken.png")
    assert desk.verdict.split("\n")[0] in ("OK", "NG", "REVIEW")
    (row,) = desk.page.locator("#defects tbody tr").all_inner_texts()
    assert row.split()[:2] == ["1", "scratch"]
    assert desk.page.locator("#recipe option").count() == 1
    desk.set_opacity(100)
    desk.page.locator("#defects tbody tr").click()
    box = desk.page.locator("#stage").bounding_box()
    assert desk.color_at(box["width"] / 2, box["height"] / 2) == (255, 64, 64)
    desk.page.keyboard.press("PageDown")
    assert desk.verdict == "This is no image that can be inspected"
    assert len(desk.page.locator("#verdict code").inner_text()) == 32
