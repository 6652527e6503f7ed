"""How a server with the real engine ends. Comes after the other tests, since it ends the server that they share."""

import signal

import httpx
import pytest

from tests.drawn import post
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
