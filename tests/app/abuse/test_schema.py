"""All that the OpenAPI document allows, and much that it forbids, asked by schemathesis: each of its checks passes.

It runs in this process, from a seed. Its own pytest integration does not work with pytest 9, so its engine is used.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import strategies
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.python.asgi import shutdown_lifespans

from app.api_keys import append_key, new_key
from app.main import create_app
from app.settings import Settings

from .malformed import image
from .malformed_archives import HONEST

OPERATIONS: Final = (
    "POST /v1/predictions",
    "POST /v1/predictions/batch",
    "GET /v1/model",
    "POST /v1/model/reload",
    "GET /v1/recipes",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
)
EXAMPLES: Final = 25
"""Of each operation, besides those that cover each rule of the document."""


@dataclass
class Run:
    """What schemathesis saw: answers by operation and status, the checks that it made, and those that failed."""

    answers: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    checks: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    def note(self, event: Any) -> None:
        if isinstance(event, events.NonFatalError):
            self.failures.append(f"{event.label}: {event.value}")
        if not isinstance(event, events.ScenarioFinished):
            return
        for interaction in event.recorder.interactions.values():
            assert interaction.response is not None
            self.answers[event.recorder.label][interaction.response.status_code] += 1
        for nodes in event.recorder.checks.values():
            for check in nodes:
                self.checks.add(check.name)
                if check.failure_info is not None:
                    told = check.failure_info
                    self.failures.append(
                        f"{event.recorder.label}: {told.failure.message}\n{told.code_sample}"
                    )


@pytest.fixture(scope="module")
def ran(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run over a service that asks for keys, with a key that may do everything."""
    keys_file = tmp_path_factory.mktemp("keys") / "keys.txt"
    secret, key = new_key("tester", scopes=["predict", "admin", "metrics"])
    append_key(keys_file, key)
    model = repository / "tests" / "promises" / "format_1.onnx"
    app = create_app(Settings(model=model, device="cpu", threads=1, keys_file=keys_file))
    _say_what_this_model_takes(app.openapi())
    _teach_files()
    config = SchemathesisConfig.from_dict(
        {
            "headers": {"Authorization": f"Bearer {secret}"},
            "seed": 20,
            "continue-on-failure": True,
            "generation": {"max-examples": EXAMPLES, "deterministic": True},
            "phases": {"coverage": {"generate-duplicate-query-parameters": True}},
        }
    )
    run = Run()
    for event in from_schema(schemathesis.openapi.from_asgi("/openapi.json", app, config=config)).execute():
        run.note(event)
    yield run
    shutdown_lifespans()


def _say_what_this_model_takes(document: dict[str, Any]) -> None:
    """Put into the document what holds for one model alone: three classes, one recipe."""
    here = {"weights": {"type": "string", "pattern": "^[1-9](,[1-9]){2}$"}, "recipe": {"enum": ["colours"]}}
    for path in ("/v1/predictions", "/v1/predictions/batch"):
        for parameter in document["paths"][path]["post"]["parameters"]:
            parameter["schema"] = here.get(parameter["name"], parameter["schema"])


def _teach_files() -> None:
    """What is sent where the document asks for a file; what is sent in its stead is what other tests are about."""
    images = strategies.sampled_from([image(name) for name in ("PNG", "JPEG", "TIFF", "BMP", "WEBP")])
    schemathesis.openapi.format("binary", images)
    for media_type in ("image/*", "application/octet-stream"):
        schemathesis.openapi.media_type(media_type, images)
    for media_type, name in (("zip", "zip"), ("x-tar", "tar"), ("gzip", "tar.gz")):
        schemathesis.openapi.media_type(f"application/{media_type}", strategies.just(HONEST[name]))


def test_every_check_passes(ran: Run) -> None:
    assert not ran.failures, "\n\n".join(ran.failures)


def test_nothing_that_is_asked_makes_the_service_fail(ran: Run) -> None:
    assert {status for statuses in ran.answers.values() for status in statuses if status >= 500} == set()


def test_every_operation_was_asked_and_answered(ran: Run) -> None:
    assert ran.answers.keys() >= set(OPERATIONS)
    for operation in OPERATIONS:
        assert ran.answers[operation][200] >= 3, operation
    for operation in OPERATIONS[:2]:
        assert ran.answers[operation][200] >= 20, operation
        assert ran.answers[operation][422] >= 20, operation
    for operation in OPERATIONS[:5]:
        assert ran.answers[operation][401] >= 1, operation


def test_all_checks_were_made(ran: Run) -> None:
    """Those that have something to look at here: no header is required, and nothing is made or deleted."""
    assert ran.checks >= {
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "positive_data_acceptance",
        "ignored_auth",
        "unsupported_method",
        "allow_header_conformance",
    }
