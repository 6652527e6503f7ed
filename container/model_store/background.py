"""Minutes of blocking work beside the event loop: told to stop when nobody waits any more."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

STOP_SECONDS = 2.0  # for whoever looks at `stop`; a thread that hangs in a read dies with the process


class Stopped(Exception):
    """`stop` was set; the work was left where it can be taken up again."""


async def in_background(work: Callable[[threading.Event], T]) -> T:
    """The result of `work`, run in a daemon thread. Cancelling this sets the event that `work` is given."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    stop = threading.Event()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            result, error = work(stop), None
        except BaseException as fault:  # noqa: BLE001  # carried over to the loop, whatever it is
            result, error = None, fault
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="lumi-model", daemon=True).start()
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
