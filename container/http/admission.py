"""Back-pressure: every request that is computed holds one of a limited number of permits."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from handler.errors import Unavailable

SPARE = 0.25  # of the limit


class Permit:
    """Held until the response is computed: sending it to a slow client holds up nobody."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def release(self) -> None:
        """May be called more than once."""
        if self._give_back is not None:
            self._give_back()
            self._give_back = None


class Admission:
    """At most `limit` requests, running or queued. One more is refused before its body is read, unless its client holds
    less than its share: for such there are SPARE more, so that no client locks the others out. `open` counts the requests
    whose response is not sent yet as well."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.open = 0
        self._of_client: Counter[str] = Counter()
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def permit(self, client: str = "") -> Iterator[Permit]:
        """A permit for a client; the block ends when the response is sent. Raises Unavailable when all are held."""
        if self.held >= self.limit and not self._may_exceed(client):
            raise Unavailable(
                f"{self.held} requests are running or waiting, which is the limit (OPTION_JOB_QUEUE_SIZE); try again.",
                retry_after=1,
            )
        self.held += 1
        self.open += 1
        self._of_client[client] += 1
        self._idle.clear()
        permit = Permit(partial(self._give_back, client))
        try:
            yield permit
        finally:
            permit.release()
            self.open -= 1
            if not self.open:
                self._idle.set()

    def _may_exceed(self, client: str) -> bool:
        share = self.limit / len({*self._of_client, client})
        return self.held < self.limit * (1 + SPARE) and self._of_client[client] + 1 <= min(share, self.limit / 2)

    def _give_back(self, client: str) -> None:
        self.held -= 1
        self._of_client[client] -= 1
        if not self._of_client[client]:
            del self._of_client[client]

    async def idle(self) -> None:
        """Return when no response is computed or sent."""
        await self._idle.wait()
