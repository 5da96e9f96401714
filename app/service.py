"""What the service makes of an image: decoded, judged, measured, encoded, each where it stalls nobody."""

import asyncio
import threading
import time
from functools import partial

from fastapi import Request

from app.archives import Member
from app.engine import Engine, EngineLimits
from app.errors import Unprocessable
from app.loaded_model import ModelFacts, refusal
from app.metrics import Metrics
from app.model_loader import ModelLoader
from app.model_watch import watch_source
from app.predictions import Decoded, Encoder, Judgement, rule
from app.queries import PredictionQuery
from app.recipes import RecipeBook
from app.relay import Relay
from app.uploads import read_pixels
from app.worker import FallBack, Judged


class Service:
    """What every route works with: the engine, the recipes and the numbers of one application."""

    def __init__(
        self,
        loader: ModelLoader,
        *,
        limits: EngineLimits,
        recipes: RecipeBook,
        metrics: Metrics,
        max_pixels: int,
    ) -> None:
        self._loader = loader
        self.engine = engine = Engine(
            loader.load_first,
            limits=limits,
            on_batch=lambda batch: metrics.observe_batch(batch.images),
            on_fall_back=self._fell_back,
        )
        self.recipes = recipes
        self.metrics = metrics
        self._max_pixels = max_pixels
        self._relay = Relay(engine)
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
        """Put what the source of models offers now in the place of the old one. Raises as `Engine.reload`."""
        source = self._loader.source
        try:
            offer = await asyncio.to_thread(source.look)
        except (ValueError, OSError) as error:
            raise refusal(error) from error
        try:
            facts = await self.engine.reload(partial(self._loader.load, offer))
        except Unprocessable as refused:
            self.metrics.count_model("refused")
            # Where nothing works, it may be this machine's fault.
            if self.engine.readiness().ready:
                await asyncio.to_thread(self._loader.blame, offer, refused.__cause__)
            raise
        self.metrics.count_model("swapped")
        self._tell_provider(facts)
        return facts

    async def watch(self, *, every_s: float) -> None:
        """Look for ever, every so often, whether another model is offered, and take it."""
        await watch_source(
            self._loader.source, every_s=every_s, served=lambda: self.engine.offer, on_change=self.reload
        )

    def admit(self, query: PredictionQuery) -> None:
        """Raise, before a byte is read, what would come of this request whatever its image.

        Raises:
            NotReady, Overloaded: of the engine.
            NotFound, Unprocessable: of the recipe.
            Unprocessable: as many weights as there are classes in another model.
        """
        self.engine.check_room(1)
        contract = self.engine.model.contract
        if query.recipe is not None or query.min_area_px is not None:
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
        decode = partial(self._decode, upload, began_s=time.perf_counter())
        finish = partial(self._finish, query=query, request_id=request_id, encode=encode)
        return await self._relay.run(decode, decision=query.decision, finish=finish)

    async def stop(self, *, drain_s: float) -> None:
        """Stop the engine, as `Engine.stop`, and the threads."""
        await self.engine.stop(drain_s=drain_s)
        self._relay.close()

    def _decode(self, upload: Member, *, began_s: float) -> Decoded:
        """In a thread."""
        image, facts = read_pixels(upload.content, max_pixels=self._max_pixels)
        decode_ms = 1000 * (time.perf_counter() - began_s)
        return Decoded(upload, image, facts, began_s=began_s, decode_ms=decode_ms)

    def _finish(
        self,
        decoded: Decoded,
        judged: Judged,
        *,
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

    def _fell_back(self, fall_back: FallBack) -> None:
        """A new model failed at work. In the worker's thread, which has images to judge: another tells the source."""
        self.metrics.count_model("fell_back")
        self._tell_provider(fall_back.back)
        offer = fall_back.failed.offer
        if offer is not None:
            reject = partial(self._loader.source.reject, offer, reason=fall_back.reason)
            threading.Thread(target=reject, name="reject").start()

    def _tell_provider(self, facts: ModelFacts) -> None:
        self.metrics.set_provider(facts.provider, model_sha256=facts.digest)


async def service_of(request: Request) -> Service:
    """The dependency by which routes get at it; async, since FastAPI sends any other through a thread."""
    service: Service = request.app.state.service
    return service
