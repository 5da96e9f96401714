"""`/v2`: the Open Inference Protocol v2 that KServe and Triton speak, for clients that know it already.

It gives tensors and no verdict. What travels: `app.tensor_messages`; what tensors a model has: `app.inference`. The
protocol has an OpenAPI document of its own, so ours leaves these routes out.
"""

import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from app.disconnects import ClientGone, unless_gone
from app.errors import MEDIA_TYPE, NotFound, NotReady, ServiceError, UnsupportedImage, problem_of
from app.inference import Limits, choose_outputs, describe, judge, read_decision, read_images, to_outputs
from app.loaded_model import ModelFacts
from app.security import require
from app.service import Service, service_of
from app.settings import Settings
from app.tensor_messages import Answer, Call, read_call, write_answer
from app.uploads import read_upload

_LENGTH_HEADER: Final = "Inference-Header-Content-Length"
_log: Final = logging.getLogger(__name__)


class ProtocolRoute(APIRoute):
    """A route whose errors are problems as anywhere in the service, with the protocol's `error` among the members."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:  # the edge, as in app.errors
                problem = problem_of(error, instance=request.state.request_id)
                if problem.status == ServiceError.status:
                    _log.error("request %s failed", problem.instance, exc_info=error)
                return JSONResponse(
                    {"error": problem.detail} | problem.model_dump(exclude_none=True),
                    status_code=problem.status,
                    headers=getattr(error, "headers", None),
                    media_type=MEDIA_TYPE,
                )

        return answer


@dataclass(frozen=True)
class Asked:
    """Which model a path names; `version` None: whichever there is."""

    name: str
    version: str | None

    def check(self, model: ModelFacts) -> None:
        """Raise NotFound unless it is this model."""
        contract = model.contract
        if self.name != contract.name:
            raise NotFound(f"no model {self.name[:80]!r}; there is {contract.name!r}")
        if self.version not in (None, contract.version):
            there_is = "it has no versions" if contract.version is None else f"there is {contract.version!r}"
            raise NotFound(f"no version {self.version!r:.80} of the model {contract.name!r}; {there_is}")


def _asked(request: Request) -> Asked:
    return Asked(request.path_params["name"], version=request.path_params.get("version"))


_Asked = Annotated[Asked, Depends(_asked)]
_Service = Annotated[Service, Depends(service_of)]
_WITH_KEY: Final = [Depends(require("predict"))]


def v2_router(settings: Settings) -> APIRouter:
    """The routes, with the limits of these settings."""
    router = APIRouter(prefix="/v2", route_class=ProtocolRoute, include_in_schema=False)
    limits = Limits.of(settings)

    @router.get("")
    @router.get("/")
    async def server(request: Request) -> dict[str, Any]:
        """Who answers, and which extensions of the protocol it speaks."""
        app = request.app
        return {"name": app.title, "version": app.version, "extensions": ["binary_tensor_data"]}

    @router.get("/health/live")
    async def live() -> dict[str, bool]:
        """Whether the process lives."""
        return {"live": True}

    @router.get("/health/ready")
    async def ready(service: _Service) -> dict[str, bool]:
        """Whether an image may come; else 503 with the reason."""
        _check_ready(service)
        return {"ready": True}

    # With a key: whoever has none need not know what the model is called.
    @router.get("/models/{name}/ready", dependencies=_WITH_KEY)
    @router.get("/models/{name}/versions/{version}/ready", dependencies=_WITH_KEY)
    async def model_ready(asked: _Asked, service: _Service) -> dict[str, Any]:
        """Whether this model is there and an image may come."""
        _check_ready(service)
        asked.check(service.engine.model)
        return {"name": asked.name, "ready": True}

    @router.get("/models/{name}", dependencies=_WITH_KEY)
    @router.get("/models/{name}/versions/{version}", dependencies=_WITH_KEY)
    async def model(asked: _Asked, service: _Service) -> dict[str, Any]:
        """The tensors that the model takes and gives."""
        facts = service.engine.model
        asked.check(facts)
        return describe(facts.contract)

    @router.post("/models/{name}/infer", dependencies=_WITH_KEY)
    @router.post("/models/{name}/versions/{version}/infer", dependencies=_WITH_KEY)
    async def infer(
        request: Request,
        asked: _Asked,
        service: _Service,
        json_bytes: Annotated[str | None, Header(alias=_LENGTH_HEADER)] = None,
    ) -> Response:
        """Judge the images of one tensor."""
        asked.check(service.engine.model)
        service.engine.check_room(1)
        coding = request.headers.get("content-encoding", "identity")
        if coding != "identity":
            raise UnsupportedImage(f"Content-Encoding {coding!r:.40}: send the body as it is, not compressed")
        body = await read_upload(request, max_bytes=settings.max_bytes)
        call = await to_thread.run_sync(
            partial(read_call, body, json_bytes=json_bytes), limiter=limits.reading
        )
        work = _infer(call, asked=asked, service=service, limits=limits)
        try:
            answer = await unless_gone(request, work)
        except ClientGone:
            # Nobody is there to get it; this is what nginx calls it in its log.
            return Response(status_code=499)
        if answer.json_bytes is None:
            return Response(answer.body, media_type="application/json")
        headers = {_LENGTH_HEADER: str(answer.json_bytes)}
        return Response(answer.body, headers=headers, media_type="application/octet-stream")

    @router.get("/{rest:path}")
    @router.post("/{rest:path}")
    async def other(rest: str) -> None:
        """Whatever else clients know of, such as shared memory: so that they can read the refusal."""
        raise NotFound(
            f"nothing at /v2/{rest[:80]}; of the protocol's extensions only binary_tensor_data is here"
        )

    return router


def _check_ready(service: Service) -> None:
    readiness = service.engine.readiness()
    if not readiness.ready:
        raise NotReady(readiness.reason)


async def _infer(call: Call, *, asked: Asked, service: Service, limits: Limits) -> Answer:
    """From what a client asks for to its answer."""
    engine = service.engine
    began_s = time.perf_counter()
    decision = read_decision(call)
    images = await read_images(call, limits=limits)
    outputs = choose_outputs(call, images=images, contract=engine.model.contract)
    engine.check_room(sum(image.shape[0] * image.shape[1] for image in images))
    service.metrics.observe_stage("decode", seconds=time.perf_counter() - began_s)
    judged = await judge(
        engine,
        images,
        decision=decision,
        want_probabilities="probabilities" in outputs,
        timeout_s=min(limits.timeout_s, call.timeout_s or limits.timeout_s),
    )
    model = judged[0].model
    asked.check(model)  # another one may have taken over since
    contract = model.contract
    head = {
        "model_name": contract.name,
        **({} if contract.version is None else {"model_version": contract.version}),
        **({} if call.id is None else {"id": call.id}),
    }
    began_s = time.perf_counter()
    answer = await to_thread.run_sync(
        partial(write_answer, head, outputs=to_outputs(judged, outputs=outputs)), limiter=limits.writing
    )
    service.metrics.observe_stage("encode", seconds=time.perf_counter() - began_s)
    for one in judged:
        service.metrics.observe_stage("queue", seconds=one.queue_ms / 1000)
        service.metrics.observe_stage("inference", seconds=one.inference_ms / 1000)
    return answer
