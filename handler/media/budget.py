"""PixelBudget: how much decoded image may be in memory at once, over all requests."""

import asyncio
from collections import deque


class PixelBudget:
    """Pixels are three bytes each, and a thousand waiting requests may each bring megapixels: they take turns.

    First come, first served. A request takes what all its images need at once, so that two of them cannot wait for
    each other's halves; one that needs more than there is runs alone.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, pixels: int) -> None:
        """Wait until `pixels` are free, then hold them."""
        if not self._waiting and self._fits(pixels):
            self._taken += pixels
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (pixels, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(pixels)
            else:
                self._waiting.remove(entry)
                self._admit()
            raise

    def give_back(self, pixels: int) -> None:
        """Let go of `pixels` that were taken."""
        self._taken -= pixels
        self._admit()

    def _fits(self, pixels: int) -> bool:
        return self._taken == 0 or self._taken + pixels <= self._pixels

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            pixels, turn = self._waiting.popleft()
            self._taken += pixels
            turn.set_result(None)
