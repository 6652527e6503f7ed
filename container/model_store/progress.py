"""Bytes for people to read, and the progress of a download."""

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger("lumi.model")

SECONDS = 5.0  # between two reports
_UNITS = ((10**9, "GB", ".1f"), (10**6, "MB", ".0f"), (10**3, "kB", ".0f"), (1, "bytes", ".0f"))


def format_bytes(count: float) -> str:
    """3100000000 -> 3.1 GB."""
    scale, unit, digits = _unit(count)
    return f"{count / scale:{digits}} {unit}"


class Progress:
    """Counts the bytes that arrive, in any thread, and reports them to the log and to `report`."""

    def __init__(self, report: Callable[[str], None], total: int, already: int = 0) -> None:
        self._report = report
        self._total = total
        self._already = already
        self._arrived = 0
        self._lock = threading.Lock()
        self._last = (time.monotonic(), 0)

    def add(self, count: int) -> None:
        """`count` more bytes arrived; a negative count takes some back."""
        with self._lock:
            self._arrived += count

    def report(self) -> None:
        """Report one line, with the speed since the line before."""
        before, arrived_before = self._last
        now, arrived = time.monotonic(), self._arrived
        self._last = (now, arrived)
        speed = max(arrived - arrived_before, 0) / max(now - before, 1e-3)
        scale, _, digits = _unit(self._total)
        done = (self._already + arrived) / scale
        line = f"downloaded {done:{digits}} of {format_bytes(self._total)}, {format_bytes(speed)}/s"
        log.info(line)
        self._report(line)


def _unit(count: float) -> tuple[int, str, str]:
    return next((unit for unit in _UNITS if count >= unit[0]), _UNITS[-1])
