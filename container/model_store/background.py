"""A download beside the event loop: told to stop when nobody waits any more."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from handler.concurrency import in_background

T = TypeVar("T")

STOP_SECONDS = 2.0  # for whoever looks at `stop`; a thread that hangs in a read dies with the process


class Stopped(Exception):
    """`stop` was set; the work was left where it can be taken up again."""


async def until_stopped(work: Callable[[threading.Event], T]) -> T:
    """The result of `work`. Cancelling this sets the event that `work` is given."""
    stop = threading.Event()
    done = in_background(lambda: work(stop))
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        stop.set()
        done.add_done_callback(_looked_at)
        await asyncio.wait((done,), timeout=STOP_SECONDS)
        raise


def _looked_at(done: "asyncio.Future[T]") -> None:
    """asyncio reports an error that nobody has asked for."""
    if not done.cancelled():
        done.exception()
