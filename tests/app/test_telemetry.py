"""Ids, log lines and metrics, as whoever has to find a fault at night reads them."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from anyio import to_thread
from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app.errors import install_error_handlers
from app.metrics import MEDIA_TYPE, Metrics
from app.telemetry import REQUEST_LOG, RequestLog, configure_logging, install_telemetry

MADE_HERE = re.compile(r"[0-9a-f]{32}")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def client(metrics: Metrics) -> TestClient:
    app = FastAPI(max_body_size=100)
    install_error_handlers(app)
    router = APIRouter(prefix="/recipes")

    @router.get("/{name}")
    async def recipe(request: Request, name: str) -> str:
        request.state.caller = "line-1"
        logging.getLogger("app.somewhere").warning("in the loop")
        await to_thread.run_sync(logging.getLogger("app.somewhere").warning, "in a thread")
        return name

    @router.get("/broken/now")
    async def broken() -> None:
        raise LookupError("a secret of the inside")

    outer = APIRouter(prefix="/v1")
    outer.include_router(router)
    app.include_router(outer)
    install_telemetry(app, metrics=metrics)
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The stream of JSON lines; the root logger is as before afterwards."""
    # The tests' own client writes down what it asked for.
    monkeypatch.setattr(logging.getLogger("httpx2"), "disabled", True)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    stream = io.StringIO()
    configure_logging(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(log: io.StringIO, *, logger: str | None = None) -> list[dict[str, Any]]:
    for handler in logging.getLogger().handlers:
        handler.flush()
    read = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in read if logger in (None, line["logger"])]


