"""Keys, scopes, how often, and headers: each refusal has its status, and no answer or log line holds a key."""

import hashlib
import hmac
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse

from app import api_keys
from app.api_keys import ApiKey, KeyRing, KeysError, append_key, new_key, read_keys
from app.errors import install_error_handlers
from app.rate_limit import RateLimiter
from app.security import Guard, check_binding, install_security, require

ABC_SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""Of "abc", from FIPS 180-4."""


class Clock:
    """Time that passes when told to, in s."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def service(*, keys: KeyRing | None, rate_per_minute: float = 0) -> FastAPI:
    app = FastAPI(max_body_size=100)
    install_error_handlers(app)

    @app.post("/predict", dependencies=[Depends(require("predict"))])
    async def predict() -> str:
        return "OK"

    @app.post("/reload", dependencies=[Depends(require("admin"))])
    async def reload() -> str:
        return "reloaded"

    @app.get("/page")
    async def page() -> PlainTextResponse:
        return PlainTextResponse("page", headers={"ETag": '"1"'})

    @app.get("/kept")
    async def kept() -> PlainTextResponse:
        return PlainTextResponse("kept", headers={"Cache-Control": "max-age=60"})

    @app.get("/broken")
    async def broken() -> None:
        raise LookupError("a secret of the inside")

    install_security(app, keys=keys, rate_per_minute=rate_per_minute)
    return app


