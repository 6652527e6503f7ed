"""How a server with the real engine ends. Comes after the other tests, since it ends the server that they share."""

import signal

import httpx
import pytest

from tests.drawn import post
from tests.live import start
from tests.serving import ask

pytestmark = pytest.mark.engine


def test_sigterm_drains_a_running_stream_and_exits_with_0(live):
    body = {**ask("Count to 20."), "stream": True, "min_tokens": 1500, "max_tokens": 1500, "temperature": 0}
    with httpx.stream("POST", f"{live.url}/v1/chat/completions", json=body, timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        live.process.send_signal(signal.SIGTERM)
        live.wait_until(503)
        assert live.client.get("/ping").json()["status"] == "draining"
        assert post(live, ask("hi")).status_code == 503
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert live.exit_code() == 0
    assert "Traceback" not in live.log()


def test_the_death_of_the_engine_ends_the_process_with_1(tmp_path):
    server = start(tmp_path)
    try:
        assert server.client is not None
        server.wait_until(503)
        assert server.client.get("/ping").json()["status"] == "loading"
        server.wait_until(200)
        core = _engine_core(server.process.pid)
        assert core.parent().name() == "lumi::ForkServer", "vLLM was imported once more"
        core.kill()
        assert server.exit_code() == 1
    finally:
        server.end()


def _engine_core(parent):
    """The child process of the server that runs vLLM's engine core."""
    import psutil

    children = psutil.Process(parent).children(recursive=True)
    return next(
        child for child in children if "EngineCore" in child.name() or "EngineCore" in " ".join(child.cmdline())
    )
