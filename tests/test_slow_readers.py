import contextlib
import json
import socket
import threading

import pytest

from container.http.inference import Serving
from container.http.slow_readers import SlowReaders
from handler.engines.fake import FakeEngine
from tests.serving import answer, ask, serving, wait_for

LARGE = ["x" * 10_000] * 1000  # more than the kernel takes for a client that does not read
SETTINGS = Serving(request_bytes=1 << 20, predict_seconds=60)


@contextlib.contextmanager
def unread(served, count, **parameters):
    """Clients that have asked, and do not read."""
    host, port = served.url.removeprefix("http://").split(":")
    body = json.dumps(ask("hi", **parameters)).encode()
    with contextlib.ExitStack() as clients:
        opened = []
        for _ in range(count):
            client = clients.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((host, int(port)))
            client.sendall(b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            opened.append(client)
        yield opened


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_does_not_read_loses_its_connection(stream):
    slow = SlowReaders(seconds=0.2)
    with serving(FakeEngine(replies=LARGE), serving=SETTINGS, slow_readers=slow) as server:
        with unread(server, 1, stream=stream) as (client,):
            wait_for(lambda: slow.unread_bytes)
            wait_for(lambda: not slow.unread_bytes)
            client.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                while client.recv(1 << 20):
                    pass  # what had been sent before; the test fails by the time limit if there is no end
        wait_for(lambda: len(server.engine.aborted) == int(stream))


def test_clients_that_do_not_read_hold_no_permit_of_a_computed_answer():
    engine = FakeEngine(replies=LARGE)
    with serving(engine, serving=SETTINGS, queue=4) as server, unread(server, 4):
        wait_for(lambda: len(engine.seen) == 4)
        engine.replies = ["short"]
        wait_for(lambda: server.client.post("/invocations", json=ask("hi")).status_code == 200)


def test_a_stream_that_is_computed_holds_no_permit_while_the_client_does_not_read():
    # 900 kB are computed at once; the kernel and the buffers take what the client leaves.
    engine = FakeEngine(replies=["x" * 10_000] * 90)
    with serving(engine, serving=SETTINGS, queue=4) as server, unread(server, 4, stream=True):
        wait_for(lambda: len(engine.seen) == 4)
        engine.replies = ["short"]
        wait_for(lambda: server.client.post("/invocations", json=ask("hi")).status_code == 200)
        assert not engine.aborted


def test_a_client_that_reads_slowly_gets_all():
    engine = FakeEngine(replies=LARGE)
    with (
        serving(engine, serving=SETTINGS, slow_readers=SlowReaders(seconds=2)) as server,
        server.client.stream("POST", "/invocations", json=ask("hi")) as response,
    ):
        assert len(b"".join(response.iter_raw(1 << 12))) > sum(map(len, LARGE))


def test_a_client_that_reads_longer_than_a_connection_is_kept_open_gets_all(monkeypatch):
    monkeypatch.setattr("container.http.listener.KEEP_ALIVE_SECONDS", 1)
    with serving(FakeEngine(replies=LARGE), serving=SETTINGS) as server, unread(server, 1) as (client,):
        received, pause = 0, threading.Event()
        while received < sum(map(len, LARGE)):
            pause.wait(0.1)  # three seconds and more in all
            piece = client.recv(1 << 18)
            assert piece, f"it ended after {received} bytes"
            received += len(piece)


def test_a_client_that_takes_little_at_a_time_keeps_its_connection():
    # The kernel has megabytes of the answer, of which the transport sees nothing for long.
    slow, pause = SlowReaders(seconds=1), threading.Event()
    with (
        serving(FakeEngine(replies=LARGE), serving=SETTINGS, slow_readers=slow) as server,
        unread(server, 1) as (client,),
    ):
        wait_for(lambda: slow.unread_bytes)
        for _ in range(40):
            pause.wait(0.1)
            assert client.recv(1 << 15)


def test_the_bytes_that_wait_for_all_clients_are_bounded():
    slow = SlowReaders(seconds=60, max_bytes=1 << 24)  # one response of 10 MB
    with serving(FakeEngine(replies=LARGE), serving=SETTINGS, slow_readers=slow) as server, unread(server, 3):
        wait_for(lambda: len(server.engine.seen) == 3)
        wait_for(lambda: slow.unread_bytes)
        wait_for(lambda: slow.unread_bytes <= 1 << 24)
        server.engine.replies = ["short"]
        assert answer(server.post(ask("hi"))) == "short"
