"""Minutes of blocking work beside the event loop, which the end of the process does not wait for."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_background(work: Callable[[], T]) -> T:
    """The result of `work`, run in a daemon thread.

    `asyncio.to_thread` would do but for one thing: a start that is given up on SIGTERM could not end before an import or
    a load that nothing can interrupt.
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
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="lumi-start", daemon=True).start()
    return await done
