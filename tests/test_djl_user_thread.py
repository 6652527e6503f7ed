"""The four ways in which a step of user code is cancelled, as drawn in handler/djl/user_thread.py."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from handler.djl.failures import TimedOut, UserCodeError
from handler.djl.user_thread import TimeLimitExceeded, UserThread


class Endless:
    """Steps that do not end by themselves, and what happened to them."""

    def __init__(self):
        self.begun = threading.Event()
        self.ended_with = []

    async def awaiting(self):
        self.begun.set()
        await self._recorded(asyncio.Event().wait())

    def computing(self):
        self.begun.set()
        try:
            while True:
                pass
        except TimeLimitExceeded as error:
            self.ended_with.append(type(error))
            raise

    async def _recorded(self, awaitable):
        try:
            await awaitable
        except asyncio.CancelledError as error:
            self.ended_with.append(type(error))
            raise


@asynccontextmanager
async def user_thread(seconds=60.0, grace_seconds=1.0):
    thread = UserThread(seconds=seconds, grace_seconds=grace_seconds)
    thread.start()
    try:
        yield thread
    finally:
        await thread.stop()


async def start_step(turn, step, begun):
    running = asyncio.create_task(turn.run(step))
    assert await asyncio.to_thread(begun.wait, 10)
    return running


async def cancel(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def one():
    return 1


def test_a_client_that_leaves_cancels_a_step_that_awaits():
    async def run():
        endless = Endless()
        async with user_thread() as thread:
            async with thread.turn() as turn:
                await cancel(await start_step(turn, endless.awaiting, endless.begun))
                assert await turn.run(one) == 1  # the turn goes on
            assert endless.ended_with == [asyncio.CancelledError]

    asyncio.run(run())


def test_a_client_that_leaves_drops_a_step_that_is_queued():
    async def run():
        endless, calls = Endless(), []
        async with user_thread() as thread, thread.turn() as turn:
            first = await start_step(turn, endless.awaiting, endless.begun)
            queued = asyncio.create_task(turn.run(lambda: calls.append(1)))
            await asyncio.sleep(0)
            await cancel(queued)
            await cancel(first)
            assert await turn.run(one) == 1
        assert calls == []

    asyncio.run(run())


def test_a_step_that_computes_after_its_client_has_left_is_interrupted_when_its_time_is_up():
    async def run():
        endless = Endless()
        async with user_thread(seconds=0.5, grace_seconds=0.05) as thread:
            async with thread.turn() as turn:
                await cancel(await start_step(turn, endless.computing, endless.begun))
            assert await thread.run(one, bounded=False) == 1
        assert endless.ended_with == [TimeLimitExceeded]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "grace_seconds", "error"),
    [("awaiting", 1, asyncio.CancelledError), ("computing", 0.05, TimeLimitExceeded)],
)
def test_a_step_whose_time_is_up_is_cancelled_or_interrupted(kind, grace_seconds, error):
    async def run():
        endless = Endless()
        async with user_thread(seconds=0.5, grace_seconds=grace_seconds) as thread:
            with pytest.raises(TimedOut):
                await thread.run(getattr(endless, kind))
            assert await thread.run(one, bounded=False) == 1
        assert endless.ended_with == [error]

    asyncio.run(run())


def test_a_step_whose_time_is_up_while_it_is_queued_is_not_called():
    async def run():
        endless, calls = Endless(), []
        async with user_thread(seconds=0.1) as thread, thread.turn() as turn:
            first = asyncio.create_task(turn.run(endless.awaiting, bounded=False))
            assert await asyncio.to_thread(endless.begun.wait, 10)
            with pytest.raises(TimedOut):
                await turn.run(lambda: calls.append(1))
            await cancel(first)
            assert await turn.run(one, bounded=False) == 1
        assert calls == []

    asyncio.run(run())


def test_stopping_the_thread_cancels_what_awaits():
    async def run():
        endless = Endless()
        async with user_thread() as thread, thread.turn() as turn:
            running = await start_step(turn, endless.awaiting, endless.begun)
            await thread.stop()
            with pytest.raises(TimedOut):
                await running
        assert endless.ended_with == [asyncio.CancelledError]

    asyncio.run(run())


def test_a_turn_that_fails_still_runs_its_last_step_and_the_next_turn_waits_for_it():
    async def run():
        steps = []
        async with user_thread() as thread:
            thread.run_sequentially()
            async with thread.turn() as turn:
                turn.at_end(lambda: steps.append("end"))
                with pytest.raises(UserCodeError, match="ZeroDivisionError"):
                    await turn.run(lambda: 1 / 0)
            await thread.run(lambda: steps.append("next"))
        assert steps == ["end", "next"]

    asyncio.run(run())
