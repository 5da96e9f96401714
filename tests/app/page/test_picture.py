"""The picture on the operator's page, checked by the pixels it shows, and the files it hands out."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from data.images import read_image
from data.masks import overlay, read_labels
from data.synthetic import SYNTHETIC_CLASSES

PIT = SYNTHETIC_CLASSES.classes[SYNTHETIC_CLASSES.index_of("pit")].color


def _middle_of(desk: "Desk", number: int = 1) -> tuple[float, float]:
    """Where the middle of that pit, which is a filled spot, lies on the stage shown whole."""
    x, y = desk.service.answers[-1]["defects"][number - 1]["centroid_px"]
    return desk.fitted(round(x), round(y))


def _click(desk: "Desk", x: float, y: float) -> None:
    desk.page.locator("#stage").click(position={"x": x, "y": y})
    desk.frame()


def _chosen_row(desk: "Desk") -> str | None:
    row = desk.page.locator("#defects tr[aria-current]")
    return row.locator("button").inner_text() if row.count() else None


def test_the_mask_lies_exactly_over_its_defects_and_the_surface_stays_as_it_is(desk: "Desk") -> None:
    desk.drop("pits.png")
    desk.page.locator("#numbers").uncheck()
    desk.set_opacity(100)
    _, part = desk.service.parts["pits.png"]
    shown = [
        (x, y, desk.color_at(*desk.fitted(x, y)), part.labels[y, x])
        for y in range(4, 300, 25)
        for x in range(100, 470, 30)
    ]
    pits = [desk.service.answers[0]["defects"][at]["centroid_px"] for at in (0, 1)]
    for x, y in ((round(x), round(y)) for x, y in pits):
        shown.append((x, y, desk.color_at(*desk.fitted(x, y)), part.labels[y, x]))
    for x, y, color, label in shown:
        if label:
            assert color == PIT
        else:
            # Drawn larger and smoothed: near to what the camera saw, and far from any class colour.
            around = part.image[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].reshape(-1, 3).astype(int)
            assert (np.array(color) >= around.min(0) - 6).all()
            assert (np.array(color) <= around.max(0) + 6).all()
    assert sum(label > 0 for *_, label in shown) >= 2


def test_the_opacity_mixes_mask_and_picture(desk: "Desk") -> None:
    desk.drop("pits.png")
    at = _middle_of(desk)
    desk.set_opacity(0)
    bare = desk.color_at(*at)
    desk.set_opacity(50)
    half = np.array(desk.color_at(*at), int)
    assert np.abs(half - (np.array(bare) + np.array(PIT)) / 2).max() <= 2


def test_the_key_m_hides_the_mask_and_shows_it_again(desk: "Desk") -> None:
    desk.drop("pits.png")
    desk.set_opacity(100)
    at = _middle_of(desk)
    desk.page.locator("#stage").focus()
    desk.page.keyboard.press("m")
    assert desk.color_at(*at) != PIT
    desk.page.keyboard.press("m")
    assert desk.color_at(*at) == PIT


def test_a_class_switched_off_leaves_the_picture_and_stays_off_for_the_next_image(desk: "Desk") -> None:
    desk.drop("scratch.png", "pits.png")
    desk.set_opacity(100)
    desk.page.get_by_role("checkbox", name="pit").uncheck()
    faded = desk.page.locator("#defects tr.absent")
    assert {faded.nth(at).get_attribute("data-class") for at in range(faded.count())} == {"pit"}
    desk.page.get_by_role("button", name="Next image").click()
    desk.settle()
    assert not desk.page.get_by_role("checkbox", name="pit").is_checked()
    assert desk.color_at(*_middle_of(desk)) != PIT
    _click(desk, *_middle_of(desk))
    assert _chosen_row(desk) is None
    desk.page.get_by_role("checkbox", name="pit").check()
    assert desk.color_at(*_middle_of(desk)) == PIT


def test_a_row_leads_to_its_defect_close_up_and_framed(desk: "Desk") -> None:
    desk.drop("pits.png")
    desk.set_opacity(100)
    before = desk.zoom
    desk.page.locator("#defects tbody tr").nth(1).click()
    assert _chosen_row(desk) == "2"
    assert int(desk.zoom.rstrip("%").replace(",", "")) > 2 * int(before.rstrip("%"))
    frame = """() => {
      const stage = document.querySelector("#stage");
      const { data, width } = stage.getContext("2d").getImageData(0, 0, stage.width, stage.height);
      const whites = [];
      for (let at = 0; at < data.length; at += 4) {
        if (data[at] + data[at + 1] + data[at + 2] === 765) whites.push([(at / 4) % width, Math.floor(at / 4 / width)]);
      }
      return whites;
    }"""
    desk.page.locator("#numbers").uncheck()
    desk.frame()
    whites = np.array(desk.page.evaluate(frame))
    # The scale bar is white as well, and lies in the lower left corner.
    whites = whites[
        (whites[:, 0] > 180) | (whites[:, 1] < desk.page.locator("#stage").bounding_box()["height"] - 60)
    ]
    (left, top), (right, bottom) = whites.min(0), whites.max(0)
    assert desk.color_at((left + right) / 2, (top + bottom) / 2) == PIT
    box = desk.service.answers[0]["defects"][1]["box_px"]
    width, height = box[2] - box[0], box[3] - box[1]
    assert (right - left - 16) / (bottom - top - 16) == pytest.approx(width / height, rel=0.1)
    desk.page.keyboard.press("Escape")
    assert _chosen_row(desk) is None


def test_a_defect_in_the_picture_leads_to_its_row(desk: "Desk") -> None:
    desk.drop("pits.png")
    for number in (2, 1):
        _click(desk, *_middle_of(desk, number))
        assert _chosen_row(desk) == str(number)
        assert desk.page.locator("#chosen").inner_text().startswith(f"{number} · pit · ")
    x, y = _middle_of(desk)
    _click(desk, x, y - 60 if y > 100 else y + 60)
    assert _chosen_row(desk) is None


def test_where_the_table_lies_below_the_picture_each_leads_to_the_other(
    open_desk: Callable[..., "Desk"],
) -> None:
    desk = open_desk(viewport={"width": 768, "height": 700}, has_touch=True)
    desk.drop("pits.png")
    in_sight = """selector => {
      const { top, bottom } = document.querySelector(selector).getBoundingClientRect();
      return top >= 0 && bottom <= innerHeight;
    }"""
    desk.page.locator("#defects tbody tr").first.click()
    assert desk.page.evaluate(in_sight, "#stage")
    _click(desk, 5, 5)
    desk.page.keyboard.press("0")
    _click(desk, *_middle_of(desk, 2))
    assert desk.page.evaluate(in_sight, "#stage")
    desk.page.locator("#chosen").click()
    assert desk.page.evaluate(in_sight, "#defects tr[aria-current]")
    assert desk.page.evaluate("document.activeElement.textContent") == "2"


def test_of_two_defects_whose_boxes_overlap_the_one_is_found_whose_pixel_it_is(desk: "Desk") -> None:
    # Pixel (2, 1) is of the large one, and lies in the small one's box.
    drawn = ["1.1111111", "1.1.....1", "1.1.....1", "1.......1", "11111...1", *["........1"] * 4]
    script = """async (drawn) => {
      const { defectAt } = await import("./hit.js");
      const ids = Uint8Array.from(drawn.join(""), (one) => (one === "1" ? 1 : 0));
      const defects = [
        { number: 1, class_id: 1, area_px: 17, box_px: [2, 0, 9, 9] },
        { number: 2, class_id: 1, area_px: 9, box_px: [0, 0, 5, 5] },
      ];
      const shown = new Uint8Array(256).fill(1, 1);
      const mask = { width: 9, height: 9, ids };
      const at = (x, y, reachPx = 0) => defectAt({ x, y }, { mask, defects, shown, reachPx })?.number ?? null;
      return [at(2.5, 1.5), at(0.5, 2.5), at(8.9, 8.9), at(5.5, 5.5), at(1.5, 3.5, 1), at(20, 20, 1)];
    }"""
    assert desk.page.evaluate(script, drawn) == [1, 2, 1, None, 2, None]


def test_keys_zoom_move_and_fit(desk: "Desk") -> None:
    desk.drop("pits.png")
    fitted, at = desk.zoom, _middle_of(desk)
    desk.set_opacity(100)
    desk.page.locator("#stage").focus()
    for _ in range(6):
        desk.page.keyboard.press("+")
    assert desk.zoom != fitted
    assert desk.color_at(*at) != PIT
    moved = desk.color_at(300, 200)
    desk.page.keyboard.press("ArrowRight")
    assert desk.color_at(240, 200) == moved
    desk.page.keyboard.press("-")
    desk.page.keyboard.press("0")
    assert desk.zoom == fitted
    assert desk.color_at(*at) == PIT


def test_the_wheel_zooms_about_the_pointer_and_a_drag_moves(desk: "Desk") -> None:
    desk.drop("pits.png")
    desk.set_opacity(100)
    fitted, (x, y) = desk.zoom, _middle_of(desk)
    box = desk.page.locator("#stage").bounding_box()
    desk.page.mouse.move(box["x"] + x, box["y"] + y)
    desk.page.mouse.wheel(0, -700)
    assert desk.zoom != fitted
    assert desk.color_at(x, y) == PIT
    desk.page.mouse.down()
    desk.page.mouse.move(box["x"] + x + 40, box["y"] + y + 8, steps=4)
    desk.page.mouse.up()
    assert desk.color_at(x + 40, y + 8) == PIT
    assert _chosen_row(desk) is None


def test_two_fingers_zoom_about_their_middle(open_desk: Callable[..., "Desk"]) -> None:
    desk = open_desk(viewport={"width": 768, "height": 1024}, has_touch=True)
    desk.drop("pits.png")
    desk.set_opacity(100)
    fitted, (x, y) = desk.zoom, _middle_of(desk)
    box = desk.page.locator("#stage").bounding_box()
    touch = desk.page.context.new_cdp_session(desk.page)
    for apart in (20, 40, 60):
        points = [{"x": box["x"] + x + side * apart, "y": box["y"] + y, "id": side + 1} for side in (-1, 1)]
        kind = "touchStart" if apart == 20 else "touchMove"
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert int(desk.zoom.rstrip("%")) == pytest.approx(3 * int(fitted.rstrip("%")), rel=0.06)
    assert desk.color_at(x, y) == PIT
    assert _chosen_row(desk) is None


def _download(desk: "Desk", name: str) -> tuple[str, bytes]:
    with desk.page.expect_download() as waiting:
        desk.page.get_by_role("button", name=name, exact=True).click()
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def test_mask_overlay_and_result_come_as_files(desk: "Desk") -> None:
    desk.drop("pits.png")
    desk.set_opacity(50)
    _, part = desk.service.parts["pits.png"]
    name, mask = _download(desk, "Mask")
    assert name == "pits_mask.png"
    assert mask == base64.b64decode(desk.service.answers[0]["mask"]["data"])
    assert (read_labels(mask) == part.labels).all()
    name, jpeg = _download(desk, "Overlay")
    assert name == "pits_overlay.jpg"
    wanted = overlay(part.image, part.labels, SYNTHETIC_CLASSES, 0.5).astype(int)
    assert np.abs(read_image(jpeg).astype(int) - wanted).mean() < 3
    name, result = _download(desk, "JSON")
    assert name == "pits.json"
    assert json.loads(result) == json.loads(json.dumps(desk.service.answers[0]))


def test_a_file_that_the_browser_cannot_show_is_shown_as_the_service_draws_it(desk: "Desk") -> None:
    _, part = desk.service.parts["pits.png"]
    file = io.BytesIO()
    Image.fromarray(part.image).save(file, "TIFF")
    desk.service.parts = desk.service.parts | {"pits.tif": (file.getvalue(), part)}
    desk.drop("pits.tif")
    assert [one["accept"] for one in desk.service.asked] == ["application/json", "image/jpeg"]
    assert "drawn by the service" in desk.page.locator("#no-preview:visible").inner_text()
    _click(desk, *_middle_of(desk))
    assert _chosen_row(desk) == "1"


def _png(ids: np.ndarray, *, bit_depth: int) -> bytes:
    """An indexed PNG that uses the five filters in turn, row by row."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    height, width = ids.shape
    bits = np.unpackbits(ids[..., None], axis=2)[..., 8 - bit_depth :].reshape(height, -1)
    rows = np.packbits(bits, axis=1).astype(int)
    padded = np.pad(rows, ((1, 0), (1, 0)))
    left, up, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    paeth_of = np.stack([left, up, corner])
    nearest = np.abs(paeth_of - (left + up - corner)).argmin(0)
    paeth = np.take_along_axis(paeth_of, nearest[None], 0)[0]
    foretold = [np.zeros_like(rows), left, up, (left + up) // 2, paeth]
    filtered = b"".join(
        bytes([y % 5]) + ((rows[y] - foretold[y % 5][y]) % 256).astype(np.uint8).tobytes()
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, bit_depth, 3, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(3 * 2**bit_depth))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + palette
        + chunk(b"IDAT", zlib.compress(filtered))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("bit_depth", [1, 2, 4, 8])
def test_ids_are_read_from_every_depth_and_filter_though_all_classes_are_black(
    desk: "Desk", bit_depth: int
) -> None:
    ids = np.random.default_rng(bit_depth).integers(0, 2**bit_depth, (23, 37), dtype=np.uint8)
    content = _png(ids, bit_depth=bit_depth)
    assert (read_labels(content) == ids).all()
    script = """async (text) => {
      const { readIds } = await import("./mask_png.js");
      const { width, height, ids } = await readIds(text);
      return [width, height, [...ids]];
    }"""
    width, height, read = desk.page.evaluate(script, base64.b64encode(content).decode())
    assert (width, height) == (37, 23)
    assert read == ids.ravel().tolist()
