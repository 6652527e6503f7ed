"""Bytes as people read them, and how a download gets on."""

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger("lumi.model")

SECONDS = 5.0  # between two lines
_UNITS = ((10**9, "GB", ".1f"), (10**6, "MB", ".0f"), (10**3, "kB", ".0f"), (1, "bytes", ".0f"))


def amount(count: float) -> str:
    """3100000000 -> 3.1 GB."""
    scale, unit, digits = _unit(count)
    return f"{count / scale:{digits}} {unit}"


class Progress:
    """Counts what has arrived, from any thread, and says it every few seconds to the log and to `say`."""

    def __init__(self, say: Callable[[str], None], total: int, already: int = 0) -> None:
        self.fetched = 0
        self._say = say
        self._total = total
        self._done = already
        self._lock = threading.Lock()
        self._seen = (time.monotonic(), 0)

    def add(self, count: int) -> None:
        """`count` bytes came over the network; a negative one takes back what has to come again."""
        with self._lock:
            self.fetched += max(count, 0)
            self._done += count

    def tell(self) -> None:
        """One line, with the speed since the line before."""
        before, had = self._seen
        now, fetched = time.monotonic(), self.fetched
        self._seen = (now, fetched)
        speed = (fetched - had) / max(now - before, 1e-3)
        scale, _, digits = _unit(self._total)
        line = f"downloaded {self._done / scale:{digits}} of {amount(self._total)}, {amount(speed)}/s"
        log.info(line)
        self._say(line)


def _unit(count: float) -> tuple[int, str, str]:
    return next((unit for unit in _UNITS if count >= unit[0]), _UNITS[-1])
