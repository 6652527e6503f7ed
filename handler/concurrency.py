"""Several coroutines at once, and blocking work beside the event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeVar

T = TypeVar("T")


async def gather(jobs: Sequence[Coroutine[None, None, T]]) -> list[T]:
    """The results, in order. The first failure cancels the other jobs, waits for their end, and is raised alone."""
    if len(jobs) == 1:
        return [await jobs[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except BaseExceptionGroup as faults:
        raise faults.exceptions[0] from None
    return [task.result() for task in tasks]


def in_background(work: Callable[[], T]) -> "asyncio.Future[T]":
    """A future of the result of `work`, which runs in a daemon thread.

    The end of the process waits for `asyncio.to_thread`, but not for this: a start that SIGTERM ends need not wait for an
    import or a download that nothing can interrupt.
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
        except BaseException as fault:  # noqa: BLE001  # the awaiting task raises it
            result, error = None, fault
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing awaits the result
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="lumi-background", daemon=True).start()
    return done
