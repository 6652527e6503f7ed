"""Minutes of blocking work beside the event loop, which the end of the process does not wait for."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_background(work: Callable[[], T]) -> "asyncio.Future[T]":
    """The result of `work`, to be awaited; it runs in a daemon thread.

    `asyncio.to_thread` would do but for one thing: a start that is given up on SIGTERM could not end before an import, a
    load or a download that nothing can interrupt.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            result, error = work(), None
        except BaseException as fault:  # noqa: BLE001  # carried over to the loop, whatever it is
            result, error = None, fault
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="lumi-background", daemon=True).start()
    return done
