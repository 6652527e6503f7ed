"""Prometheus metrics of our own, beside those that the engine registers in the same registry."""

from collections.abc import Callable

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

    def count(self, route: str, status: int, seconds: float) -> None:
        """One request of `route` was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def broken(self, route: str) -> None:
        """A stream of `route` ended with an error, after its status was sent."""
        self._broken.labels(route).inc()

    def watch(self, admission: Admission, batch_size: int) -> None:
        """Show the requests that `admission` has admitted; the engine runs `batch_size` of them at once."""
        self._in_flight.set_function(lambda: admission.held)
        self._limit.set_function(lambda: admission.limit)
        self._queued.set_function(lambda: max(0, admission.held - batch_size))

    def watch_store(self, store: str, size: Callable[[], float], limit: Callable[[], float]) -> None:
        """Show the bytes that `store` keeps, and may keep."""
        self._stored.labels(store).set_function(size)
        self._stored_limit.labels(store).set_function(limit)

    def exposition(self) -> tuple[bytes, str]:
        """All metrics of the registry in Prometheus' text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
