"""Back-pressure: every request in flight holds one of a limited number of permits."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from handler.errors import Unavailable


class Admission:
    """At most `limit` requests in flight, running or queued. One more is refused before its body is read."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def permit(self) -> Iterator[None]:
        """Raises Unavailable when all permits are held."""
        if self.held >= self.limit:
            raise Unavailable(
                f"{self.held} requests are running or waiting, which is the limit (OPTION_JOB_QUEUE_SIZE); try again.",
                retry_after=1,
            )
        self.held += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.held -= 1
            if not self.held:
                self._idle.set()

    async def idle(self) -> None:
        """Return when no permit is held."""
        await self._idle.wait()
