"""The route that a request to /invocations names, as clients of AWS's vLLM container do."""

import pytest

from container.http.custom_attributes import HEADER
from handler.engine import Adapter
from handler.engines.fake import FakeEngine
from handler.payload.adapter_choice import HEADER as ADAPTER_HEADER
from tests.serving import answer, ask, fault, serving

COMPLETION = {"prompt": "once", "max_tokens": 3}


@pytest.fixture(scope="module")
def served():
    engine = FakeEngine()
    engine._adapters["french"] = Adapter("french", "/somewhere/french", "adapters/french", rank=4, created=7)
    with serving(engine, environ={"OPTION_ENABLE_STATEFUL_SESSIONS": "true"}) as server:
        yield server


@pytest.mark.parametrize(
    ("attributes", "body"),
    [
        ("route=/v1/chat/completions", ask("hi")),
        ("trace=7,route=/v1/chat/completions", ask("hi")),
        ("trace=7; route=/v1/chat/completions;user=me", ask("hi")),
        ("route=/v1/completions", COMPLETION),
        ("route=/tokenize", {"prompt": "once"}),
        ("route=/detokenize", {"tokens": [104, 105]}),
        ("route=/invocations", {"inputs": "once"}),
    ],
)
def test_the_named_route_answers(served, attributes, body):
    path = attributes.partition("route=")[2].partition(";")[0]
    by_name, direct = served.post(body, **{HEADER: attributes}), served.post(body, path)
    assert by_name.status_code == 200, by_name.text
    ours, theirs = by_name.json(), direct.json()
    assert {**ours, "id": 0, "created": 0} == {**theirs, "id": 0, "created": 0}


def test_a_stream_is_framed_as_on_the_named_route(served):
    streamed = served.post(ask("hi", stream=True), **{HEADER: "route=/v1/chat/completions"})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert not served.post(ask("hi", stream=True)).text.startswith("data:")


def test_the_metrics_count_the_named_route(served):
    counted = 'lumi_requests_total{route="/v1/completions",status="200"}'
    served.post(COMPLETION, **{HEADER: "route=/v1/completions"})
    assert counted in served.client.get("/metrics").text


@pytest.mark.parametrize("attributes", ["", "trace=7", "route=blue", "my-route=/adapters", "route:/adapters"])
def test_attributes_of_the_clients_own_are_left_alone(served, attributes):
    assert answer(served.post(ask("hi"), **{HEADER: attributes})) == "user: hi"


@pytest.mark.parametrize(
    "name",
    [
        "/v1/embeddings",
        "/adapters",
        "/adapters/french",
        "/v1/load_lora_adapter",
        "/models",
        "/server/logging",
        "/ping",
        "/",
    ],
)
def test_a_route_that_runs_no_model_is_refused_with_those_that_do(served, name):
    response = served.post({"name": "a", "src": "/x"}, **{HEADER: f"route={name}"})
    assert response.status_code == 400
    assert fault(response)["param"] == HEADER
    assert fault(response)["code"] == "route_not_found"
    assert f"`route={name}`" in fault(response)["message"]
    assert "Name one of /v1/chat/completions, " in fault(response)["message"]
    assert " /invocations, /tokenize, " in fault(response)["message"]
    assert "/adapters," not in fault(response)["message"]


def test_only_invocations_reads_them(served):
    assert "choices" in served.post(COMPLETION, "/v1/completions", **{HEADER: "route=/tokenize"}).json()
    assert served.client.get("/models", headers={HEADER: "route=/tokenize"}).status_code == 200
    assert served.client.get("/invocations", headers={HEADER: "route=/tokenize"}).status_code == 405


def test_the_headers_of_adapters_and_sessions_count_on_the_named_route(served):
    route = {HEADER: "route=/v1/chat/completions"}
    assert answer(served.post(ask("hi"), **route, **{ADAPTER_HEADER: "french"})) == "user: hi (french)"
    session = served.post({"requestType": "NEW_SESSION"}).json()["sessionId"]
    named = {"X-Amzn-SageMaker-Session-Id": session}
    assert answer(served.post(ask("hi"), **route, **named)) == "user: hi"
    unknown = served.post(ask("hi"), **route, **{"X-Amzn-SageMaker-Session-Id": "nobody"})
    assert fault(unknown)["code"] == "session_not_found"
