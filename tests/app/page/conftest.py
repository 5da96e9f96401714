"""The page in a real browser, before a service of canned answers that follows the API to the letter."""

import base64
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

import app
from data.images import encode_jpeg, encode_png, read_image
from data.masks import encode_labels, overlay
from data.regions import find_regions
from data.synthetic import SYNTHETIC_CLASSES, SyntheticPart, draw_part

STATIC = Path(app.__file__).parent / "static"
#: The strictest policy that the page has to work under.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MM_PER_PX = 0.05
DEADLINE_S = 10


@dataclass
class Service:
    """What the fake service knows, and what was asked of it."""

    parts: dict[str, tuple[bytes, SyntheticPart]] = field(default_factory=dict)
    wanted_key: str | None = None
    failures: list[tuple[int, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def fail(self, status: int, *, detail: str = "", headers: dict[str, str] | None = None) -> None:
        """Answer the next request for a prediction with this problem."""
        errors = [{"where": "query.recipe", "message": "unknown"}]
        body = {"title": "x", "status": status, "detail": detail, "instance": "req-7", "errors": errors}
        self.failures.append((status, body, headers or {}))

    def predict(self, content: bytes, name: str, *, recipe: str) -> tuple[dict[str, Any], Any, Any]:
        """(the answer, the image, its labels): known parts as drawn, any other image as free of defects."""
        known = {hashlib.sha256(one).digest(): part for one, part in self.parts.values()}
        part = known.get(hashlib.sha256(content).digest())
        image = part.image if part else read_image(content)
        labels = part.labels if part else np.zeros(image.shape[:2], np.uint8)
        return _answer(content, name, image, labels, recipe=recipe), image, labels


def _answer(content: bytes, name: str, image: Any, labels: Any, *, recipe: str) -> dict[str, Any]:
    regions = find_regions(labels, class_ids=SYNTHETIC_CLASSES.defect_ids)
    classes = SYNTHETIC_CLASSES.classes
    found = {classes[region.class_id].name for region in regions}
    verdict = "OK" if not found else "NG" if found & {"scratch", "crack"} or recipe == "strict" else "REVIEW"
    reasons = [f"{len(regions)} defects, {verdict} from 1"] if found else []
    height, width = labels.shape
    pixels = np.bincount(labels.ravel(), minlength=len(classes))
    return {
        "id": "req-1",
        "model": {"name": "synthetic", "version": "3", "sha256": "ab" * 32},
        "provider": "CPUExecutionProvider",
        "image": {
            "name": name, "format": "PNG", "width_px": width, "height_px": height, "bit_depth": 8,
            "exif_orientation": None, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content),
        },
        "verdict": verdict,
        "reasons": reasons,
        "recipe": {"name": recipe, "sha256": "cd" * 32},
        "mm_per_px": MM_PER_PX,
        "classes": [
            {
                "id": class_id, "name": spec.name, "color": spec.color, "role": spec.role,
                "pixels": int(pixels[class_id]), "share": pixels[class_id] / labels.size,
                "area_mm2": int(pixels[class_id]) * MM_PER_PX**2,
            }
            for class_id, spec in enumerate(classes)
        ],
        "defects": [
            {
                "number": number, "class_id": region.class_id, "class": classes[region.class_id].name,
                "area_px": region.area_px, "area_mm2": region.area_px * MM_PER_PX**2,
                "box_px": region.box_xyxy, "centroid_px": region.centroid_xy,
                "length_px": region.length_px, "length_mm": region.length_px * MM_PER_PX,
                "width_px": region.width_px, "width_mm": region.width_px * MM_PER_PX,
                "orientation_deg": region.orientation_deg, "mean_confidence": 0.996, "peak_confidence": 1.0,
                "touches_border": region.box_xyxy[0] == 0,
            }
            for number, region in enumerate(regions, start=1)
        ],
        "mask": {"encoding": "png", "data": base64.b64encode(encode_labels(labels, SYNTHETIC_CLASSES)).decode()},
        "timings_ms": {"decode": 2.1, "queue": 0.2, "inference": 31.4, "measure": 1.2, "encode": 0.8, "total": 35.7},
    }  # fmt: skip


def _create_app(service: Service) -> FastAPI:
    api = FastAPI()

    @api.middleware("http")
    async def guard(request: Request, call_next: Callable[..., Any]) -> Response:
        wanted = service.wanted_key
        if request.url.path.startswith("/v1") and wanted and request.headers.get("X-API-Key") != wanted:
            return JSONResponse({"status": 401, "detail": "no key"}, 401)
        response: Response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    @api.post("/v1/predictions")
    async def predict(request: Request, recipe: str = "none") -> Response:
        async with request.form() as form:
            upload = form["image"]
            content, name = await upload.read(), upload.filename
        accept = request.headers["Accept"]
        service.asked.append({"name": name, "recipe": recipe, "accept": accept, "content": content})
        if service.failures:
            status, body, headers = service.failures.pop(0)
            return JSONResponse(body, status, headers=headers, media_type="application/problem+json")
        answer, image, labels = service.predict(content, name, recipe=recipe)
        service.answers.append(answer)
        if accept == "image/jpeg":
            return Response(encode_jpeg(overlay(image, labels, SYNTHETIC_CLASSES)), media_type="image/jpeg")
        return JSONResponse(answer)

    @api.get("/v1/recipes")
    async def recipes() -> dict[str, Any]:
        names = ("strict", "standard")
        return {"recipes": [{"name": one, "sha256": "cd", "is_default": one == "standard"} for one in names]}

    @api.get("/readyz")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    api.frontend("/", directory=STATIC, fallback=None)
    return api


@pytest.fixture(scope="session")
def parts() -> dict[str, tuple[bytes, SyntheticPart]]:
    """PNG and part by file name: two pits to look at, a scratch that is bad, a clean one."""
    wanted = {
        "pits.png": ("pit", "pit"),
        "scratch.png": ("scratch", "pit", "crack", "stain"),
        "clean.png": (),
    }
    drawn = {
        name: draw_part(seed, surface="brushed_metal", size_hw=(320, 480), defects=defects)
        for seed, (name, defects) in enumerate(wanted.items(), start=5)
    }
    return {name: (encode_png(part.image), part) for name, part in drawn.items()}


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[FastAPI], str]]:
    """Serve an application on a free port until the tests end; gives its address."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(api: FastAPI) -> str:
        server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        end = time.monotonic() + DEADLINE_S
        while not server.started:
            assert time.monotonic() < end, "the service did not start"
            time.sleep(0.01)
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def served(serve: Callable[[FastAPI], str]) -> Service:
    """The fake service; `service` empties its memory for each test."""
    service = Service()
    service.url = serve(_create_app(service))
    return service


@pytest.fixture
def service(served: Service, parts: dict[str, tuple[bytes, SyntheticPart]]) -> Service:
    """The service as if just started."""
    served.parts, served.wanted_key = parts, None
    for record in (served.failures, served.asked, served.answers):
        record.clear()
    return served


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium with a camera that shows a test picture.

    Of one module: while it lives, playwright's event loop runs in this thread, and no test with its own can.
    """
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="SKIPPED LOUDLY: playwright is not installed"
    )
    names = (os.environ.get("SEGNET_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, filter(None, names))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=found,
                args=["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
            )
        except sync_api.Error as error:
            pytest.skip(f"SKIPPED LOUDLY: no browser to open the page in (apt-get install chromium): {error}")
        yield browser
        browser.close()


class Desk:
    """The page as one operator sees it, with what he does to it."""

    def __init__(self, page: Any, service: Service) -> None:
        self.page, self.service = page, service

    def drop(self, *names: str, event: str = "drop") -> None:
        """Drop (or paste) parts by name, and wait until all are inspected."""
        self.give(*names, event=event)
        self.settle()

    def give(self, *names: str, event: str = "drop") -> None:
        """The same without waiting."""
        files = [[name, base64.b64encode(self.service.parts[name][0]).decode()] for name in names]
        self.page.evaluate(
            """([files, type]) => {
              const data = new DataTransfer();
              for (const [name, text] of files) {
                const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
                data.items.add(new File([bytes], name, { type: "image/png" }));
              }
              dispatchEvent(type === "paste"
                ? new ClipboardEvent("paste", { clipboardData: data })
                : new DragEvent(type, { dataTransfer: data, cancelable: true }));
            }""",
            [files, event],
        )

    def settle(self) -> None:
        """Wait until nothing is on its way, and what came is drawn."""
        self.page.locator("[data-state=waiting], [data-state=busy]").first.wait_for(state="detached")
        self.page.locator("#stage[aria-busy=true]").wait_for(state="detached")
        self.frame()

    def frame(self) -> None:
        """Wait for what was asked for to be drawn."""
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def set_opacity(self, percent: int) -> None:
        self.page.locator("#opacity").fill(str(percent))
        self.frame()

    def color_at(self, x: float, y: float) -> tuple[int, int, int]:
        """What the stage shows at (x, y), CSS px from its corner."""
        self.frame()
        script = """([x, y]) => [...document.querySelector("#stage").getContext("2d")
          .getImageData(Math.round(x * devicePixelRatio), Math.round(y * devicePixelRatio), 1, 1).data]"""
        red, green, blue, _ = self.page.evaluate(script, [x, y])
        return red, green, blue

    def fitted(self, x: float, y: float) -> tuple[float, float]:
        """Where the middle of image pixel (x, y) lies on the stage while the picture is shown whole."""
        stage = self.page.locator("#stage").bounding_box()
        prediction = self.service.answers[-1]["image"]
        width, height = prediction["width_px"], prediction["height_px"]
        scale = min(stage["width"] / width, stage["height"] / height)
        left, top = (stage["width"] - width * scale) / 2, (stage["height"] - height * scale) / 2
        return left + (x + 0.5) * scale, top + (y + 0.5) * scale

    @property
    def zoom(self) -> str:
        self.frame()
        return str(self.page.locator("#zoom").inner_text())

    @property
    def verdict(self) -> str:
        return str(self.page.locator("#verdict h2").inner_text())


@pytest.fixture
def open_desk(browser: Any, service: Service) -> Iterator[Callable[..., Desk]]:
    """Open the page; at the end nothing it did may have broken a policy, raised, or left its own origin."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def open_it(*, url: str = "", **options: Any) -> Desk:
        own = url or service.url
        settings = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", "locale": "en-GB"}
        context = browser.new_context(**settings | options)
        contexts.append(context)
        context.grant_permissions(["camera"])
        context.set_default_timeout(DEADLINE_S * 1000)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda one: complaints.append(one.text) if _is_complaint(one) else None)
        page.on("request", lambda one: complaints.append(one.url) if _is_foreign(one.url, own) else None)
        page.goto(own)
        page.locator("#service.ready").wait_for()
        return Desk(page, service)

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def desk(open_desk: Callable[..., Desk]) -> Desk:
    """The page on a desktop, with nothing moving by itself."""
    return open_desk()


def _is_complaint(message: Any) -> bool:
    # A status of 4xx or 5xx is logged by the browser itself, whatever the page makes of it.
    return message.type == "error" and "Failed to load resource" not in message.text


def _is_foreign(url: str, own: str) -> bool:
    return not url.startswith((own, "blob:", "data:"))