def samples(metrics: Metrics) -> dict[str, float]:
    """`name{label=value,…}` -> number, as Prometheus would read it."""
    text = metrics.render().decode()
    return {
        sample.name
        + "{"
        + ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
        + "}": (sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# -- the id -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sane", ["a", "5f2b0c6e-9d3a.4f_17", "x" * 64])
def test_a_sane_request_id_is_kept(client: TestClient, sane: str) -> None:
    assert client.get("/v1/recipes/a", headers={"X-Request-ID": sane}).headers["X-Request-ID"] == sane


@pytest.mark.parametrize(
    "insane",
    ["", "x" * 65, "a b", 'a"}', "a\tb", "<script>", "../../etc", "gr\u00fcn", "a;b", "a%0a"],
)
def test_an_insane_request_id_is_replaced(client: TestClient, log: io.StringIO, insane: str) -> None:
    answer = client.get("/v1/recipes/a", headers={"X-Request-ID": insane.encode("latin-1")})
    assert MADE_HERE.fullmatch(answer.headers["X-Request-ID"])
    assert {line["request_id"] for line in lines(log)} == {answer.headers["X-Request-ID"]}


def test_ids_made_here_differ(client: TestClient) -> None:
    assert len({client.get("/v1/recipes/a").headers["X-Request-ID"] for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [("/nowhere", b"", 404), ("/v1/recipes/broken/now", b"", 500), ("/v1/recipes/a", b"x" * 101, 413)],
)
def test_errors_have_the_id_too(client: TestClient, path: str, content: bytes, status: int) -> None:
    answer = client.request("GET", path, content=content, headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (status, "mine")
    # FastAPI's own limit on bodies answers from outside of what names the instance, and even there the header stands.
    assert status == 413 or answer.json()["instance"] == "mine"


# -- the log ----------------------------------------------------------------------------------------------------------


def test_a_request_is_one_line(client: TestClient, log: io.StringIO) -> None:
    answer = client.get("/v1/recipes/some?key=segnet_secret", headers={"X-Request-ID": "mine"})
    (line,) = lines(log, logger=REQUEST_LOG)
    assert 0 <= line.pop("duration_ms") < 60_000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line == {
        "level": "INFO",
        "logger": "segnet.requests",
        "message": "GET /v1/recipes/{name} 200",
        "request_id": "mine",
        "method": "GET",
        "path": "/v1/recipes/some",
        "route": "/v1/recipes/{name}",
        "status": 200,
        "sent_bytes": len(answer.content),
        "client": "testclient",
        "caller": "line-1",
    }


def test_lines_written_on_the_way_have_the_id_in_threads_too(client: TestClient, log: io.StringIO) -> None:
    client.get("/v1/recipes/a", headers={"X-Request-ID": "mine"})
    told = [(line["message"], line["request_id"]) for line in lines(log, logger="app.somewhere")]
    assert told == [("in the loop", "mine"), ("in a thread", "mine")]
    logging.getLogger("app.somewhere").warning("afterwards")
    assert lines(log)[-1]["request_id"] is None


def test_what_a_client_sends_cannot_forge_a_line(client: TestClient, log: io.StringIO) -> None:
    client.get('/v1/recipes/a%0A{"level":"FORGED"}')
    assert [line["level"] for line in lines(log)] == ["WARNING", "WARNING", "INFO"]
    assert lines(log)[-1]["path"] == '/v1/recipes/a\n{"level":"FORGED"}'


def test_neither_query_nor_headers_nor_body_are_logged(client: TestClient, log: io.StringIO) -> None:
    secret = "segnet_secret"
    headers = {"Authorization": f"Bearer {secret}", "X-API-Key": secret, "X-Request-ID": f"{secret} "}
    for path in ("/v1/recipes/a", "/v1/recipes/broken/now", "/nowhere"):
        client.request("GET", f"{path}?key={secret}", headers=headers, content=secret)
    assert len(lines(log, logger=REQUEST_LOG)) == 3
    assert lines(log)
    assert secret not in log.getvalue()


def test_a_failure_is_logged_with_its_traceback_and_its_id(client: TestClient, log: io.StringIO) -> None:
    client.get("/v1/recipes/broken/now", headers={"X-Request-ID": "mine"})
    failure, request = lines(log)
    assert "LookupError: a secret of the inside" in failure["traceback"]
    assert (failure["request_id"], request["request_id"]) == ("mine", "mine")
    assert (request["status"], request["caller"]) == (500, None)


def test_a_client_that_went_away_is_499(metrics: Metrics, log: io.StringIO) -> None:
    async def gone(scope: Any, receive: Any, send: Any) -> None:
        raise ConnectionResetError

    async def ask() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        with pytest.raises(ConnectionResetError):
            await RequestLog(gone, metrics=metrics)(scope, None, None)  # type: ignore[arg-type]

    anyio.run(ask)
    assert [line["status"] for line in lines(log)] == [499]
    assert samples(metrics)["segnet_requests_total{route=other,status=499}"] == 1


# -- the metrics ------------------------------------------------------------------------------------------------------


def test_requests_are_counted_by_template_and_status(client: TestClient, metrics: Metrics) -> None:
    for path in ("/v1/recipes/a", "/v1/recipes/b", "/v1/recipes/broken/now", "/x/1", "/x/2"):
        client.get(path)
    client.post("/v1/recipes/a")
    read = samples(metrics)
    counted = {name: number for name, number in read.items() if name.startswith("segnet_requests_total")}
    assert counted == {
        "segnet_requests_total{route=/v1/recipes/{name},status=200}": 2,
        "segnet_requests_total{route=/v1/recipes/{name},status=405}": 1,
        "segnet_requests_total{route=/v1/recipes/broken/now,status=500}": 1,
        "segnet_requests_total{route=other,status=404}": 2,
    }
    assert read["segnet_stage_seconds_count{stage=total}"] == 6


def test_stages_and_batches_fall_into_their_buckets(metrics: Metrics) -> None:
    for seconds in (0.004, 0.02, 0.02):
        metrics.observe_stage("decode", seconds=seconds)
    for images in (1, 3, 64, 65):
        metrics.observe_batch(images)
    read = samples(metrics)
    assert read["segnet_stage_seconds_sum{stage=decode}"] == pytest.approx(0.044)
    assert read["segnet_stage_seconds_bucket{le=0.005,stage=decode}"] == 1
    assert read["segnet_stage_seconds_bucket{le=0.025,stage=decode}"] == 3
    assert [
        read[f"segnet_batch_images_bucket{{le={edge}}}"] for edge in ("1.0", "2.0", "4.0", "64.0", "+Inf")
    ] == [
        1,
        1,
        2,
        3,
        4,
    ]


def test_verdicts_and_defects_are_counted(metrics: Metrics) -> None:
    metrics.count_verdict("NG", defect_classes=("scratch", "pit", "scratch"))
    metrics.count_verdict("OK")
    read = samples(metrics)
    assert read["segnet_verdicts_total{verdict=NG}"] == 1
    assert read["segnet_verdicts_total{verdict=OK}"] == 1
    assert read["segnet_defects_total{class=scratch}"] == 2
    assert read["segnet_defects_total{class=pit}"] == 1


def test_what_became_of_new_models_is_counted_from_the_start(metrics: Metrics) -> None:
    metrics.count_model("swapped")
    metrics.count_model("fell_back")
    metrics.count_model("swapped")
    read = samples(metrics)
    told = {
        name: read[f"segnet_models_total{{outcome={name}}}"] for name in ("swapped", "refused", "fell_back")
    }
    assert told == {"swapped": 2, "refused": 0, "fell_back": 1}


def test_the_queue_is_asked_when_the_numbers_are_read(metrics: Metrics) -> None:
    waiting = [3, 700]
    metrics.watch_queue(requests=lambda: waiting[0], pixels=lambda: waiting[1])
    assert samples(metrics)["segnet_queue_requests{}"] == 3
    waiting[:] = [0, 9]
    read = samples(metrics)
    assert (read["segnet_queue_requests{}"], read["segnet_queue_pixels{}"]) == (0, 9)


def test_only_the_provider_of_now_is_told(metrics: Metrics) -> None:
    metrics.set_provider("CPUExecutionProvider", model_sha256="aa")
    metrics.set_provider("CUDAExecutionProvider", model_sha256="bb")
    told = [name for name in samples(metrics) if name.startswith("segnet_provider_info")]
    assert told == ["segnet_provider_info{model_sha256=bb,provider=CUDAExecutionProvider}"]


def test_labels_of_any_name_survive_the_text(metrics: Metrics) -> None:
    metrics.count_verdict("NG", defect_classes=('a"b\\c\nd',))
    assert samples(metrics)['segnet_defects_total{class=a"b\\c\nd}'] == 1


def test_memory_of_the_process_is_among_them(metrics: Metrics) -> None:
    assert samples(metrics)["process_resident_memory_bytes{}"] > 1_000_000


def test_two_services_in_one_process_do_not_count_together() -> None:
    first, second = Metrics(), Metrics()
    first.count_verdict("OK")
    assert "segnet_verdicts_total{verdict=OK}" not in samples(second)
    assert MEDIA_TYPE.startswith("text/plain; version=0.0.4")
