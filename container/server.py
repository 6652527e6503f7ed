"""The life of the process: listen, load, serve, drain, stop."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from container.http.admission import Admission
from container.http.health import Health
from container.nodes.rendezvous import NodeGroup
from container.start.backend import Backend
from handler.errors import EngineDead, StartError

log = logging.getLogger("lumi.server")

T = TypeVar("T")

WATCH_SECONDS = 1.0  # how soon the death of the engine is noticed when nobody asks it anything
KEEP_ALIVE_SECONDS = 75  # longer than load balancers keep an idle connection, so that they are the ones to close it
BACKLOG = 2048
HEAD_BYTES = 2**16  # request line and headers; browsers and proxies stop at half of it


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that loading may take, and that requests may still run after SIGTERM."""

    loading: float
    draining: float


class Server:
    """One model behind one port: `backend` brings it to this machine, however long that takes, and loads it.

    `nodes` are the other machines that compute for it, or that this one computes for.
    """

    def __init__(
        self,
        app: ASGIApp,
        backend: Backend,
        *,
        nodes: NodeGroup,
        health: Health,
        admission: Admission,
        timing: Timing,
    ) -> None:
        self._app = app
        self._backend = backend
        self._nodes = nodes
        self._health = health
        self._admission = admission
        self._timing = timing

    async def run(self, sock: socket.socket, stop: asyncio.Event) -> int:
        """Serve on `sock` until `stop`, here or on another node, or until the engine dies; the exit code of the process.

        Raises StartError when the model cannot be loaded.
        """
        async with self._listening(sock):
            try:
                await self._until(stop, self._serve())
                await self._drain(stop)
            except EngineDead as death:
                self._health.dead(str(death))
                log.error(str(death))  # noqa: TRY400  # the cause was logged by the engine
                self._nodes.close()  # they need not wait until what is left here has ended
                return 1
            finally:
                await self._backend.stop()
                self._nodes.close()
        return 0

    async def _serve(self) -> None:
        await self._start()
        await self._watch()

    async def _start(self) -> None:
        model = await self._backend.bring()
        self._health.loading("loading the model")
        try:
            async with asyncio.timeout(self._timing.loading):
                service = await self._backend.load(model)
        except TimeoutError as late:
            raise StartError(
                f"The model was not ready after {self._timing.loading:g} s; the start was at: {self._health.detail}. If it "
                "only needs more time, raise OPTION_MODEL_LOADING_TIMEOUT."
            ) from late
        if service is None:
            self._health.following("computing for the node that answers")
        else:
            self._health.ready(service)
        log.info("%s: %s", self._health.phase, self._health.detail)

    async def _watch(self) -> None:
        while True:
            await self._backend.check()
            await asyncio.sleep(WATCH_SECONDS)

    async def _drain(self, stop: asyncio.Event) -> None:
        self._health.draining(f"{self._admission.held} requests are being finished")
        log.info("stopping: %s", self._health.detail)
        stop.clear()  # a second signal means now
        self._nodes.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.draining):
                await self._until(stop, self._finish())

    async def _finish(self) -> None:
        await self._admission.idle()
        await self._nodes.released()

    async def _until(self, stop: asyncio.Event, work: Awaitable[None]) -> None:
        """Do `work`, or as much of it as there is before `stop`, here or on another node. Raises EngineDead."""
        task = asyncio.ensure_future(work)
        ends = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(self._nodes.parted())
        try:
            await asyncio.wait((task, *ends), return_when=asyncio.FIRST_COMPLETED)
            for done in (task, *ends):
                if done.done():
                    await done
                    return
        finally:
            for pending in (task, *ends):
                pending.cancel()
            await asyncio.gather(task, *ends, return_exceptions=True)  # retrieved, as nobody else will ask for them

    @contextlib.asynccontextmanager
    async def _listening(self, sock: socket.socket) -> AsyncIterator[None]:
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            http=BoundedHead,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=1,  # by then requests were drained, or are not to be waited for
        )
        server = _Listener(config)
        task = asyncio.create_task(server.serve([sock]))
        try:
            yield
        finally:
            server.should_exit = True
            await task


class BoundedHead(HttpToolsProtocol):
    """uvicorn's parser of HTTP, which would collect headers without an end in memory."""

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
            if self._head > HEAD_BYTES:
                self.transport.close()


class _Listener(uvicorn.Server):
    """uvicorn without its signal handlers: on SIGTERM it would close the port at once, and health checks with it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises StartError with the cure where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as fault:
        sock.close()
        raise StartError(f"Port {port} of {host} cannot be listened on ({fault.strerror}); {_cure(fault)}.") from fault
    return sock


def _cure(fault: OSError) -> str:
    if isinstance(fault, socket.gaierror) or fault.errno == errno.EADDRNOTAVAIL:
        return "OPTION_HOST names no address of this machine; 0.0.0.0 is all that it has"
    if fault.errno == errno.EACCES:
        return "this user may not take it; choose one from 1024 on with SERVING_PORT"
    return "end what uses it, or choose another with SERVING_PORT"
