import pytest
from prometheus_client import CollectorRegistry

from container.http.admission import Admission
from container.http.metrics import Metrics


@pytest.fixture
def metrics():
    return Metrics(CollectorRegistry())


def test_requests_are_counted_by_route_and_status(metrics):
    metrics.count("/invocations", 200, 0.2)
    metrics.count("/invocations", 200, 0.3)
    text, content_type = metrics.exposition()
    assert b'lumi_requests_total{route="/invocations",status="200"} 2.0' in text
    assert b'lumi_request_seconds_sum{route="/invocations"} 0.5' in text
    assert content_type.startswith("text/plain")


@pytest.mark.parametrize(("in_flight", "queued"), [(3, 0.0), (32, 0.0), (40, 8.0)])
def test_what_the_engine_cannot_batch_is_queued(metrics, in_flight, queued):
    admission = Admission(100)
    metrics.watch(admission, lambda: 32)
    admission.held = in_flight
    text = metrics.exposition()[0].decode()
    assert f"lumi_requests_in_flight {float(in_flight)}" in text
    assert f"lumi_requests_queued {queued}" in text
