"""What befalls a server from outside, tried on the real one: clients that leave in crowds, and no file descriptors."""

import asyncio
import json

import httpx
import psutil
import pytest

from tests.drawn import post, url
from tests.serving import answer, ask, wait_for

pytestmark = pytest.mark.engine

ONE = "What is in the image?"
STREAMS = 500
AT_ONCE = 50  # below the queue's length


def is_idle(live):
    names = ("lumi_requests_in_flight", "vllm:num_requests_running", "vllm:num_requests_waiting")
    return not any(live.metric(name) for name in names)


def test_five_hundred_streams_whose_clients_leave_keep_nothing(live):
    body = {**ask("Count to 20."), "stream": True, "min_tokens": 1900, "max_tokens": 1900, "temperature": 0}
    content = json.dumps(body)
    assert answer(post(live, ask(ONE, url("red", "circle")))) == "a red circle"
    wait_for(lambda: is_idle(live))
    process = psutil.Process(live.process.pid)
    files = process.num_fds()

    async def leave(client, places):
        async with places, client.stream("POST", "/v1/chat/completions", content=content) as response:
            if response.status_code == 200:
                async for _ in response.aiter_bytes():
                    break
        return response.status_code

    async def storm():
        places = asyncio.Semaphore(AT_ONCE)
        async with httpx.AsyncClient(base_url=live.url, timeout=120) as client:
            return await asyncio.gather(*(leave(client, places) for _ in range(STREAMS)))

    assert set(asyncio.run(storm())) <= {200, 503}
    wait_for(lambda: is_idle(live))
    wait_for(lambda: process.num_fds() <= files + 5)
    assert answer(post(live, ask(ONE, url("blue", "star")))) == "a blue star"


def test_without_file_descriptors_it_waits_and_goes_on(live):
    process = psutil.Process(live.process.pid)
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    connections = []
    try:
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 4, before[1]))
        for _ in range(12):
            client = httpx.Client(base_url=live.url, timeout=0.5)
            connections.append(client)
            try:
                client.get("/ping")
            except httpx.TransportError:
                break
        else:
            pytest.fail("it never ran out of them")
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, before)
        for client in connections:
            client.close()
    wait_for(lambda: _answers(live))
    assert answer(post(live, ask(ONE, url("green", "ring")))) == "a green ring"


def _answers(live):
    try:
        return httpx.get(f"{live.url}/ping", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
