"""A host and a port -> a socket that listens, and uvicorn serving an ASGI application on it."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from container.http.slow_readers import SlowReaders, unread_bytes
from handler.errors import StartError

KEEP_ALIVE_SECONDS = 75  # longer than load balancers keep an idle connection, so that they are the ones to close it
BACKLOG = 2048
# uvloop accepts one connection of a listening socket in a turn of its loop. A busy loop takes long over a turn: new
# connections, of health checks too, then wait for seconds behind requests on connections that are open.
ACCEPTS_PER_TURN = 16
MAX_HEAD_BYTES = 2**16  # request line and headers; browsers and proxies stop at half of it


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises StartError with the cure if the address is not available."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as fault:
        sock.close()
        raise StartError(
            f"The server cannot listen on port {port} of {host} ({fault.strerror}); {_cure(fault)}."
        ) from fault
    return sock


@contextlib.asynccontextmanager
async def listening(app: ASGIApp, sock: socket.socket, slow_readers: SlowReaders) -> AsyncIterator[None]:
    """Serve `app` on `sock` for the duration of the block. At the end open connections are closed within a second."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        http=partial(BoundedConnection, slow_readers),  # type: ignore[arg-type]  # uvicorn only calls it
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,  # requests were drained before, or are given up
    )
    server = _Uvicorn(config)
    handles = [sock, *(sock.dup() for _ in range(ACCEPTS_PER_TURN - 1))]
    task = asyncio.create_task(server.serve(handles))
    try:
        yield
    finally:
        server.should_exit = True
        await task


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection with a limit of MAX_HEAD_BYTES, where it would keep endless headers in memory, and with an end
    for clients that do not read, for which it would wait for good."""

    def __init__(self, slow_readers: SlowReaders, **settings: Any) -> None:
        super().__init__(**settings)
        self._slow_readers = slow_readers
        self._unread = 0

    def pause_writing(self) -> None:
        super().pause_writing()
        self._slow_readers.add(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._slow_readers.remove(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._slow_readers.remove(self.transport)
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        unread = unread_bytes(self.transport)
        if unread and unread != self._unread:  # the client still reads its last response
            self._unread = unread
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            self.transport.abort()  # to close it would wait for the client

    def on_message_begin(self) -> None:
        self._head: int | None = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if getattr(self, "_head", None) is not None:
            self._head = (self._head or 0) + len(data)
            if self._head > MAX_HEAD_BYTES:
                self.transport.close()


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers: on SIGTERM it would close the port at once, and health checks with it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _cure(fault: OSError) -> str:
    if isinstance(fault, socket.gaierror) or fault.errno == errno.EADDRNOTAVAIL:
        return "OPTION_HOST is not an address of this machine; 0.0.0.0 means all that it has"
    if fault.errno == errno.EACCES:
        return "this user may not use it; choose a port from 1024 on with SERVING_PORT"
    return "end the process that uses it, or choose another port with SERVING_PORT"
