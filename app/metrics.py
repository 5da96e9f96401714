"""The service's numbers for Prometheus; each application has its own registry, so two in a process do not meet."""

from collections.abc import Callable
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_IMAGES: Final = (1, 2, 4, 8, 16, 32, 64)

Outcome = Literal["swapped", "refused", "fell_back"]
"""What becomes of a new model."""


class Metrics:
    """What is counted. Every method may be called from any thread.

    No label ever takes what a client may choose freely, such as a path: each value is kept for good.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("segnet_requests", "Answers.", ["route", "status"], registry=self._registry)
        self._stages = Histogram(
            "segnet_stage_seconds", "Time by stage.", ["stage"], buckets=_SECONDS, registry=self._registry
        )
        self._queue_requests = Gauge("segnet_queue_requests", "Requests waiting.", registry=self._registry)
        self._queue_pixels = Gauge("segnet_queue_pixels", "Pixels waiting.", registry=self._registry)
        self._batches = Histogram(
            "segnet_batch_images", "Images judged in one go.", buckets=_IMAGES, registry=self._registry
        )
        self._provider = Info("segnet_provider", "What runs the model, and which.", registry=self._registry)
        self._models = Counter(
            "segnet_models",
            "Other models offered, by what became of them.",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in get_args(Outcome):
            self._models.labels(outcome)
        self._defects = Counter("segnet_defects", "Defects found.", ["class"], registry=self._registry)
        self._verdicts = Counter("segnet_verdicts", "Parts judged.", ["verdict"], registry=self._registry)
        ProcessCollector(registry=self._registry)

    def count_request(self, *, route: str, status: int) -> None:
        """One answer; `route` is the route's template, never the path that was asked for."""
        self._requests.labels(route, str(status)).inc()

    def observe_stage(self, stage: str, *, seconds: float) -> None:
        """How long one stage of one request took: total (counted for all), decode, queue, inference, …"""
        self._stages.labels(stage).observe(seconds)

    def observe_batch(self, images: int) -> None:
        """How many images were judged in one go."""
        self._batches.observe(images)

    def count_verdict(self, verdict: str, *, defect_classes: tuple[str, ...] = ()) -> None:
        """One part was judged, with one name of a class per defect found."""
        self._verdicts.labels(verdict).inc()
        for name in defect_classes:
            self._defects.labels(name).inc()

    def count_model(self, outcome: Outcome) -> None:
        """Another model took over, was refused, or failed at work so that the one before it is back."""
        self._models.labels(outcome).inc()

    def set_provider(self, provider: str, *, model_sha256: str) -> None:
        """What runs the model from now on, as the runtime says, not as was asked for."""
        self._provider.info({"provider": provider, "model_sha256": model_sha256})

    def watch_queue(self, *, requests: Callable[[], int], pixels: Callable[[], int]) -> None:
        """Ask these whenever the numbers are read."""
        self._queue_requests.set_function(requests)
        self._queue_pixels.set_function(pixels)

    def render(self) -> bytes:
        """All of it as text, of the type MEDIA_TYPE."""
        return generate_latest(self._registry)
