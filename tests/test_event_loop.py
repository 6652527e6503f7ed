"""Whatever a body is, the event loop goes on: other requests and health checks are answered meanwhile."""

import asyncio
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from container.http.inference import Serving
from handler.engines.fake import FakeEngine
from tests.serving import fault, serving

MIB = 2**20
SEMICOLONS = ';a="' + ";" * 60_000  # the time to parse it is quadratic
# Seconds of this process's CPU, which those that others take on a busy machine are not. The bodies below took 3 to 20.
LONGEST = 2.0


@pytest.fixture(scope="module")
def served():
    engine = FakeEngine()
    parameters = engine.card.parameters | {"truncate_prompt_tokens"}
    engine.card = replace(engine.card, max_model_len=1000, max_characters=100_000, parameters=parameters)
    with serving(engine, serving=Serving(request_bytes=64 * MIB, predict_seconds=60)) as server:
        yield server


@contextmanager
def goes_on(served):
    """Fails if the loop stood still for longer than LONGEST in the block."""
    gaps, over = [0.0], False

    async def tick():
        while not over:
            before = time.process_time()
            await asyncio.sleep(0.005)
            gaps.append(time.process_time() - before)

    ticking = asyncio.run_coroutine_threadsafe(tick(), served.loop)
    yield
    over = True
    ticking.result(60)
    assert max(gaps) < LONGEST


def chat(count):
    return b'{"messages":[%s]}' % b",".join([b'{"role":"user","content":"x"}'] * count)


@pytest.mark.parametrize(
    ("make", "kind", "code"),
    [
        (lambda: b'{"messages":[{"role":"system","content":"%s"}]}' % (b"a " * (31 * MIB)), "json", "prompt_too_long"),
        (lambda: b'{"messages":[{"role":"user","content":"x"}],"tools":["%s"]}' % (b"a" * 9 * MIB), "json", "prompt_too_long"),
        (lambda: b'{"inputs":"%s"}' % (b"a " * (31 * MIB)), "json", "prompt_too_long"),
        (lambda: b"a " * (31 * MIB), "text/plain", "prompt_too_long"),
        (lambda: b"inputs" + b"," * (60 * MIB), "text/csv", "too_many_values"),
        (lambda: b"inputs\n" + b"," * (60 * MIB), "text/csv", "too_many_values"),
        (lambda: b"inputs\n" + b"a\n" * (4 * MIB), "text/csv", "invalid_request"),
        (lambda: chat(200_000), "json", "invalid_request"),
        (lambda: b'{"messages":[{"role":"user","content":[%s]}]}' % b",".join([b'"x"'] * 400_000), "json", "invalid_request"),
        (lambda: b"x", "text/plain" + SEMICOLONS, "content_type"),
        (lambda: b"x", "multipart/form-data" + SEMICOLONS, "content_type"),
        (lambda: b"x", "multipart/form-data; boundary=" + "x" * 60_000, "content_type"),
        (lambda: b"x", "multipart/form-data; boundary=" + "x" * 300, "invalid_request"),
    ],
    ids=[
        "system message", "tools", "inputs", "text", "CSV header", "CSV row", "CSV rows", "messages", "parts",
        "content type", "content type of a form", "boundary", "small boundary",
    ],
)  # fmt: skip
def test_a_body_without_measure_is_refused_while_the_loop_goes_on(served, make, kind, code):
    body = make()  # some have 60 MB
    with goes_on(served):
        response = served.post(body, **{"content-type": kind.replace("json", "application/json")})
    assert (response.status_code, fault(response)["code"]) == (400, code)


def test_tokenize_refuses_messages_without_measure(served):
    with goes_on(served):
        response = served.post(chat(200_000), "/tokenize")
    assert fault(response)["param"] == "messages"


def test_a_prompt_that_cannot_fit_names_both_lengths(served):
    response = served.post({"messages": [{"role": "user", "content": "x" * 100_001}]})
    assert "100001 characters" in fault(response)["message"]
    assert "1000 tokens" in fault(response)["message"]


def test_a_prompt_that_is_to_be_truncated_may_be_longer_but_not_without_measure(served):
    def ask(length):
        return {"messages": [{"role": "user", "content": "x" * length}], "truncate_prompt_tokens": 100}

    assert served.post(ask(100_001)).status_code == 200
    assert fault(served.post(ask(2**20 + 1)))["code"] == "prompt_too_long"


def test_ignored_fields_without_measure_are_refused(served):
    body = b'{"messages":[{"role":"user","content":"x",%s}]}' % b",".join(b'"k%d":1' % i for i in range(400_000))
    with goes_on(served):
        response = served.post(body)
    assert "400000 unknown fields" in fault(response)["message"]
