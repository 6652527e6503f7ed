"""Deaths of vLLM's engine core, one after the other on one server: each is remembered for ten minutes, and the last one
ends it."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import psutil
import pytest

from tests.drawn import url
from tests.live import start
from tests.serving import answer, ask, fault

pytestmark = pytest.mark.engine

ENDLESS = {"min_tokens": 1900, "max_tokens": 1900, "temperature": 0}
LONG = {"min_tokens": 200, "max_tokens": 200, "temperature": 0}
ONE = "What is in the image?"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = start(
        tmp_path_factory.mktemp("death"),
        OPTION_LOGITS_PROCESSORS="tests.deadly:Deadly",
        OPTION_ENGINE_STALL_TIMEOUT="15",
    )
    try:
        server.wait_until(200)
        yield server
    finally:
        server.end()


def engine_core(server):
    """The process that runs vLLM's engine core."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    return next(child for child in children if "EngineCor" in child.name())


def post(server, body):
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=300)


@contextmanager
def begun_stream(server):
    """The lines of a long stream, of which the first was read."""
    body = {**ask("Count to 20."), **ENDLESS, "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=300) as response:
        lines = response.iter_lines()
        next(lines)
        yield lines


def wait_until_running(server, requests):
    """Return once the engine computes so many: one that runs has been read."""
    for _ in range(600):
        if server.metric("vllm:num_requests_running") == requests:
            return
        time.sleep(0.05)
    raise AssertionError(server.log()[-4000:])


def last(lines):
    return [line for line in lines if line][-1]


def open_things(server):
    """What a restart must not leave behind: children, files and sockets, threads."""
    process = psutil.Process(server.process.pid)
    names = sorted(child.name() for child in process.children(recursive=True))
    return names, process.num_fds(), process.num_threads()


def test_a_request_that_kills_the_engine_is_refused_and_its_neighbours_are_answered(server):
    first = engine_core(server)
    assert first.parent().name() == "lumi::ForkServer", "vLLM was imported once more"
    deadly = {**ask("Count to 3."), "vllm_xargs": {"deadly": 1}}
    with begun_stream(server) as begun, ThreadPoolExecutor() as pool:
        waiting = pool.submit(post, server, {**ask("Count to 4."), **LONG})
        wait_until_running(server, 2)
        poison = pool.submit(post, server, deadly)
        neighbours = [pool.submit(post, server, ask(ONE, url(color, "circle"))) for color in ("red", "blue")]
        refused = poison.result()
        assert "engine_dead" in last(begun)
        assert refused.status_code == 422
        assert fault(refused)["code"] == "request_quarantined"
        assert [answer(neighbour.result()) for neighbour in neighbours] == ["a red circle", "a blue circle"]
        assert waiting.result().status_code == 200
    server.wait_until(200)
    third = engine_core(server)
    assert first.pid != third.pid
    assert post(server, {**deadly, "stream": True}).status_code == 422
    assert answer(post(server, ask(ONE, url("green", "star")))) == "a green star"
    assert engine_core(server).pid == third.pid


def test_kill_9_is_survived_and_leaves_nothing_behind(server):
    before = open_things(server)
    with begun_stream(server) as begun, ThreadPoolExecutor() as pool:
        waiting = pool.submit(post, server, {**ask("Count to 4."), **LONG})
        wait_until_running(server, 2)
        engine_core(server).kill()
        server.wait_until(503)
        assert server.client.get("/ping").json()["status"] == "restarting"
        assert post(server, ask("hi")).status_code == 503
        assert "engine_dead" in last(begun)
        assert waiting.result().status_code == 200
    server.wait_until(200)
    names, files, threads = open_things(server)
    assert names == before[0]
    assert files <= before[1] + 3, "a connection or two may still be open"
    assert threads <= before[2] + 8, "the pool of asyncio grows up to its limit"


def test_a_core_that_stands_still_is_reported_and_the_second_death_ends_the_process(server):
    core = engine_core(server)
    with begun_stream(server) as begun:
        os.kill(core.pid, signal.SIGSTOP)
        assert "computed nothing for" in last(begun)
    assert server.exit_code() == 1
    assert not core.is_running()
    log = server.log()
    assert "state T (stopped)" in log
    assert "the server itself:" in log
    assert "It is the second time in ten minutes, and no request explains it." in log
