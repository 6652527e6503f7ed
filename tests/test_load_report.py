"""The load as a header, over the real server and a scripted engine."""

import json

import pytest
from prometheus_client import CollectorRegistry, Gauge

from container.http.load_report import HEADER, KV_CACHE_USAGE, load_report
from container.http.metrics import Metrics
from tests.serving import ask, serving


@pytest.fixture(scope="module")
def served():
    with serving() as server:
        yield server


@pytest.fixture
def metrics():
    """Those of a vLLM with two replicas."""
    registry = CollectorRegistry()
    usage = Gauge(KV_CACHE_USAGE, "as vLLM has it", ["engine"], registry=registry)
    usage.labels("0").set(0.25)
    usage.labels("1").set(0.5)
    return Metrics(registry)


def test_the_report_has_vllms_two_forms(metrics):
    assert load_report("TEXT", metrics) == (
        "TEXT named_metrics.kv_cache_usage_perc=0.5, named_metrics.num_requests_waiting=0.0"
    )
    kind, _, report = load_report("json", metrics).partition(" ")
    assert kind == "JSON"
    assert json.loads(report) == {"named_metrics": {"kv_cache_usage_perc": 0.5, "num_requests_waiting": 0.0}}
    assert load_report("BIN", metrics) is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_asks_for_the_load_gets_it(served, stream):
    asked = served.post(ask("hi", stream=stream), "/v1/chat/completions", **{f"{HEADER}-format": "TEXT"})
    assert asked.headers[HEADER] == "TEXT named_metrics.num_requests_waiting=0.0"
    assert HEADER not in served.post(ask("hi"), "/v1/chat/completions").headers


def test_a_format_that_is_unknown_is_named(served):
    response = served.post(ask("hi"), "/v1/chat/completions", **{f"{HEADER}-format": "BIN"})
    assert response.status_code == 200
    assert response.headers["x-lumi-ignored"] == f"{HEADER}-format"
