"""Who may call what, how often, and the headers that keep a browser from being turned against us."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated, Final

from fastapi import FastAPI, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api_keys import ApiKey, KeyRing
from app.api_keys import Scope as KeyScope
from app.errors import Forbidden, RateLimited, Unauthorized
from app.outermost import add_outermost
from app.rate_limit import RateLimiter

_WITHOUT_KEYS: Final = "anyone"
_BEARER: Final = HTTPBearer(auto_error=False, description="An API key, as `Authorization: Bearer KEY`.")
_HEADER: Final = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="The same API key, for clients that cannot send a bearer."
)
_PAGE_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        # The picture that is looked at never left the browser, or came back as the answer's bytes.
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": _PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_RAW_HEADERS: Final = {name.lower().encode(): value.encode() for name, value in _HEADERS.items()}
"""As they go over the wire: ASGI has names in lower case."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What stands at the door. `keys` None: everyone may do all; `limiter` None: as often as they like."""

    keys: KeyRing | None
    limiter: RateLimiter | None

    def admit(self, presented: str | None, *, scope: KeyScope) -> ApiKey | None:
        """Let one request in: the key it came with, None where keys are off. No message holds what was presented.

        Raises:
            Unauthorized: no key, or an unknown one.
            Forbidden: a key without this scope.
            RateLimited: the key asks too often; where keys are off all callers share one allowance.
        """
        key = None if self.keys is None else self._known(presented, keys=self.keys)
        if key is not None and scope not in key.scopes:
            raise Forbidden(f"the key {key.name} lacks the scope {scope}; use one that has it")
        if self.limiter is not None:
            wait_s = self.limiter.take(_WITHOUT_KEYS if key is None else key.name)
            if wait_s > 0:
                raise RateLimited(
                    f"too many requests; the next may come in {wait_s:.1f} s", retry_after_s=wait_s
                )
        return key

    def _known(self, presented: str | None, *, keys: KeyRing) -> ApiKey:
        if not presented:
            raise Unauthorized("no API key; send one as Authorization: Bearer KEY, or as X-API-Key: KEY")
        key = keys.find(presented)
        if key is None:
            raise Unauthorized("unknown API key; see whether it was cut when copied, or ask for a new one")
        return key


async def admit(request: Request, *, scope: KeyScope) -> ApiKey | None:
    """Let a request in by the key in its headers; the key's name goes into the log as `caller`. Raises as `Guard`."""
    return _admit(request, await _BEARER(request), await _HEADER(request), scope=scope)


def require(scope: KeyScope) -> Callable[..., Awaitable[ApiKey | None]]:
    """The dependency of a route that needs a scope: `admit`, in a form that the OpenAPI document shows.

    FastAPI reads a body that is declared as a parameter before any dependency runs. A route that takes images
    declares `request: Request` and reads by `app.uploads`, so that nobody uploads without a key.
    """

    async def admit(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
        header: Annotated[str | None, Security(_HEADER)],
    ) -> ApiKey | None:
        return _admit(request, bearer, header, scope=scope)

    return admit


def install_security(app: FastAPI, *, keys: KeyRing | None, rate_per_minute: float = 0) -> None:
    """Set up what `require` asks, and put the security headers on every answer. `rate_per_minute` 0: no limit."""
    app.state.guard = Guard(keys, RateLimiter(per_minute=rate_per_minute) if rate_per_minute else None)
    add_outermost(app, SecurityHeaders)


def check_binding(host: str, *, has_keys: bool, insecure: bool = False) -> None:
    """Refuse to listen where others can reach us while no keys are asked for.

    Raises:
        ValueError: `host` is not this machine's loopback, there are no keys, and nobody said that this is meant.
    """
    if not (has_keys or insecure or _is_loopback(host)):
        raise ValueError(
            f"bound to {host or 'every address'} without API keys, anyone there could use the service; make keys "
            "(segnet keys new), or bind to 127.0.0.1, or say --insecure"
        )


class SecurityHeaders:
    """Puts the headers on every answer; what an answer says of its own caching stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name, value) for name, value in message["headers"] if name not in _RAW_HEADERS]
                names = {name for name, _ in own}
                message["headers"] = [*own, *_RAW_HEADERS.items()]
                if b"cache-control" not in names:
                    # Only the page's own files have an ETag: they may be kept, if asked about. Answers may not.
                    caching = b"no-cache" if b"etag" in names else b"no-store"
                    message["headers"].append((b"cache-control", caching))
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _admit(
    request: Request, bearer: HTTPAuthorizationCredentials | None, header: str | None, *, scope: KeyScope
) -> ApiKey | None:
    guard: Guard = request.app.state.guard
    key = guard.admit(bearer.credentials if bearer else header, scope=scope)
    request.state.caller = None if key is None else key.name
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
