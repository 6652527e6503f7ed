"""Prometheus metrics of our own, beside those that the engine registers in the same registry."""

from collections.abc import Callable, Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from container.http.admission import Admission

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240)


class Metrics:
    """Requests by route and status, in flight, queued, and how long they took."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._requests = Counter("lumi_requests", "Requests answered.", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "lumi_request_seconds",
            "Seconds from the first byte of a request to the last byte of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._broken = Counter("lumi_broken_streams", "Streams that ended with an error.", ["route"], registry=registry)
        self._in_flight = Gauge(
            "lumi_requests_in_flight", "Requests admitted whose answer is not computed yet.", registry=registry
        )
        self._queued = Gauge(
            "lumi_requests_queued", "Requests in flight beyond what the engine batches at once.", registry=registry
        )
        self._stored = Gauge("lumi_stored_bytes", "Bytes that are kept, by store.", ["store"], registry=registry)
        self._stored_limit = Gauge("lumi_stored_bytes_limit", "Their maximum.", ["store"], registry=registry)
        self._limit = Gauge("lumi_requests_limit", "Requests that may run or wait.", registry=registry)
        self._admission = Admission(0)
        self._batch_size: Callable[[], int] = lambda: 0

    def count(self, route: str, status: int, seconds: float) -> None:
        """One request of `route` was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def broken(self, route: str) -> None:
        """A stream of `route` ended with an error, after its status was sent."""
        self._broken.labels(route).inc()

    def watch(self, admission: Admission, batch_size: Callable[[], int]) -> None:
        """Show the requests that `admission` has admitted; the engine runs `batch_size()` of them at once."""
        self._admission, self._batch_size = admission, batch_size
        self._in_flight.set_function(lambda: self.in_flight)
        self._limit.set_function(lambda: admission.limit)
        self._queued.set_function(lambda: self.queued)

    @property
    def in_flight(self) -> int:
        """Requests admitted whose answer is not computed yet."""
        return self._admission.held

    @property
    def queued(self) -> int:
        """Those beyond what the engine batches at once."""
        return max(0, self.in_flight - self._batch_size())

    def gauge(self, name: str) -> float | None:
        """The largest value of a gauge, over its labels; None if nobody has registered it."""
        families = self._registry.restricted_registry([name]).collect()
        return max((sample.value for family in families for sample in family.samples), default=None)

    def watch_store(self, store: str, size: Callable[[], float], limit: Callable[[], float]) -> None:
        """Show the bytes that `store` keeps, and may keep."""
        self._stored.labels(store).set_function(size)
        self._stored_limit.labels(store).set_function(limit)

    def exposition(self, names: Sequence[str] = ()) -> tuple[bytes, str]:
        """The metrics of the registry, all or those `names`, in Prometheus' text format, and its content type."""
        shown = self._registry.restricted_registry(names) if names else self._registry
        return generate_latest(shown), CONTENT_TYPE_LATEST