def client_of(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def keys() -> dict[str, str]:
    """Name -> the key itself."""
    return {}


@pytest.fixture
def client(keys: dict[str, str]) -> TestClient:
    """A service with a key for predict, one for admin, and one for both."""
    ring = []
    for name, scopes in {"line-1": ["predict"], "boss": ["admin"], "both": ["predict", "admin"]}.items():
        keys[name], key = new_key(name, scopes=scopes)
        ring.append(key)
    return client_of(service(keys=KeyRing(tuple(ring))))


# -- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_is_known_by_its_hash_alone() -> None:
    key = ApiKey("line-1", frozenset({"predict"}), ABC_SHA256)
    ring = KeyRing((key,))
    assert ring.find("abc") is key
    assert ring.find("xyz") is None
    assert ring.find(ABC_SHA256) is None
    assert ring.find("") is None
    assert ring.find("schlüssel\udcff") is None


def test_every_key_is_compared_in_constant_time_wherever_the_right_one_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secrets, ring = zip(*(new_key(f"key-{number}", scopes=["predict"]) for number in range(5)), strict=True)
    compared: list[tuple[str, str]] = []

    def compare_digest(known: str, presented: str) -> bool:
        compared.append((known, presented))
        return hmac.compare_digest(known, presented)

    monkeypatch.setattr(api_keys, "hmac", SimpleNamespace(compare_digest=compare_digest))
    for presented in (secrets[0], secrets[4], "unknown"):
        compared.clear()
        KeyRing(ring).find(presented)
        digest = hashlib.sha256(presented.encode()).hexdigest()
        assert compared == [(key.sha256, digest) for key in ring]


def test_new_keys_differ_and_are_long() -> None:
    secrets = {new_key("a", scopes=["predict"])[0] for _ in range(100)}
    assert len(secrets) == 100
    assert all(secret.startswith("segnet_") and len(secret) == 7 + 43 for secret in secrets)


def test_a_file_of_keys_is_read_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text("# the line's cameras\n\n", encoding="utf-8")
    path.chmod(0o600)
    made = [new_key("line-1", scopes=["predict", "metrics"])[1], new_key("boss", scopes=["admin"])[1]]
    for key in made:
        append_key(path, key)
    assert read_keys(path).keys == tuple(made)
    assert path.read_text().splitlines()[2] == f"line-1:metrics,predict:{made[0].sha256}"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_last_line_without_an_end_is_not_grown_together(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text(f"a:predict:{ABC_SHA256}")
    append_key(path, new_key("b", scopes=["admin"])[1])
    assert [key.name for key in read_keys(path).keys] == ["a", "b"]


def test_a_name_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    append_key(path, new_key("a", scopes=["predict"])[1])
    before = path.read_text()
    with pytest.raises(KeysError, match="key a stands there twice"):
        append_key(path, new_key("a", scopes=["predict"])[1])
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a:predict", "expected name:scope,scope:sha256"),
        (f"a:predict:{ABC_SHA256}:more", "expected name:scope,scope:sha256"),
        (f"a:predcit:{ABC_SHA256}", "scope 'predcit': expected predict, admin, metrics"),
        (f"a::{ABC_SHA256}", "scope ''"),
        (f"a b:predict:{ABC_SHA256}", "key name 'a b'"),
        ("a:predict:segnet_verysecret", "64 hexadecimal digits"),
        (f"a:predict:{ABC_SHA256.upper()}", "64 hexadecimal digits"),
    ],
)
def test_a_line_that_is_no_key_is_named_and_not_quoted(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "keys.txt"
    path.write_text(f"# first\n{line}\n")
    with pytest.raises(KeysError, match="line 2") as error:
        read_keys(path)
    assert message in str(error.value)
    assert "verysecret" not in str(error.value)


def test_a_file_without_keys_is_no_open_door(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("# none yet\n")
    with pytest.raises(KeysError, match="holds no key"):
        read_keys(tmp_path / "keys.txt")


# -- who may do what --------------------------------------------------------------------------------------------------


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def x_api_key(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


@pytest.mark.parametrize("headers_of", [bearer, x_api_key])
@pytest.mark.parametrize(
    ("name", "path", "status"),
    [
        ("line-1", "/predict", 200),
        ("line-1", "/reload", 403),
        ("boss", "/predict", 403),
        ("boss", "/reload", 200),
        ("both", "/predict", 200),
        ("both", "/reload", 200),
    ],
)
def test_a_key_opens_what_its_scopes_say(
    client: TestClient,
    keys: dict[str, str],
    headers_of: Callable[[str], dict[str, str]],
    name: str,
    path: str,
    status: int,
) -> None:
    answer = client.post(path, headers=headers_of(keys[name]))
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["detail"].startswith(f"the key {name} lacks the scope ")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer segnet_wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": "segnet_wrong"},
        {"X-API-Key": "schlüssel"},
    ],
    ids=["nothing", "basic", "no bearer", "wrong bearer", "empty", "wrong", "not ascii"],
)
def test_without_a_known_key_there_is_401(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post(
        "/predict", headers={name: value.encode("latin-1") for name, value in headers.items()}
    )
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "segnet_wrong" not in answer.text


def test_the_name_of_the_key_is_kept_for_the_log(keys: dict[str, str], client: TestClient) -> None:
    seen: list[str] = []
    app = client.app
    assert isinstance(app, FastAPI)

    @app.get("/who", dependencies=[Depends(require("predict"))])
    async def who(request: Request) -> None:
        seen.append(request.state.caller)

    client.get("/who", headers=bearer(keys["line-1"]))
    assert seen == ["line-1"]


def test_without_keys_everyone_may_do_all() -> None:
    client = client_of(service(keys=None))
    assert client.post("/predict").status_code == 200
    assert client.post("/reload", headers=bearer("anything")).status_code == 200


def test_no_key_is_logged(client: TestClient, keys: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for key in (keys["line-1"], "segnet_wrong"):
        for path in ("/predict", "/reload", "/broken", "/nowhere"):
            client.post(path, headers=bearer(key) | x_api_key(key))
            client.get(path, headers=bearer(key))
    assert "request None failed" in caplog.text
    assert not any(key in caplog.text for key in (*keys.values(), "segnet_wrong"))


def test_the_keys_are_in_the_openapi_document(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"HTTPBearer", "APIKeyHeader"}
    assert document["paths"]["/predict"]["post"]["security"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_without_keys_only_loopback_is_bound(host: str) -> None:
    check_binding(host, has_keys=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.4", "localhost.example.com"])
def test_elsewhere_keys_are_needed_or_the_word_insecure(host: str) -> None:
    with pytest.raises(ValueError, match=r"without API keys.*--insecure"):
        check_binding(host, has_keys=False)
    check_binding(host, has_keys=True)
    check_binding(host, has_keys=False, insecure=True)


# -- how often --------------------------------------------------------------------------------------------------------


def test_a_minutes_worth_may_come_at_once_and_then_one_every_two_seconds() -> None:
    clock = Clock()
    limiter = RateLimiter(per_minute=30, clock=clock)
    assert [limiter.take("a") for _ in range(30)] == [0.0] * 30
    assert limiter.take("a") == pytest.approx(2.0)
    clock.now_s += 1.5
    assert limiter.take("a") == pytest.approx(0.5)
    clock.now_s += 0.5
    assert limiter.take("a") == 0.0
    assert limiter.take("a") == pytest.approx(2.0)


def test_a_bucket_is_never_fuller_than_full() -> None:
    clock = Clock()
    limiter = RateLimiter(per_minute=2, clock=clock)
    limiter.take("a")
    clock.now_s += 86_400
    assert [limiter.take("a") for _ in range(3)] == [0.0, 0.0, pytest.approx(30.0)]


def test_each_caller_has_a_bucket_of_its_own() -> None:
    limiter = RateLimiter(per_minute=1, clock=Clock())
    assert [limiter.take(name) for name in "aab"] == [0.0, pytest.approx(60.0), 0.0]


def test_less_than_one_request_a_minute_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"0\.5 requests per minute: expected at least 1"):
        RateLimiter(per_minute=0.5)


def test_too_many_requests_are_told_when_to_come_again() -> None:
    secret, key = new_key("a", scopes=["predict"])
    app = service(keys=KeyRing((key,)))
    clock = Clock()
    app.state.guard = Guard(KeyRing((key,)), RateLimiter(per_minute=2, clock=clock))
    client = client_of(app)
    # Neither those without a key nor those without the scope use up what the key may do.
    assert [client.post("/predict").status_code for _ in range(3)] == [401] * 3
    assert client.post("/reload", headers=bearer(secret)).status_code == 403
    assert [client.post("/predict", headers=bearer(secret)).status_code for _ in range(3)] == [200, 200, 429]
    clock.now_s += 10.5
    answer = client.post("/predict", headers=bearer(secret))
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "20")
    clock.now_s += 20
    assert client.post("/predict", headers=bearer(secret)).status_code == 200


def test_the_rate_of_the_settings_is_kept_and_without_keys_shared() -> None:
    client = client_of(service(keys=None, rate_per_minute=1))
    assert [client.post("/predict").status_code for _ in range(2)] == [200, 429]
    client = client_of(service(keys=None, rate_per_minute=0))
    assert {client.post("/predict").status_code for _ in range(50)} == {200}


# -- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/predict", b"", 401),
        ("GET", "/page", b"", 200),
        ("GET", "/nowhere", b"", 404),
        ("GET", "/predict", b"", 405),
        ("GET", "/broken", b"", 500),
        # Over the limit on bodies, whose answer comes from outside of all ordinary middleware.
        ("POST", "/predict", b"x" * 101, 413),
    ],
)
def test_every_answer_has_the_headers(
    client: TestClient, method: str, path: str, content: bytes, status: int
) -> None:
    answer = client.request(method, path, content=content)
    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert "a secret of the inside" not in answer.text


@pytest.mark.parametrize(
    ("path", "caching"), [("/nowhere", "no-store"), ("/page", "no-cache"), ("/kept", "max-age=60")]
)
def test_answers_are_not_stored_and_files_are_asked_about(
    client: TestClient, path: str, caching: str
) -> None:
    assert client.get(path).headers["Cache-Control"] == caching
