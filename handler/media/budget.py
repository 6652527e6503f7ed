"""PixelBudget: how many decoded pixels may be in memory at once, over all requests."""

import asyncio
from collections import deque


class PixelBudget:
    """Pixels take three bytes each, and each of a thousand waiting requests may bring megapixels: they take turns.

    First come, first served. A request acquires the pixels of all its images at once, so that no two requests wait for
    each other; one that needs more than the whole budget runs alone.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._acquired = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, pixels: int) -> None:
        """Wait until `pixels` are free, then take them."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(pixels)
            else:
                self._admit()
            raise

    def release(self, pixels: int) -> None:
        """Give `pixels` back that were acquired."""
        self._acquired -= pixels
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            pixels, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
                continue
            if self._acquired and self._acquired + pixels > self._pixels:
                return
            self._waiting.popleft()
            self._acquired += pixels
            turn.set_result(None)
