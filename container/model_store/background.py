"""A download in a thread, beside the event loop -> its result; cancelling the wait stops it."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from handler.concurrency import in_background

T = TypeVar("T")

STOP_SECONDS = 2.0  # for `work` to see `stop`; a thread that hangs in a read ends with the process


class Stopped(Exception):
    """`stop` was set; the next start resumes the work."""


async def until_stopped(work: Callable[[threading.Event], T]) -> T:
    """The result of `work`. Cancelling this sets the event that `work` is given."""
    stop = threading.Event()
    done = in_background(lambda: work(stop))
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        stop.set()
        done.add_done_callback(_retrieve_exception)
        await asyncio.wait((done,), timeout=STOP_SECONDS)
        raise


def _retrieve_exception(done: "asyncio.Future[T]") -> None:
    """Otherwise asyncio logs it as never retrieved."""
    if not done.cancelled():
        done.exception()
