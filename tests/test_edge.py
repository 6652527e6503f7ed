import asyncio
import base64
import json
import re
import threading

import pytest
from prometheus_client import CollectorRegistry
from starlette.responses import Response

from container.http.admission import Admission
from container.http.edge import Edge
from container.http.metrics import Metrics
from container.http.routes import Route, Routes
from handler.engines.fake import FakeEngine
from tests.serving import answer, ask, data_url, fault, serving, wait_for


@pytest.fixture(scope="module")
def served():
    with serving() as server:
        yield server


def test_metrics_count_requests_by_route_and_status(served):
    served.post(ask("hi"))
    served.post(b"{")
    text = served.client.get("/metrics").text
    assert 'lumi_requests_total{route="/invocations",status="200"}' in text
    assert 'lumi_requests_total{route="/invocations",status="400"}' in text
    assert "lumi_requests_in_flight 0.0" in text
    assert 'lumi_request_seconds_count{route="/invocations"}' in text


def test_an_unknown_path_does_not_make_a_metric_of_its_own(served):
    assert fault(served.client.get("/secret"))["code"] == "not_found"
    assert "/secret" not in served.client.get("/metrics").text


@pytest.mark.parametrize("header", ["x-request-id", "X-Amzn-SageMaker-Inference-Id"])
def test_the_request_id_of_the_client_comes_back(served, header):
    response = served.post(ask("hi"), **{header: "trace-7"})
    assert response.headers[header] == "trace-7"
    assert response.headers["x-request-id"] == "trace-7"


def test_a_request_id_that_is_no_header_is_replaced(served):
    response = served.client.post("/invocations", json=ask("hi"), headers={"x-request-id": "a b" * 200})
    assert "a b" not in response.headers["x-request-id"]
    assert answer(response)


def test_what_is_ignored_is_told(served):
    body = ask("hi", store=True, metadata={"a": 1})
    body["messages"][0]["mood"] = "good"
    response = served.post(body)
    assert response.headers["x-lumi-ignored"] == "metadata, store, messages[0].mood"


def test_an_ignored_name_cannot_forge_a_header(served):
    response = served.post(ask("hi", **{"x\r\nset-cookie: a": 1, "é": 2}))
    assert "set-cookie" not in response.headers
    assert answer(response)


def test_an_unforeseen_exception_is_a_500_that_tells_nothing():
    engine = FakeEngine(error=ZeroDivisionError("secret path /root"))
    with serving(engine) as server:
        response = server.post(ask("hi"))
        assert response.status_code == 500
        assert "secret" not in response.text


class Unsendable(Response):
    async def __call__(self, *_):
        raise ZeroDivisionError


def test_a_response_that_fails_before_it_begins_is_a_500():
    async def respond(request, exchange):
        return Unsendable()

    async def main():
        sent = []

        async def send(message):
            sent.append(message)

        routes = Routes([Route("/x", respond, ("GET",))])
        edge = Edge(routes, Admission(1), Metrics(CollectorRegistry()), lmi_errors=False)
        await edge({"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b""}, None, send)
        assert sent[0]["status"] == 500

    asyncio.run(main())


def test_metrics_show_what_each_store_keeps_and_may_keep():
    engine = FakeEngine(gate=asyncio.Event())
    settings = {"OPTION_ENABLE_STATEFUL_SESSIONS": "true", "OPTION_SESSIONS_MAX_BYTES": "1000"}
    with serving(engine, environ=settings, queue=3) as server:
        opened = server.post({"requestType": "NEW_SESSION"}).headers["x-amzn-sagemaker-session-id"]
        body = json.dumps(ask("hi", image := data_url())).encode()
        first = threading.Thread(target=server.post, args=(body,), kwargs={"x-amzn-sagemaker-session-id": opened})
        first.start()
        wait_for(lambda: engine.seen)
        text = server.client.get("/metrics").text
        image_bytes = len(base64.b64decode(image.partition(",")[2]))
        for store, size, limit in (("bodies", len(body), 3 << 20), ("sessions", image_bytes, 1000)):
            assert f'lumi_stored_bytes{{store="{store}"}} {float(size)}' in text
            found = re.search(rf'lumi_stored_bytes_limit{{store="{store}"}} (\S+)', text)
            assert float(found[1]) == limit
        assert "lumi_requests_limit 3.0" in text
        server.call(engine.gate.set)
        first.join()
        wait_for(lambda: 'lumi_stored_bytes{store="bodies"} 0.0' in server.client.get("/metrics").text)


def test_one_request_more_than_the_queue_is_refused_at_once():
    engine = FakeEngine(gate=asyncio.Event())
    with serving(engine, queue=1) as server:
        first = threading.Thread(target=server.post, args=(ask("hi"),))
        first.start()
        wait_for(lambda: engine.seen)
        refused = server.post(ask("hi"))
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert server.client.get("/ping").status_code == 200
        server.call(engine.gate.set)
        first.join()
        assert answer(server.post(ask("again")))
