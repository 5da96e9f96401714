"""Every error leaves the service in one shape, and says no more than it should."""

import logging
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.testclient import TestClient

from app.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    NotReady,
    Overloaded,
    RateLimited,
    RetryLater,
    ServiceError,
    TimedOut,
    TooLarge,
    Unauthorized,
    Unprocessable,
    UnsupportedImage,
    install_error_handlers,
    problem_of,
    problem_responses,
)

PLAIN = [BadRequest, Forbidden, NotFound, TooLarge, UnsupportedImage, Unprocessable, NotReady, TimedOut]


def serve(error: Exception | None = None, *, max_body_size: int | None = None) -> TestClient:
    """An application whose one route raises `error`, with a request id like telemetry's."""
    app = FastAPI()
    install_error_handlers(app)

    @app.middleware("http")
    async def name_request(request: Request, call_next: Any) -> Any:
        request.state.request_id = "abc123"
        return await call_next(request)

    @app.post("/parts", max_body_size=max_body_size)
    async def parts(request: Request, mm_per_px: Annotated[float, Query(gt=0)] = 1.0) -> str:
        await request.body()
        if error is not None:
            raise error
        return "fine"

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("kind", PLAIN)
def test_a_refusal_becomes_a_problem(kind: type[ServiceError]) -> None:
    answer = serve(kind("three came, two are taken; send fewer")).post("/parts")
    assert answer.status_code == kind.status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": f"urn:problem-type:segnet:{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": "three came, two are taken; send fewer",
        "instance": "abc123",
    }


def test_each_kind_has_its_own_slug_and_title() -> None:
    kinds = [*PLAIN, Unauthorized, RateLimited, Overloaded]
    assert len({kind.slug for kind in kinds} - {ServiceError.slug}) == len(kinds)
    assert len({kind.title for kind in kinds} - {ServiceError.title}) == len(kinds)


def test_a_missing_key_tells_how_to_send_one() -> None:
    answer = serve(Unauthorized("no key came")).post("/parts")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("kind", "status"),
    [pytest.param(RateLimited, 429, id="rate limited"), pytest.param(Overloaded, 503, id="overloaded")],
)
@pytest.mark.parametrize(
    ("retry_after_s", "header"),
    [
        pytest.param(0.0, "1", id="at least a second"),
        pytest.param(2.0, "2", id="whole"),
        pytest.param(2.1, "3", id="rounded up"),
    ],
)
def test_who_may_come_again_is_told_when(
    kind: type[RetryLater], status: int, retry_after_s: float, header: str
) -> None:
    answer = serve(kind("too much", retry_after_s=retry_after_s)).post("/parts")
    assert answer.status_code == status
    assert answer.headers["retry-after"] == header


def test_a_request_of_the_wrong_form_names_each_fault_and_repeats_none_of_it() -> None:
    answer = serve().post("/parts", params={"mm_per_px": "secret"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:problem-type:segnet:unprocessable"
    (fault,) = problem["errors"]
    assert fault["where"] == "query.mm_per_px"
    assert "valid number" in fault["message"]
    assert problem["detail"] == f"query.mm_per_px: {fault['message']}"
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        pytest.param("POST", "/nowhere", 404, "not-found", id="no such path"),
        pytest.param("DELETE", "/parts", 405, "method-not-allowed", id="no such method"),
    ],
)
def test_what_the_framework_refuses_has_the_same_shape(
    method: str, path: str, status: int, slug: str
) -> None:
    answer = serve().request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:problem-type:segnet:{slug}"
    assert answer.json()["instance"] == "abc123"
    assert (answer.headers.get("allow") == "POST") == (status == 405)


@pytest.mark.parametrize(
    "body",
    [pytest.param(b"x" * 11, id="declared"), pytest.param([b"x" * 6, b"x" * 5], id="in chunks")],
)
def test_a_body_beyond_the_framework_s_limit_has_the_same_shape(body: Any) -> None:
    answer = serve(max_body_size=10).post("/parts", content=body if isinstance(body, bytes) else iter(body))
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:problem-type:segnet:too-large"
    assert answer.json()["instance"] == "abc123"
    assert serve(max_body_size=11).post("/parts", content=b"x" * 11).status_code == 200


def test_an_http_exception_keeps_its_headers() -> None:
    answer = serve(HTTPException(400, "odd", headers={"X-Odd": "yes"})).post("/parts")
    assert answer.json()["detail"] == "odd"
    assert answer.headers["x-odd"] == "yes"


def test_nothing_of_an_unforeseen_error_leaks_and_the_log_has_it_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, logger="app.errors"):
        answer = serve(RuntimeError("password at /etc/secret")).post("/parts")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"] == "abc123"
    assert "secret" not in answer.text
    assert "RuntimeError" not in answer.text
    (record,) = [record for record in caplog.records if record.name == "app.errors"]
    assert "abc123" in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "password at /etc/secret"


def test_an_expected_refusal_is_not_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="app.errors"):
        serve(NotReady("still warming up")).post("/parts")
    assert [record for record in caplog.records if record.name == "app.errors"] == []


def test_a_problem_without_a_request_has_no_instance() -> None:
    assert problem_of(TooLarge("big")).model_dump(exclude_none=True).keys() == {
        "type",
        "title",
        "status",
        "detail",
    }


def test_errors_are_documented_as_problems_two_of_one_status_together() -> None:
    responses = problem_responses(TooLarge, Overloaded, NotReady)
    assert responses.keys() == {413, 503}
    assert responses[413]["description"] == "Too large"
    assert responses[503]["description"] == "Overloaded / Not ready"
    schema = responses[503]["content"]["application/problem+json"]["schema"]
    assert {"type", "title", "status", "detail"} == set(schema["required"])
    assert "$defs" not in schema, "it stands inside the document, where references would lead nowhere"
