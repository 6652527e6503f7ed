import asyncio
import contextlib

import pytest

from handler.engine import ChatPrompt, Message
from handler.engines.fake import FakeEngine
from handler.engines.watchdog import Watchdog
from handler.errors import EngineDead


def prompt(name="1"):
    return ChatPrompt(messages=[Message("user", "hi")], request_id=name, stream=True)


@contextlib.asynccontextmanager
async def asking(engine, name="1"):
    """A prompt that waits for `engine`."""

    async def read():
        return [delta.text async for delta in engine.generate(prompt(name))]

    task = asyncio.create_task(read())
    while not engine.steps():  # noqa: ASYNC110  # an engine announces nothing
        await asyncio.sleep(0)
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def watching_hung_engine(limit, *seconds):
    """A watchdog, of an engine that has a prompt and computes nothing, at these times."""
    engine = FakeEngine(gate=asyncio.Event())
    watchdog = Watchdog(engine, limit, after(*seconds))
    async with asking(engine):
        yield watchdog


def after(*seconds):
    """A clock that gives these times."""
    return iter(seconds).__next__


def run(story):
    asyncio.run(story())


def test_an_engine_that_computes_nothing_while_a_prompt_waits_is_killed():
    async def story():
        engine = FakeEngine(hold_after=1, replies=("a", "b"))
        watchdog = Watchdog(engine, 3, after(0, 1, 2, 3, 4, 5))
        async with asking(engine) as answer:
            await watchdog.check()
            await watchdog.check()
            await watchdog.check()
            with pytest.raises(EngineDead, match=r"computed nothing for 3 s .*OPTION_ENGINE_STALL_TIMEOUT"):
                await watchdog.check()
            with pytest.raises(EngineDead):
                await answer

    run(story)


def test_a_step_ends_a_stall():
    async def story():
        engine = FakeEngine(hold_after=1, replies=("a", "b"))
        watchdog = Watchdog(engine, 3, after(0, 1, 2, 3, 4, 5, 6))
        async with asking(engine) as answer:
            await watchdog.check()
            await watchdog.check()
            engine.gate.set()
            assert await answer == ["a", "b"]
        engine.gate.clear()
        async with asking(engine, "2"):
            await watchdog.check()
            await watchdog.check()
            await watchdog.check()

    run(story)


def test_clients_that_give_up_one_after_the_other_do_not_hide_a_stall():
    async def story():
        engine = FakeEngine(gate=asyncio.Event())
        watchdog = Watchdog(engine, 3, after(0, 1, 2, 100, 101, 102, 103))
        async with asking(engine, "1"):
            await watchdog.check()
            await watchdog.check()
        async with asking(engine, "2"):
            with pytest.raises(EngineDead):
                await watchdog.check()

    run(story)


def test_an_idle_engine_does_not_hang():
    async def story():
        watchdog = Watchdog(FakeEngine(), 1, after(0, 10, 20, 30))
        await watchdog.check()
        await watchdog.check()

    run(story)


def test_a_pause_of_the_whole_machine_is_not_the_engines():
    async def story():
        async with watching_hung_engine(60, 0, 1, 1000, 1001) as watchdog:
            await watchdog.check()
            await watchdog.check()
            await watchdog.check()

    run(story)


def test_without_a_limit_nothing_is_killed():
    async def story():
        async with watching_hung_engine(0, 0, 1, 2, 3, 4) as watchdog:
            await watchdog.check()
            await watchdog.check()
            await watchdog.check()

    run(story)
