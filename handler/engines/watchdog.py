"""An engine that computes nothing although requests wait: it is reported, ended, and so found dead."""

import logging
import time
from collections.abc import Callable

from handler.engine import Engine
from handler.engines.processes import report_processes
from handler.errors import EngineDead

log = logging.getLogger("lumi.engine")

# A longer gap between two checks is not the engine's: the machine, or this process, was held up.
LONGEST_GAP = 5.0


class Watchdog:
    """Counts the seconds in which `engine` had prompts to compute and made no step, one replica for itself. `limit` is in
    seconds; 0 watches nothing."""

    def __init__(self, engine: Engine, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._limit = limit
        self._clock = clock
        self._checked = clock()
        self._steps: dict[int, int] = {}
        self._seconds: dict[int, float] = {}
        self.stall: EngineDead | None = None  # why the engine is ended; prompts may find it dead before `check` returns

    async def check(self) -> None:
        """To be called every second or so. Raises EngineDead once a replica has hung for `limit`; its processes have ended
        then, and the log has their stacks."""
        seconds = self._longest_stall()
        if not self._limit or seconds < self._limit:
            return
        reason = (
            f"The engine computed nothing for {seconds:.0f} s although requests waited (OPTION_ENGINE_STALL_TIMEOUT)"
        )
        log.error("%s; what its processes do:", reason)
        await report_processes()
        await self._engine.check()  # what has died meanwhile may be replaced by now
        self.stall = EngineDead(f"{reason}; its processes were ended.")
        await self._engine.kill()
        raise self.stall

    def _longest_stall(self) -> float:
        now = self._clock()
        gap, self._checked = min(now - self._checked, LONGEST_GAP), now
        for replica, steps in self._engine.steps().items():
            # A request that gives up does not end the stall: only a step does.
            same = self._steps.get(replica) == steps
            self._seconds[replica] = self._seconds.get(replica, 0.0) + gap if same else 0.0
            self._steps[replica] = steps
        return max(self._seconds.values(), default=0.0)
