"""One image's way through the service: decoded, judged, measured, encoded, each where it stalls nobody.

Pixels are decoded and answers made in threads of their own, two lots of them: who is nearly done must not wait
behind those who just came.
"""

import os
import time
from functools import partial
from typing import Final

from anyio import CapacityLimiter, to_thread
from fastapi import Request

from app.archives import Member
from app.engine import Engine
from app.errors import Unprocessable
from app.loaded_model import ModelFacts
from app.metrics import Metrics
from app.predictions import Decoded, Encoder, Judgement, rule
from app.queries import PredictionQuery
from app.recipes import RecipeBook
from app.uploads import decode
from app.worker import Judged

_CORES: Final = os.cpu_count() or 1


class Service:
    """What every route works with: the engine, the recipes and the numbers of one application."""

    def __init__(self, engine: Engine, *, recipes: RecipeBook, metrics: Metrics, max_pixels: int) -> None:
        self.engine = engine
        self.recipes = recipes
        self.metrics = metrics
        self._max_pixels = max_pixels
        self._decoding, self._finishing = CapacityLimiter(_CORES), CapacityLimiter(_CORES)
        metrics.watch_queue(
            requests=lambda: engine.depth.requests,
            pixels=lambda: engine.depth.pixels,
        )

    async def start(self) -> None:
        """Start the engine. Raises what opening the model does."""
        await self.engine.start()
        if self.engine.readiness().ready:
            self._tell_provider(self.engine.model)

    async def reload(self) -> ModelFacts:
        """Put the model file that is there now in the place of the old one. Raises as `Engine.reload`."""
        facts = await self.engine.reload()
        self._tell_provider(facts)
        return facts

    def admit(self, query: PredictionQuery) -> None:
        """Raise, before a byte is read, what would come of this request whatever its image.

        Raises:
            NotReady, Overloaded: of the engine.
            NotFound, Unprocessable: of the recipe.
            Unprocessable: as many weights as there are classes in another model.
        """
        self.engine.check_room(1)
        contract = self.engine.model.contract
        self.recipes.choose(query, contract=contract)
        if query.decision is not None and len(query.decision.weights) != len(contract.classes):
            raise Unprocessable(
                f"{len(query.decision.weights)} weights for a model of {len(contract.classes)} classes; "
                "expected one per class"
            )

    async def predict(
        self, upload: Member, *, query: PredictionQuery, request_id: str, encode: Encoder
    ) -> bytes:
        """The answer to one image, in the form that `encode` makes.

        Raises:
            ServiceError: what is wrong with the upload, the query or the state of things.
        """
        if upload.refusal is not None:
            raise upload.refusal
        began_s = time.perf_counter()
        image, facts = await decode(upload.content, max_pixels=self._max_pixels, limiter=self._decoding)
        decode_ms = 1000 * (time.perf_counter() - began_s)
        decoded = Decoded(upload, image, facts, began_s=began_s, decode_ms=decode_ms)
        judged = await self.engine.predict(image, decision=query.decision)
        finish = partial(
            self._finish, judged, decoded=decoded, query=query, request_id=request_id, encode=encode
        )
        return await to_thread.run_sync(finish, limiter=self._finishing)

    def _finish(
        self,
        judged: Judged,
        *,
        decoded: Decoded,
        query: PredictionQuery,
        request_id: str,
        encode: Encoder,
    ) -> bytes:
        """Measure, rule and encode, in a thread."""
        # Chosen anew: it has to fit the model that judged, whichever was there when the request came.
        recipe = self.recipes.choose(query, contract=judged.model.contract)
        measure_began_s = time.perf_counter()
        ruling = rule(judged, recipe=recipe)
        encode_began_s = time.perf_counter()
        measure_ms = 1000 * (encode_began_s - measure_began_s)
        judgement = Judgement(request_id, decoded, judged, recipe, ruling, measure_ms=measure_ms)
        answer = encode(judgement)
        self._count(judgement, encode_ms=1000 * (time.perf_counter() - encode_began_s))
        return answer

    def _count(self, judgement: Judgement, *, encode_ms: float) -> None:
        names, ruling, judged = judgement.class_map.names, judgement.ruling, judgement.judged
        self.metrics.count_verdict(
            ruling.verdict, defect_classes=tuple(names[defect.class_id] for defect in ruling.counted)
        )
        stages_ms = {
            "decode": judgement.decoded.decode_ms,
            "queue": judged.queue_ms,
            "inference": judged.inference_ms,
            "measure": judgement.measure_ms,
            "encode": encode_ms,
        }
        for stage, spent_ms in stages_ms.items():
            self.metrics.observe_stage(stage, seconds=spent_ms / 1000)

    def _tell_provider(self, facts: ModelFacts) -> None:
        self.metrics.set_provider(facts.provider, model_sha256=facts.digest)


async def service_of(request: Request) -> Service:
    """The dependency by which routes get at it; async, since FastAPI sends any other through a thread."""
    service: Service = request.app.state.service
    return service
