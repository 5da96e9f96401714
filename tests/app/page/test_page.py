"""The operator's page from outside: images in, verdict out, and what it says when something is wrong."""

from collections.abc import Callable
from typing import Any

import pytest

DESK_SIZES = {"desktop": (1280, 800), "tablet": (768, 1024), "phone": (390, 844), "narrow": (320, 640)}


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_dropped_or_pasted_image_is_sent_as_it_is_and_its_verdict_shown(desk: "Desk", event: str) -> None:
    desk.drop("scratch.png", event=event)
    (asked,) = desk.service.asked
    assert asked["content"] == desk.service.parts["scratch.png"][0]
    assert (asked["name"], asked["accept"]) == ("scratch.png", "application/json")
    assert desk.verdict == "NG\nNot good"
    assert desk.page.locator("#verdict li").all_inner_texts() == desk.service.answers[0]["reasons"]
    assert desk.page.title() == "NG · scratch.png – Inspection"  # noqa: RUF001


def test_a_chosen_file_is_inspected_and_the_verdict_is_spoken(desk: "Desk") -> None:
    content = desk.service.parts["clean.png"][0]
    file = {"name": "clean.png", "mimeType": "image/png", "buffer": content}
    desk.page.locator("#files").set_input_files([file])
    desk.page.locator("#verdict.ok").wait_for()
    assert desk.page.locator("#live").inner_text() == "clean.png: OK, Good part. 0 defects"


def test_a_picture_is_taken_with_the_camera(desk: "Desk") -> None:
    desk.page.get_by_role("button", name="Camera").click()
    desk.page.locator("#camera-take:enabled").click()
    desk.page.locator("#verdict.ok").wait_for()
    (asked,) = desk.service.asked
    assert asked["name"].startswith("camera_")
    assert asked["content"].startswith(b"\x89PNG")
    assert not desk.page.locator("#camera").is_visible()


def test_a_camera_that_may_not_be_used_is_explained(desk: "Desk") -> None:
    desk.page.evaluate(
        """() => {
          navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("", "NotAllowedError"); };
        }"""
    )
    desk.page.get_by_role("button", name="Camera").click()
    assert "Allow it in the address bar" in desk.page.locator("#camera-problem:visible").inner_text()


def test_several_images_become_a_strip_to_step_through(desk: "Desk") -> None:
    desk.drop("pits.png", "scratch.png", "clean.png")
    thumbnails = desk.page.locator("#thumbnails button")
    names = [thumbnails.nth(at).get_attribute("aria-label") for at in range(thumbnails.count())]
    assert names == ["pits.png: REVIEW", "scratch.png: NG", "clean.png: OK"]
    assert desk.page.locator("#tally").inner_text() == "3 images · 1 NG · 1 REVIEW · 1 OK"
    assert desk.verdict.startswith("REVIEW")
    desk.page.get_by_role("button", name="Next image").click()
    assert desk.verdict.startswith("NG")
    desk.page.keyboard.press("PageDown")
    assert desk.verdict.startswith("OK")
    thumbnails.nth(2).focus()
    desk.page.keyboard.press("ArrowLeft")
    assert desk.verdict.startswith("NG")
    assert thumbnails.nth(1).evaluate("node => node === document.activeElement")


def test_images_are_removed_one_by_one_or_all(desk: "Desk") -> None:
    desk.drop("pits.png", "scratch.png", "clean.png")
    desk.page.get_by_role("button", name="Remove this one").click()
    assert desk.verdict.startswith("NG")
    assert desk.page.locator("#thumbnails li").count() == 2
    desk.page.get_by_role("button", name="Remove all").click()
    assert desk.page.locator("#welcome").is_visible()
    assert not desk.page.locator("#details").is_visible()


def test_another_recipe_judges_all_images_again(desk: "Desk") -> None:
    desk.drop("pits.png", "clean.png")
    assert [one["recipe"] for one in desk.service.asked] == ["standard", "standard"]
    desk.page.locator("#recipe").select_option("strict")
    desk.settle()
    assert [one["recipe"] for one in desk.service.asked[2:]] == ["strict", "strict"]
    assert desk.verdict.startswith("NG")


def test_the_key_is_asked_for_only_when_the_service_wants_one_and_never_outlives_the_tab(
    desk: "Desk", open_desk: Callable[..., "Desk"]
) -> None:
    assert not desk.page.locator("#key-form").is_visible()
    desk.service.wanted_key = "right"
    guarded = open_desk()
    field = guarded.page.get_by_label("API key")
    for key in ("wrong", "right"):
        field.wait_for()
        field.fill(key)
        guarded.page.keyboard.press("Enter")
    guarded.page.locator("#recipe-field:visible").wait_for()
    guarded.drop("clean.png")
    assert guarded.verdict.startswith("OK")
    assert not field.is_visible()
    assert guarded.page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]


