import asyncio
import contextlib
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from container.http.listener import bind
from handler.engines.fake import FakeEngine
from handler.engines.supervisor import Supervision
from handler.errors import EngineFailure, StartError
from tests.serving import answer, ask, fault, serving, wait_for


def test_the_port_answers_while_the_model_loads():
    loading = threading.Event()
    with serving(loading=loading) as server:
        ping = server.client.get("/ping")
        assert ping.status_code == 503
        assert ping.json()["status"] == "loading"
        response = server.post(ask("hi"))
        assert response.status_code == 503
        assert fault(response)["code"] == "unavailable"
        assert int(response.headers["retry-after"]) > 0
        assert server.client.get("/metrics").status_code == 200


def test_ready_means_that_a_request_with_an_image_was_answered():
    with serving(warm=True) as server:
        assert server.client.get("/ping").status_code == 200
        assert server.engine.seen[0].messages[0].content[1].image.size == (224, 224)


def test_a_node_that_computes_for_another_is_healthy_and_answers_nothing():
    with serving(follows=True) as server:
        assert server.client.get("/ping").status_code == 200
        assert server.client.get("/ping").json()["status"] == "following"
        response = server.post(ask("hi"))
        assert response.status_code == 503
        assert "computing for the node that answers" in fault(response)["message"]
        server.terminate()
        assert server.wait() == 0
        assert server.engine.stopped


def test_a_model_that_fails_its_first_request_ends_the_start():
    with serving(FakeEngine(error=EngineFailure("no template")), warm=True) as server:
        fault = server.wait()
        assert isinstance(fault, StartError)
        assert "failed on a first request" in str(fault)
        assert server.engine.stopped


def test_a_model_that_loads_too_slowly_ends_the_start():
    with serving(loading=threading.Event(), environ={"OPTION_MODEL_LOADING_TIMEOUT": "0.1"}) as server:
        assert "OPTION_MODEL_LOADING_TIMEOUT" in str(server.wait())


def test_a_signal_while_loading_ends_the_process_cleanly():
    loading = threading.Event()
    with serving(loading=loading) as server:
        server.terminate()
        loading.set()
        assert server.wait() == 0
        assert server.engine.stopped


def test_draining_rejects_new_requests_finishes_running_ones_and_exits_with_0():
    engine = FakeEngine(gate=asyncio.Event())
    with serving(engine) as server:
        answers = []
        running = threading.Thread(target=lambda: answers.append(server.post(ask("slow"))))
        running.start()
        wait_for(lambda: engine.seen)
        server.terminate()
        wait_for(lambda: server.client.get("/ping").status_code == 503)
        assert server.client.get("/ping").json()["status"] == "draining"
        assert server.post(ask("new")).status_code == 503
        server.call(engine.gate.set)
        running.join(10)
        assert answer(answers[0]) == "user: slow"
        assert server.wait() == 0


def test_draining_finishes_a_running_stream():
    engine = FakeEngine(replies=("a", "b"), hold_after=1)
    with serving(engine) as server:
        with server.client.stream("POST", "/invocations", json=ask("hi", stream=True)) as response:
            lines = response.iter_lines()
            first = next(lines)
            server.terminate()
            wait_for(lambda: server.health.phase == "draining")
            server.call(engine.gate.set)
            rest = list(lines)
        assert [json.loads(line)["choices"][0]["delta"]["content"] for line in (first, *rest)] == ["", "a", "b"]
        assert server.wait() == 0


def test_draining_ends_when_its_time_is_over():
    engine = FakeEngine(gate=asyncio.Event())
    with serving(engine, draining=0.2) as server:
        running = threading.Thread(target=_post_and_forget, args=(server,))
        running.start()
        wait_for(lambda: engine.seen)
        server.terminate()
        assert server.wait() == 0
        running.join(10)


def test_headers_without_an_end_are_not_collected():
    with serving() as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(b"GET /ping HTTP/1.1\r\nhost: x\r\nx: ")
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 1000:
                    client.sendall(b"y" * 65536)
                    sent += 1
            assert sent < 1000
        assert server.client.get("/ping").status_code == 200


def test_a_dead_engine_ends_the_process_with_1():
    engine = FakeEngine()
    with serving(engine) as server:
        engine.dead = True
        assert server.wait() == 1
        assert server.health.phase == "dead"


def test_an_engine_that_hangs_is_ended_and_what_waits_has_an_error():
    with serving(FakeEngine(gate=asyncio.Event()), supervision=Supervision(stall_seconds=0.5)) as server:
        response = server.post(ask("hi"))
        assert response.status_code == 500
        assert fault(response)["code"] == "engine_dead"
        assert server.wait() == 1
        assert "OPTION_ENGINE_STALL_TIMEOUT" in server.health.detail


def test_while_a_dead_engine_is_replaced_ping_reports_it_and_what_was_admitted_waits():
    loading = threading.Event()
    loading.set()
    engine, next_engine = FakeEngine(gate=asyncio.Event()), FakeEngine()
    restarts = {"later": [next_engine], "supervision": Supervision(restarts=1)}
    with serving(engine, loading=loading, loading_seconds=60, **restarts) as server, ThreadPoolExecutor() as pool:
        wait_for(lambda: server.health.phase == "ready")
        waiting = pool.submit(server.post, ask("hi"))
        wait_for(lambda: engine.seen)
        loading.clear()
        asyncio.run_coroutine_threadsafe(engine.kill(), server.loop).result()
        wait_for(lambda: server.health.phase == "restarting")
        ping = server.client.get("/ping")
        assert ping.status_code == 503
        assert ping.json()["detail"] == "restarting the engine: it has died, and loads the model again"
        refused = server.post(ask("new"))
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "10"
        loading.set()
        assert answer(waiting.result(20)) == "user: hi"
        wait_for(lambda: server.client.get("/ping").status_code == 200)
        assert engine.stopped
        server.terminate()
        assert server.wait() == 0
        assert next_engine.stopped


def test_a_port_in_use_is_named_with_the_cure():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(StartError, match=r"port \d+ .* SERVING_PORT"):
            bind("127.0.0.1", other.getsockname()[1])


def test_an_address_that_the_machine_does_not_have_is_no_fault_of_the_port():
    with pytest.raises(StartError, match=r"port 8080 .*; OPTION_HOST is not an address of this machine") as fault:
        bind("192.0.2.1", 8080)
    assert "end the process that uses it" not in str(fault.value)


def _post_and_forget(server):
    with contextlib.suppress(httpx.HTTPError):
        server.post(ask("slow"))
