"""The life of the process: listen, start, watch, drain, stop."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Awaitable, Iterator

from starlette.types import ASGIApp

from container.http.admission import Admission
from container.http.health import Health, Phase
from container.http.listener import listening
from container.http.slow_readers import SlowReaders
from container.nodes.rendezvous import NodeGroup
from container.start.memory import report_kill_for_memory
from container.start.startup import Ready, Startup
from handler.errors import EngineDead, Unavailable

log = logging.getLogger("lumi.server")

WATCH_SECONDS = 1.0  # how soon the death of an idle engine is noticed
LAST_ERRORS_SECONDS = 5.0  # for the requests that a dead engine leaves to get their errors


class Server:
    """One model behind one port. `startup` makes it ready, however long that takes.

    `nodes` are the other machines that compute for it, or that this one computes for. Requests may run for
    `draining_seconds` after SIGTERM.
    """

    def __init__(
        self,
        app: ASGIApp,
        startup: Startup,
        *,
        nodes: NodeGroup,
        health: Health,
        admission: Admission,
        draining_seconds: float,
        slow_readers: SlowReaders,
    ) -> None:
        self._app = app
        self._startup = startup
        self._nodes = nodes
        self._health = health
        self._admission = admission
        self._draining_seconds = draining_seconds
        self._slow_readers = slow_readers

    async def run(self, sock: socket.socket, stop: asyncio.Event) -> int:
        """Serve on `sock` until `stop`, here or on another node, or until the engine dies; the exit code of the process.

        Raises StartError if the model cannot be loaded.
        """
        async with listening(self._app, sock, self._slow_readers):
            try:
                await self._until(stop, self._serve())
                await self._drain(stop)
            except EngineDead as death:
                self._health.dead(str(death))
                log.error(str(death))  # noqa: TRY400  # the cause was logged by the engine
                self._nodes.close()  # they need not wait until what is left here has ended
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._admission.idle(), LAST_ERRORS_SECONDS)
                return 1
            finally:
                await self._startup.stop()
                self._nodes.close()
        return 0

    async def _serve(self) -> None:
        ready = await self._startup.run()
        self._report_ready(ready)
        while True:
            try:
                await ready.check()
            except Unavailable as pause:
                if self._health.phase is not Phase.RESTARTING:
                    report_kill_for_memory()
                self._health.restarting(str(pause))
            else:
                if self._health.phase is Phase.RESTARTING:
                    self._report_ready(ready)
            await asyncio.sleep(WATCH_SECONDS)

    def _report_ready(self, ready: Ready) -> None:
        if ready.service is None:
            self._health.following("computing for the node that answers")
        else:
            self._admission.limit = ready.queue_size
            self._health.ready(ready.service)
            log.info(
                "the engine computes up to %d sequences at once (OPTION_MAX_ROLLING_BATCH_SIZE); up to %d requests run or wait, "
                "further ones are refused",
                ready.service.card.batch_size,
                ready.queue_size,
            )
        log.info("%s: %s", self._health.phase, self._health.detail)

    async def _drain(self, stop: asyncio.Event) -> None:
        self._health.draining(f"finishing {self._admission.open} requests")
        log.info("stopping: %s", self._health.detail)
        stop.clear()  # a second signal ends this
        self._nodes.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._draining_seconds):
                await self._until(stop, self._finish())

    async def _finish(self) -> None:
        await self._admission.idle()
        await self._nodes.wait_until_released()

    async def _until(self, stop: asyncio.Event, work: Awaitable[None]) -> None:
        """Await `work`, but cancel it on `stop`, here or on another node. Raises EngineDead."""
        task = asyncio.ensure_future(work)
        ends = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(self._nodes.wait_for_stop_of_peer())
        try:
            await asyncio.wait((task, *ends), return_when=asyncio.FIRST_COMPLETED)
            for done in (task, *ends):
                if done.done():
                    await done
                    return
        finally:
            for pending in (task, *ends):
                pending.cancel()
            await asyncio.gather(task, *ends, return_exceptions=True)  # nothing else retrieves their exceptions


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