def test_what_waited_for_the_key_is_inspected_with_it(desk: "Desk") -> None:
    desk.service.wanted_key = "right"
    desk.page.evaluate("""() => {
      const data = new DataTransfer();
      data.items.add(new File(["x"], "part.png"));
      dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
    }""")
    desk.page.get_by_label("API key").wait_for()
    desk.service.fail(415)
    desk.page.get_by_label("API key").fill("right")
    desk.page.keyboard.press("Enter")
    desk.page.locator("#verdict.failed").wait_for()
    assert [one["name"] for one in desk.service.asked] == ["part.png"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "The service did not understand"),
        (403, "This key may not inspect images"),
        (413, "This image is too large"),
        (415, "This is no image that can be inspected"),
        (422, "This image cannot be inspected"),
        (429, "Too many images in a short time"),
        (500, "The service failed"),
        (503, "The service is busy or not ready"),
        (504, "The inspection took too long"),
    ],
)
def test_an_error_is_told_in_plain_words_with_what_the_service_says(
    desk: "Desk", status: int, words: str
) -> None:
    desk.service.fail(status, detail="60 MB, expected 50 MB at most: <img src=x onerror=alert(1)>")
    desk.drop("pits.png")
    card = desk.page.locator("#verdict.failed")
    assert desk.verdict == words
    assert "expected 50 MB at most: <img src=x onerror=alert(1)>" in card.inner_text()
    assert "query.recipe: unknown" in card.inner_text()
    assert card.locator("code").inner_text() == "req-7"
    desk.page.get_by_role("button", name="Try again").click()
    desk.settle()
    assert desk.verdict.startswith("REVIEW")


def test_a_service_that_cannot_be_reached_is_told_and_does_not_stop_the_others(desk: "Desk") -> None:
    desk.page.route("**/v1/predictions*", lambda route: route.abort(), times=1)
    desk.drop("pits.png", "clean.png")
    assert desk.verdict == "The service does not answer"
    assert desk.page.locator("#tally").inner_text() == "2 images · 1 OK · 1 not inspected"


def test_progress_is_shown_until_the_answer_comes_and_removing_the_image_stops_its_request(
    desk: "Desk",
) -> None:
    held: list[Any] = []
    stopped: list[str] = []
    desk.page.route("**/v1/predictions*", lambda route: held.append(route), times=1)
    desk.page.on("requestfailed", lambda request: stopped.append(request.failure))
    desk.give("pits.png", "clean.png")
    assert desk.page.locator("#busy:visible #busy-text").inner_text() in ("Sending …", "Inspecting …")
    assert desk.verdict == "Inspecting …"
    desk.page.get_by_role("button", name="Remove this one").click()
    desk.settle()
    assert stopped == ["net::ERR_ABORTED"]
    assert desk.verdict.startswith("OK")
    assert not desk.page.locator("#busy").is_visible()
    held[0].abort()


def test_a_busy_service_is_asked_again_after_the_time_it_says(desk: "Desk") -> None:
    desk.service.fail(503, headers={"Retry-After": "1"})
    desk.drop("pits.png")
    assert len(desk.service.asked) == 2
    assert desk.verdict.startswith("REVIEW")


@pytest.mark.parametrize(("width", "height"), DESK_SIZES.values(), ids=DESK_SIZES)
def test_nothing_sticks_out_and_everything_can_be_touched(
    open_desk: Callable[..., "Desk"], width: int, height: int
) -> None:
    desk = open_desk(viewport={"width": width, "height": height}, has_touch=width < 1000)
    desk.drop("scratch.png", "pits.png")
    assert desk.page.evaluate("document.documentElement.scrollWidth") <= width
    cramped = """least => [...document.querySelectorAll("button, select, label.check")]
      .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < least)
      .map((one) => one.textContent)"""
    assert desk.page.evaluate(cramped, 44 if width < 1000 else 34) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_verdict_has_its_own_shape_and_readable_words(
    open_desk: Callable[..., "Desk"], scheme: str
) -> None:
    desk = open_desk(color_scheme=scheme)
    desk.drop("clean.png", "pits.png", "scratch.png")
    contrast = """selector => {
      const luminance = (color) => {
        const [r, g, b] = color.match(/[\\d.]+/g).map((one) => Number(one) / 255)
          .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const [dark, light] = [getComputedStyle(document.querySelector(selector)).color,
        getComputedStyle(document.querySelector("#verdict")).backgroundColor].map(luminance).sort();
      return (Math.max(dark, light) + 0.05) / (Math.min(dark, light) + 0.05);
    }"""
    shapes = set()
    for _ in range(3):
        shapes.add(desk.page.locator("#verdict use").get_attribute("href"))
        for selector in ("#verdict h2", "#verdict .note", "#verdict li"):
            assert desk.page.evaluate(contrast, selector) >= 4.5, (desk.verdict, selector)
        desk.page.keyboard.press("PageDown")
    assert shapes == {"#icon-ok", "#icon-review", "#icon-ng"}


def test_every_control_has_a_name_and_can_be_reached_by_tab(desk: "Desk") -> None:
    desk.drop("pits.png", "scratch.png")
    desk.page.locator(".skip").focus()
    reached: list[str] = []
    while len(reached) < 60:
        name, ring = desk.page.evaluate("""() => {
          const one = document.activeElement;
          const label = one.ariaLabel ?? one.labels?.[0]?.innerText ?? one.innerText;
          return [one === document.body ? "" : label, getComputedStyle(one).outlineStyle];
        }""")
        if not name:
            break
        assert ring == "solid", name
        reached.append(name.strip())
        desk.page.keyboard.press("Tab")
    wanted = ("Choose images", "Camera", "Zoom in", "pits.png", "Numbers", "Remove all",
              "Next image", "pit", "Mask", "Overlay", "JSON", "Show defect 1, pit", "Show defect 2, pit")  # fmt: skip
    assert not set(wanted) - set(reached), reached
