import asyncio
import json
import selectors

import httpx
import pytest

from container.http.framing import Framing
from container.http.inference import Serving
from container.http.streaming import StreamedResponse
from handler.engines.fake import FakeEngine
from handler.errors import EngineFailure
from tests.serving import ask, fault, serving, wait_for

WORDS = ("a ", "red ", "circle")


@pytest.fixture(scope="module")
def served():
    with serving(FakeEngine(replies=WORDS)) as server:
        yield server


def _text(chunks):
    return "".join(json.loads(chunk)["choices"][0]["delta"]["content"] for chunk in chunks)


def _events(response):
    return [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]


def test_the_openai_route_sends_server_sent_events_and_ends_with_done(served):
    response = served.post(ask("hi", stream=True), "/v1/chat/completions")
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, last = _events(response)
    assert (last, _text(chunks)) == ("[DONE]", "a red circle")


def test_invocations_sends_json_lines_as_lmi_does(served):
    response = served.post(ask("hi", stream=True))
    assert response.headers["content-type"] == "application/jsonlines"
    assert response.text.endswith("\n")
    assert _text(response.text.splitlines()) == "a red circle"


def test_invocations_sends_server_sent_events_if_accept_names_them(served):
    response = served.post(ask("hi", stream=True), accept="text/event-stream")
    assert _events(response)[-1] == "[DONE]"


def test_the_option_makes_invocations_send_server_sent_events():
    settings = Serving(request_bytes=1 << 20, predict_seconds=10, output_formatter="sse")
    with serving(FakeEngine(replies=WORDS), serving=settings) as server:
        assert _events(server.post(ask("hi", stream=True)))[-1] == "[DONE]"


def test_a_stream_joined_is_the_plain_answer(served):
    plain = served.post(ask("hi")).json()["choices"][0]["message"]["content"]
    assert _text(served.post(ask("hi", stream=True)).text.splitlines()) == plain


def test_chunks_arrive_as_they_are_made():
    engine = FakeEngine(replies=WORDS, hold_after=1)
    with serving(engine) as server:
        body = ask("hi", stream=True)
        with server.client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = (line for line in response.iter_lines() if line)
            assert '"role":"assistant"' in next(lines)
            assert "a " in next(lines)  # while the engine has not made the next
            server.call(engine.gate.set)
            assert "red " in next(lines)


@pytest.mark.parametrize("path", ["/invocations", "/v1/chat/completions"])
def test_an_error_in_mid_stream_travels_in_the_stream(path):
    engine = FakeEngine(replies=WORDS, error=EngineFailure("The engine failed on this request."), error_after=True)
    with serving(engine) as server:
        response = server.post(ask("hi", stream=True), path)
        assert response.status_code == 200
        last = [line for line in response.text.splitlines() if line][-1].removeprefix("data: ")
        assert json.loads(last)["error"]["code"] == "engine_failure"
        assert "[DONE]" not in response.text


def test_a_stream_that_stalls_ends_with_the_reason_in_the_stream():
    settings = Serving(request_bytes=1 << 20, predict_seconds=1)
    with serving(FakeEngine(replies=WORDS, hold_after=1), serving=settings) as server:
        response = server.post(ask("hi", stream=True))
        *chunks, last = response.text.splitlines()
        assert _text(chunks) == "a "
        assert json.loads(last)["error"]["code"] == "predict_timeout"
        assert len(server.engine.aborted) == 1


class Clock(selectors.DefaultSelector):
    """The time of a loop: where nothing is ready it passes at once, so that no test waits for it or races with it."""

    now = 0.0

    def select(self, timeout=None):
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout:
            self.now += timeout
        return ready


class Loop(asyncio.SelectorEventLoop):
    def __init__(self):
        self.clock = Clock()
        super().__init__(self.clock)

    def time(self):
        return self.clock.now


def test_a_long_stream_may_take_longer_than_the_limit_for_one_chunk():
    async def chunks():
        for _ in range(8):
            await asyncio.sleep(0.9)
            yield b"x"

    async def stream():
        sent, never = [], asyncio.Event()

        async def send(message):
            sent.append(message.get("body", b""))

        response = StreamedResponse(b"x", chunks(), framing=Framing.RAW, seconds=1)
        await response({"type": "http"}, never.wait, send)
        return b"".join(sent), asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=Loop) as runner:
        text, seconds = runner.run(stream())
    assert text == b"x" * 9
    assert seconds > 7


def test_an_error_in_mid_stream_is_counted():
    engine = FakeEngine(replies=WORDS, error=EngineFailure("The engine failed on this request."), error_after=True)
    with serving(engine) as server:
        server.post(ask("hi", stream=True))
        line = 'lumi_broken_streams_total{route="/invocations"} 1.0'
        wait_for(lambda: line in server.client.get("/metrics").text)


def test_a_stream_that_never_begins_is_an_ordinary_timeout():
    gate = asyncio.Event()
    settings = Serving(request_bytes=1 << 20, predict_seconds=0.2)
    with serving(FakeEngine(replies=WORDS, gate=gate), serving=settings) as server:
        response = server.post(ask("hi", stream=True))
        assert (response.status_code, fault(response)["code"]) == (504, "predict_timeout")
        assert len(server.engine.aborted) == 1


def test_a_client_that_leaves_in_mid_stream_aborts_its_request():
    engine = FakeEngine(replies=["x"] * 100_000)
    with serving(engine) as server:
        with httpx.stream("POST", f"{server.url}/invocations", json=ask("hi", stream=True)) as response:
            next(response.iter_lines())
        wait_for(lambda: engine.aborted)
        assert engine.aborted == [engine.seen[0].request_id]


def test_an_empty_stream_is_still_a_stream():
    with serving(FakeEngine(replies=[""])) as server:
        response = server.post(ask("hi", stream=True), "/v1/chat/completions")
        assert _events(response)[-1] == "[DONE]"
