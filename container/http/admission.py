"""Back-pressure: every request that is computed holds one of a limited number of permits."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from handler.errors import Unavailable


class Permit:
    """Held until the response is computed: sending it to a slow client holds up nobody."""

    def __init__(self, admission: "Admission") -> None:
        self._admission: Admission | None = admission

    def release(self) -> None:
        """May be called more than once."""
        if self._admission is not None:
            self._admission.held -= 1
            self._admission = None


class Admission:
    """At most `limit` requests, running or queued. One more is refused before its body is read. `open` counts those whose
    response is not sent yet as well."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def permit(self) -> Iterator[Permit]:
        """A permit; the block ends when the response is sent. Raises Unavailable when all permits are held."""
        if self.held >= self.limit:
            raise Unavailable(
                f"{self.held} requests are running or waiting, which is the limit (OPTION_JOB_QUEUE_SIZE); try again.",
                retry_after=1,
            )
        self.held += 1
        self.open += 1
        self._idle.clear()
        permit = Permit(self)
        try:
            yield permit
        finally:
            permit.release()
            self.open -= 1
            if not self.open:
                self._idle.set()

    async def idle(self) -> None:
        """Return when no response is computed or sent."""
        await self._idle.wait()
