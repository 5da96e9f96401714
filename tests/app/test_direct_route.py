"""The short way to an endpoint ends where the long one does, and what is wrong with a request is said by FastAPI."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.testclient import TestClient

from app import direct_route
from app.api_keys import KeyRing, new_key
from app.direct_route import DirectRoute
from app.errors import install_error_handlers
from app.queries import PredictionQuery
from app.security import install_security, require
from app.service import service_of

WAYS: list[str] = []
"""Of each request that reached FastAPI's own machinery."""


async def note_way(request: Request) -> None:
    WAYS.append("long")


def service(*, keys: KeyRing | None = None, rate_per_minute: float = 0) -> FastAPI:
    """Two paths to one endpoint, which tells its query; /long is declared as any other route."""
    app = FastAPI()
    app.state.service = "the service"
    install_error_handlers(app)
    router = APIRouter(dependencies=[Depends(require("predict")), Depends(note_way)])

    async def tell(
        request: Request,
        query: Annotated[PredictionQuery, Query()],
        service: Annotated[Any, Depends(service_of)],
    ) -> Response:
        sent = len(await request.body())
        caller = request.state.caller
        told = {"query": query.model_dump(), "service": service, "sent": sent, "caller": caller}
        return Response(repr(told), media_type="text/plain")

    for path, kind in (("/short", DirectRoute), ("/long", None)):
        router.add_api_route(path, tell, methods=["POST"], max_body_size=100, route_class_override=kind)
    app.include_router(router)
    install_security(app, keys=keys, rate_per_minute=rate_per_minute)
    return app


def ask(
    app: FastAPI, content: bytes | list[bytes] = b"image", *, query: str = "", **options: Any
) -> tuple[int, str, str | None]:
    """What the short way gives, if it is what the long one does. A list is sent in chunks, without its length."""
    client = TestClient(app, raise_server_exceptions=False)
    answers = [
        client.post(
            f"{path}{query}", content=content if isinstance(content, bytes) else iter(content), **options
        )
        for path in ("/short", "/long")
    ]
    short, long = [
        (one.status_code, one.text, one.headers["Content-Type"], one.headers.get("WWW-Authenticate"))
        for one in answers
    ]
    assert short == long
    return short[0], short[1], short[3]


@pytest.fixture(autouse=True)
def no_ways() -> None:
    WAYS.clear()
    direct_route._parse.cache_clear()


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?mask=rle",
        "?mm_per_px=0.05&mask=none&recipe=incoming-goods",
        "?mm_per_px=5e-2",
        "?weights=1,1.6,1",
        "?weights=1%2C1.6%2C1&min_area_px=12",
        "?recipe=",
        "?recipe=%C3%A4+b",
        "?recipe=ä",
    ],
)
def test_a_sound_query_goes_the_short_way_and_means_the_same(query: str) -> None:
    status, _, _ = ask(service(), query=query)
    assert (status, WAYS) == (200, ["long"]), "one of two"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?mask=jpeg", 422),
        ("?mm_per_px=0", 422),
        ("?mm_per_px=", 422),
        ("?scale=1", 422),
        ("?mask=png&mask=rle", 200),
        ("?scale=1&scale=2", 422),
        ("?recipe=" + "x" * 600, 200),
    ],
)
def test_any_other_query_goes_fastapis_way(query: str, status: int) -> None:
    assert ask(service(), query=query)[0] == status
    assert WAYS == ["long", "long"]


def test_a_body_that_is_too_long_or_tells_no_length_goes_fastapis_way() -> None:
    app = service()
    assert ask(app, bytes(100))[0] == 200
    assert WAYS == ["long"]
    assert ask(app, bytes(101))[0] == 413
    assert ask(app, [bytes(60), bytes(60)])[0] == 413
    assert ask(app, [bytes(60)])[0] == 200
    assert WAYS[1:] == ["long"] * 6


def test_keys_and_scopes_hold_on_either_way() -> None:
    good, key = new_key("line-1", scopes=["predict"])
    admin, boss = new_key("boss", scopes=["admin"])
    app = service(keys=KeyRing((key, boss)))
    assert ask(app)[::2] == (401, "Bearer")
    assert ask(app, headers={"Authorization": "Bearer segnet_wrong"})[0] == 401
    assert ask(app, headers={"Authorization": f"Bearer {admin}"})[0] == 403
    assert WAYS == []
    for headers in ({"Authorization": f"bearer {good}"}, {"X-API-Key": good}):
        status, told, _ = ask(app, headers=headers)
        assert (status, "'caller': 'line-1'" in told) == (200, True)


@pytest.mark.parametrize("query", ["", "?mask=jpeg"], ids=["short", "long"])
def test_a_request_is_counted_once(query: str) -> None:
    client = TestClient(service(rate_per_minute=2))
    statuses = [client.post(f"/short{query}", content=b"x").status_code for _ in range(3)]
    assert statuses[:2] != [429, 429]
    assert [status == 429 for status in statuses] == [False, False, True]
