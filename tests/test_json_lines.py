"""Bodies of JSON lines, as a batch transform sends them, over the real server and a scripted engine."""

import json

import pytest

from handler.engines.fake import FakeEngine
from handler.errors import EngineFailure
from handler.payload.body import MAX_ROWS
from tests.serving import answer, ask, data_url, fault, serving


@pytest.fixture(scope="module")
def served():
    with serving() as server:
        yield server


def post(server, *lines, kind="application/jsonlines", between=b"\n"):
    body = between.join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    return server.client.post("/invocations", content=body, headers={"content-type": kind})


@pytest.mark.parametrize("kind", ["application/jsonlines", "application/x-ndjson; charset=utf-8"])
def test_each_line_is_answered_in_its_place_whatever_its_schema(served, kind):
    response = post(served, ask("a", data_url(2, 3)), {"inputs": "b"}, {"prompt": "c", "model": "mine"}, b"", kind=kind)
    assert response.headers["content-type"] == "application/jsonlines"
    assert response.headers["x-lumi-ignored"] == "model"
    chat, generated, completed = map(json.loads, response.text.splitlines())
    assert chat["choices"][0]["message"]["content"] == "user: a[2x3]"
    assert generated == {"generated_text": "b"}
    assert completed["choices"][0]["text"] == "c"


def test_a_faulty_line_has_its_error_and_harms_no_other(served):
    lines = ({"inputs": "a"}, b"{no", {"inputs": 3}, ask("hi", stream=True), ask("data:,x"), {"inputs": "b"})
    response = post(served, *lines, between=b"\r\n")
    assert response.status_code == 200
    first, *faulty, last = map(json.loads, response.text.splitlines())
    assert (first, last) == ({"generated_text": "a"}, {"generated_text": "b"})
    assert [line["error"]["param"] for line in faulty] == [
        None,
        "inputs",
        "stream",
        "messages[0].content[0].image_url.url",
    ]


def test_a_single_line_is_an_ordinary_request(served):
    assert answer(post(served, ask("hi"), b"")) == "user: hi"
    assert fault(post(served, {"inputs": 3}, b""))["param"] == "inputs"


def test_too_many_lines_are_refused(served):
    response = post(served, *[{"inputs": "a"}] * (MAX_ROWS + 1))
    assert (response.status_code, str(MAX_ROWS) in fault(response)["message"]) == (400, True)


def test_a_fault_of_the_server_is_the_whole_responses():
    with serving(FakeEngine(error=EngineFailure("no"))) as server:
        assert post(server, {"inputs": "a"}, {"inputs": "b"}).status_code == 500
