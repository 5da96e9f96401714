"""A thousand malformed uploads: each is refused with a reason, none is a failure, and none leaves memory behind."""

import gc
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import psutil
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from data.images import encode_jpeg, encode_png

from .malformed import MANY, ONE, Family, Upload
from .malformed_archives import ARCHIVES
from .malformed_forms import FORMS
from .malformed_images import IMAGES

pytestmark = [
    # Pillow warns of damage that it can do without; so does the service, which is not run with warnings as errors.
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    # Starlette leaves the file of a part that breaks off to the garbage collector.
    pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning"),
]

FAMILIES: Final = (*IMAGES, *FORMS, *ARCHIVES)
SECRETS: Final = ("Traceback", "site-packages", ".py", " at 0x")
MARGIN_MB: Final = 16
"""What the allocator may keep, in fragments, of a thousand uploads that unpack to some 600 MB."""
PEAK_MB: Final = 64
"""What one bomb may take while it is refused, limits of 2 MB an upload and 4 MB an archive being several times that."""


@pytest.fixture(scope="module")
def small(repository: Path) -> Iterator[TestClient]:
    """A service with limits so low that bombs need not be large; it has to survive all that is sent in this file."""
    settings = Settings(
        model=repository / "tests" / "promises" / "format_1.onnx",
        device="cpu",
        threads=1,
        max_bytes=2_000_000,
        max_pixels=1_000_000,
        archive_max_files=100,
        archive_max_bytes=4_000_000,
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@cache
def made(family: Family) -> tuple[Upload, ...]:
    """The uploads of a family, made once."""
    return tuple(family())


def send(client: TestClient, upload: Upload) -> httpx.Response:
    answer: httpx.Response = client.post(upload.path, content=upload.content, headers=upload.headers)
    return answer


def fault_of(answer: httpx.Response, *, upload: Upload) -> str | None:
    """What is wrong with an answer; None where nothing is."""
    if answer.status_code not in upload.statuses:
        return f"{answer.status_code}: {answer.text[:200]}"
    if answer.status_code != 200:
        if answer.headers["Content-Type"] != "application/problem+json":
            return f"a refusal as {answer.headers['Content-Type']}"
        return _fault_of_problem(answer.json())
    if upload.path == MANY:
        *lines, end = [json.loads(line) for line in answer.text.splitlines()]
        problems = [line["problem"] for line in lines if "problem" in line]
        if "done" not in end or end["errors"] > len(problems):
            return f"a last line of {end}"
        if upload.is_refused_inside and len(problems) < len(lines):
            return "a file in it was judged"
        return next(filter(None, map(_fault_of_problem, problems)), None)
    return None if answer.json()["verdict"] in ("OK", "NG", "REVIEW") else "no verdict"


def _fault_of_problem(problem: dict[str, Any]) -> str | None:
    if not 400 <= problem["status"] < 500 or len(problem["detail"]) < 10:
        return f"no reason: {problem}"
    return next((f"{word!r} in {problem}" for word in SECRETS if word in problem["detail"]), None)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: f"{family.__module__[-8:]}.{family.__name__}")
def test_each_malformed_upload_is_refused_with_a_reason(small: TestClient, family: Family) -> None:
    faults = {upload.name: fault_of(send(small, upload), upload=upload) for upload in made(family)}
    assert {name: fault for name, fault in faults.items() if fault} == {}


def test_they_are_many_and_no_two_the_same() -> None:
    uploads = [upload for family in FAMILIES for upload in made(family)]
    assert len({(one.path, one.content, *one.headers.values()) for one in uploads}) > 800
    for family in FAMILIES:
        names = [upload.name for upload in made(family)]
        assert len(names) == len(set(names)), "a failure would not tell which"


def test_their_memory_is_given_back(small: TestClient, part: bytes) -> None:
    uploads = [upload for family in FAMILIES for upload in made(family)]
    image = np.random.default_rng(0).integers(0, 256, (800, 1200, 3), np.uint8)
    honest = [Upload("honest", encode(image), path=ONE) for encode in (encode_png, encode_jpeg)]
    for upload in honest * 5:
        assert send(small, upload).status_code in (200, 413)
    before_mb = _resident_mb()
    for upload in uploads:
        send(small, upload)
    grown_mb = _resident_mb() - before_mb
    assert grown_mb < MARGIN_MB
    assert small.get("/readyz").status_code == 200
    judged = small.post(ONE, content=part).json()
    assert {defect["class"]: defect["area_px"] for defect in judged["defects"]} == {"scratch": 96, "pit": 196}


def test_bombs_are_not_unpacked_whole(small: TestClient) -> None:
    uploads = [upload for family in FAMILIES if family.__name__ == "bombs" for upload in made(family)]
    assert len(uploads) > 20
    before_mb = _resident_mb()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    for upload in uploads:
        send(small, upload)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak_kb = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    assert peak_kb * 1024 / 1e6 - before_mb < PEAK_MB


def _resident_mb() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss / 1e6)
