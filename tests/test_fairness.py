"""One client's thousand prompts do not starve the next, over real HTTP."""

import asyncio
import threading
from dataclasses import replace

import httpx
import pytest

from handler.engines.fake import FakeEngine
from tests.serving import answer, ask, fault, serving, wait_for

CSV = "inputs\n" + "a b c\n" * 1000
INPUTS = {"inputs": ["a"] * 1000}
PROMPTS = {"prompt": ["a"] * 1000}


@pytest.fixture
def served():
    engine = FakeEngine(gate=asyncio.Event())
    engine.card = replace(engine.card, batch_size=4)
    with serving(engine, queue=40) as server:
        yield server


def behind(served, *requests):
    """Threads that send each of the requests, and end when they are answered."""
    threads = [threading.Thread(target=request) for request in requests]
    for thread in threads:
        thread.start()
    return threads


def texts_in(engine):
    return sum(len(getattr(prompt, "texts", "1")) for prompt in engine.seen)


@pytest.mark.parametrize("many", [CSV.encode(), INPUTS, PROMPTS], ids=["rows", "inputs", "prompts"])
def test_a_request_of_a_thousand_inputs_leaves_room_for_the_next(served, many):
    kind = "text/csv" if isinstance(many, bytes) else "application/json"
    threads = behind(served, lambda: served.post(many, **{"content-type": kind}))
    wait_for(lambda: texts_in(served.engine) == 4)
    threads += behind(served, lambda: served.post(ask("the next")))
    wait_for(lambda: texts_in(served.engine) == 5)  # it is in the engine, and none of the others came before it
    assert "the next" in str(served.engine.seen[-1])
    served.call(served.engine.gate.set)
    for thread in threads:
        thread.join()
    assert texts_in(served.engine) == 1001


def test_another_client_is_served_while_one_fills_the_queue(served):
    other = httpx.Client(base_url=served.url, transport=httpx.HTTPTransport(local_address="127.0.0.2"))
    hogs = [httpx.Client(base_url=served.url, timeout=60) for _ in range(40)]
    threads = behind(served, *(lambda hog=hog: hog.post("/invocations", json=ask("hog")) for hog in hogs))
    wait_for(lambda: "lumi_requests_in_flight 40.0" in served.client.get("/metrics").text)
    assert fault(served.post(ask("one more")))["code"] == "unavailable"
    assert len(served.engine.seen) == 8
    threads += behind(served, lambda: other.post("/invocations", json=ask("other")))
    wait_for(lambda: len(served.engine.seen) == 9)
    assert "other" in str(served.engine.seen[-1])
    served.call(served.engine.gate.set)
    for thread in threads:
        thread.join()
    for client in (other, *hogs):
        client.close()


def test_a_list_of_prompts_is_answered_as_one_whatever_the_batch(served):
    served.call(served.engine.gate.set)
    prompts = [f"number {i}" for i in range(11)]
    choices = served.post({"prompt": prompts}, "/v1/completions").json()["choices"]
    assert [choice["index"] for choice in choices] == list(range(11))
    assert [len(prompt.texts) for prompt in served.engine.seen] == [1] * 11
    served.engine.seen.clear()
    assert served.post({"prompt": prompts, "stream": True}, "/v1/completions").status_code == 200
    assert [len(prompt.texts) for prompt in served.engine.seen] == [4, 4, 3]  # a batch after the other
    assert served.post({"prompt": prompts}, "/tokenize").json()["count"] > sum(map(len, prompts))


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (ask("hi", n=33), "n"),
        ({"prompt": "hi", "n": 33}, "n"),
        ({"inputs": ["hi"] * 1000, "parameters": {"best_of": 128}}, "parameters.best_of"),
    ],
)
def test_more_completions_than_the_engine_runs_at_once_are_refused(served, body, path):
    refused = fault(served.post(body))
    assert refused["param"] == path
    assert "the maximum is 32" in refused["message"]


def test_waiting_requests_are_answered_in_the_end(served):
    served.call(served.engine.gate.set)
    assert len(served.post({"inputs": ["a"] * 50}).json()) == 50
    assert answer(served.post(ask("hi")))
