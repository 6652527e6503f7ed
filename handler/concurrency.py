"""Several jobs at once: all of them succeed, or the first fault ends the rest."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TypeVar

_T = TypeVar("_T")


async def all_of(jobs: Sequence[Coroutine[None, None, _T]]) -> list[_T]:
    """The results, in order; on the first failure the rest is cancelled and awaited, and it alone is raised."""
    if len(jobs) == 1:
        return [await jobs[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except BaseExceptionGroup as faults:
        raise faults.exceptions[0] from None
    return [task.result() for task in tasks]
