"""The engine that lives now: watched, replaced when it dies, and tried with the prompts that it may have died of."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from handler.engine import Engine, Prompt
from handler.engines.quarantine import Quarantine, quarantined
from handler.engines.watchdog import Watchdog
from handler.errors import EngineDead, LumiError, RequestError, StartError, Unavailable

log = logging.getLogger("lumi.engine")

WINDOW_SECONDS = 600.0  # in which a second death without a known cause ends the server, and restarts are counted
MOST_SUSPECTS = 32  # what the engine reads first; each is read alone, while all others wait
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Supervision:
    """`stall_seconds` without a step end an engine, 0 sets no limit. `restarts` are allowed in WINDOW_SECONDS, each of which
    may take `start_seconds`."""

    stall_seconds: float = 0
    restarts: int = 0
    start_seconds: float = 1200


@dataclass(slots=True, eq=False)
class Entry:
    """A prompt on its way through the engine. `deaths` counts those that nobody knows the cause of; `killed` is set when an
    engine that computed nothing else has died of it."""

    prompt: Prompt
    deaths: int = 0
    killed: bool = False


class Supervisor:
    """`start` makes another engine in the place of `engine`.

    The first death is nobody's fault: prompts that the engine was reading are suspects, and each is read again alone, its
    answer thrown away, before anything else is computed. One that kills the next engine is found, and the others are spared.
    """

    def __init__(self, engine: Engine, start: Callable[[], Awaitable[Engine]], supervision: Supervision) -> None:
        self.engine = engine
        self.quarantine = Quarantine()
        self.entries: set[Entry] = set()
        self._start = start
        self._supervision = supervision
        self._watchdog = Watchdog(engine, supervision.stall_seconds)
        self._suspects: deque[Entry] = deque()
        self._restarts: deque[float] = deque()
        self._unexplained: float | None = None
        self._over: str | None = None
        self._is_watched = False
        self._detail = ""
        self._changed = asyncio.Event()
        self._recovery: asyncio.Task[None] | None = None

    @property
    def is_recovering(self) -> bool:
        """Whether the engine is being replaced or tried."""
        return self._recovery is not None

    def has_left(self, engine: Engine) -> bool:
        """Whether `engine` is replaced, or about to be: what it raises now is not the request's fault."""
        return engine is not self.engine or self.is_recovering

    async def check(self) -> None:
        """Raises EngineDead when it is over, and Unavailable while the engine is being replaced. To be called every second or
        so once the start is done: an engine that dies before is not replaced."""
        self._is_watched = True
        if self._over is None and self._recovery is None:
            engine = self.engine
            try:
                await engine.check()
                await self._watchdog.check()
            except EngineDead as death:
                self.died(engine, death)
        self._check_over()
        if self._recovery is not None:
            raise Unavailable(f"restarting the engine: {self._detail}", retry_after=10)

    async def admit(self, entry: Entry | None = None) -> Engine:
        """The engine, once it is there for all. Raises EngineDead, and RequestQuarantined if a trial of `entry` killed one."""
        while self._over is None and self._recovery is not None and not (entry is not None and entry.killed):
            await self._changed.wait()
        if entry is not None and entry.killed:
            raise quarantined()
        self._check_over()
        return self.engine

    def check_retry(self, *, begun: bool, deaths: int) -> None:
        """Raises EngineDead where a prompt is not for the next engine."""
        self._check_over()
        if begun:
            raise EngineDead("The engine died while it generated this response, and is started again; send it again.")
        if deaths > 1:
            raise EngineDead(
                "The engine has died twice while this request waited, and is started again; send it again."
            )

    def died(self, engine: Engine, death: EngineDead) -> None:
        """`engine` was found dead. To be called by all that find it."""
        if self.has_left(engine) or self._over is not None:
            return  # it is known
        death = self._watchdog.stall or death
        now = time.monotonic()
        if (refusal := self._refusal(now)) is not None:
            self._end(f"{death} {refusal}".strip())
            return
        self._unexplained = now
        reading = [name for name, has_begun in engine.in_flight().items() if not has_begun]
        entries = {entry.prompt.request_id: entry for entry in self.entries}
        self._suspects.extend(entries[name] for name in reading[:MOST_SUSPECTS] if name in entries)
        for one in self.entries:
            one.deaths += 1
        log.error("%s It is started again, and reads %d requests alone.", death, len(self._suspects))
        self._recovery = asyncio.create_task(self._recover())

    async def stop(self) -> None:
        """End the engine, and its replacement."""
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)
        await self.engine.stop()

    def _refusal(self, now: float) -> str | None:
        """Why the engine is not started again; "" where it never is."""
        if not self._supervision.restarts or not self._is_watched:
            return ""
        while self._restarts and now - self._restarts[0] > WINDOW_SECONDS:
            self._restarts.popleft()
        if len(self._restarts) >= self._supervision.restarts:
            return f"It was started {len(self._restarts)} times in ten minutes (OPTION_ENGINE_RESTARTS)."
        if self._unexplained is not None and now - self._unexplained < WINDOW_SECONDS:
            return "It is the second time in ten minutes, and no request explains it."
        return None

    async def _recover(self) -> None:
        try:
            await self._replace()
            while (culprit := await self._find_culprit()) is not None:
                await self.quarantine.add(culprit.prompt)
                log.error("request %s has killed the engine a second time; it is refused", culprit.prompt.request_id)
                self._unexplained = None  # it explains the first death, too
                if (refusal := self._refusal(time.monotonic())) is not None:
                    self._end(f"The engine has died. {refusal}")
                    return
                await self._replace()
        except (StartError, EngineDead, TimeoutError) as fault:
            self._end(f"The engine has died and could not be started again: {fault or 'it took too long'}.")
        except Exception as fault:
            log.exception("starting the engine again has failed")
            self._end(f"The engine has died and could not be started again: {fault!r}.")
        else:
            log.info("the engine is back")
        finally:
            self._recovery = None
            self._notify()

    async def _replace(self) -> None:
        began = time.monotonic()
        self._restarts.append(began)
        self._detail = "it has died, and loads the model again"
        old = self.engine
        await old.kill()
        await old.stop()
        async with asyncio.timeout(self._supervision.start_seconds):
            engine = await self._start()
            self.engine, self._watchdog = engine, Watchdog(engine, self._supervision.stall_seconds)
            for adapter in old.adapters.values():
                try:
                    await engine.load_adapter(adapter)
                except RequestError as fault:
                    log.error("the adapter %s is not served any more: %s", adapter.name, fault)  # noqa: TRY400  # it has no more to say
                    await asyncio.to_thread(adapter.release)
        self._notify()
        log.info("the engine was started again in %.1f s", time.monotonic() - began)

    async def _find_culprit(self) -> Entry | None:
        """Try the suspects that are left, one after the other. None if the engine has survived all of them."""
        while self._suspects:
            entry = self._suspects.popleft()
            self._detail = f"it reads the requests that it may have died of, one by one; {len(self._suspects)} are left"
            if not await self._survives(entry):
                entry.killed = True
                self._notify()
                return entry
        return None

    async def _survives(self, entry: Entry) -> bool:
        """Whether the engine lives when it has read the prompt, or its client is gone. Raises EngineDead if it was dead before."""
        await self.engine.check()
        reading = asyncio.create_task(_read(self.engine, entry.prompt))
        try:
            while (
                entry in self.entries
                and not reading.done()
                and not self.engine.in_flight().get(entry.prompt.request_id)
            ):
                await self.engine.check()
                await self._watchdog.check()
                await asyncio.wait([reading], timeout=_POLL_SECONDS)
            if reading.done():
                reading.result()
        except EngineDead:
            return False
        except LumiError:  # the client will get it
            return True
        else:
            return True
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def _end(self, reason: str) -> None:
        self._over = f"{reason} This server is going down."
        self._notify()

    def _check_over(self) -> None:
        if self._over is not None:
            raise EngineDead(self._over)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _read(engine: Engine, prompt: Prompt) -> None:
    """Return when the first delta comes."""
    async with aclosing(engine.generate(prompt)) as deltas:
        await anext(deltas, None)
