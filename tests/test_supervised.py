"""Engines that die, and what becomes of the prompts that they had."""

import asyncio
import contextlib

import pytest

from handler.engine import Adapter, ChatPrompt, Message
from handler.engines.fake import FakeEngine, FakeFactory, describe
from handler.engines.supervised import SupervisedFactory
from handler.engines.supervisor import Supervision
from handler.errors import EngineDead, EngineFailure, RequestQuarantined, StartError, Unavailable

POISON = "poison"


class Mortal(FakeEngine):
    """Dies when it reads the poison."""

    deadly_piece = 0

    async def _compute(self, prompt, number):
        if POISON in describe(prompt) and number >= self.deadly_piece:
            await self.kill()
        await super()._compute(prompt, number)


class Slow(Mortal):
    """Dies of the poison when its first token has come."""

    deadly_piece = 1


class Stopping(FakeEngine):
    """Fails on what it has not read when it ends, as vLLM does whose tokenizer stops with it."""

    async def _compute(self, prompt, number):
        try:
            await super()._compute(prompt, number)
        except EngineDead as death:
            raise EngineFailure("It is being stopped.") from death

    async def detokenize(self, tokens):
        await self._killed.wait()
        raise EngineFailure(f"It is being stopped, and does not read {tokens}.")


def prompt(text, *, stream=False, **parameters):
    return ChatPrompt(messages=[Message("user", text)], request_id=text, stream=stream, parameters=parameters)


async def ask(engine, text, *, stream=False):
    return [delta.text async for delta in engine.generate(prompt(text, stream=stream))]


@contextlib.asynccontextmanager
async def supervised(*engines, restarts=5, **supervision):
    """A supervised engine, and the factory of those behind it."""
    first, *later = engines
    factory = FakeFactory(first, later)
    engine = await SupervisedFactory(factory, Supervision(restarts=restarts, **supervision)).start("model", None)
    await engine.check()
    try:
        yield engine, factory
    finally:
        await engine.stop()


async def ask_and_kill(engine, behind, text="a"):
    """Ask `engine`; the one `behind` it is killed while it computes the answer."""
    waiting = asyncio.create_task(ask(engine, text))
    await until(lambda: behind.seen)
    await behind.kill()
    return await waiting


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # an engine announces nothing
            await asyncio.sleep(0.001)


async def recovered(engine):
    async with asyncio.timeout(20):
        while True:
            try:
                return await engine.check()
            except Unavailable:
                await asyncio.sleep(0.001)


def held(**more):
    """An engine that computes nothing for now."""
    return Mortal(gate=asyncio.Event(), **more)


def run(story):
    asyncio.run(story())


def test_what_was_not_answered_is_answered_by_the_next_engine():
    async def story():
        dying = held()
        async with supervised(dying, FakeEngine()) as (engine, factory):
            asking = [
                asyncio.create_task(ask(engine, text, stream=stream)) for text, stream in (("a", False), ("b", True))
            ]
            await until(lambda: len(dying.seen) == 2)
            await dying.kill()
            assert await asyncio.gather(*asking) == [["user: a"], ["user: b"]]
            assert factory.steps == ["start model", "start model"]
            assert dying.stopped
            await recovered(engine)

    run(story)


def test_an_idle_engine_is_replaced_as_well():
    async def story():
        dying = FakeEngine()
        async with supervised(dying, FakeEngine()) as (engine, _):
            await dying.kill()
            with pytest.raises(Unavailable, match="restarting the engine"):
                await engine.check()
            assert await ask(engine, "a") == ["user: a"]

    run(story)


def test_a_stream_that_has_begun_ends_with_an_error():
    async def story():
        dying = held(replies=("a", "b"), hold_after=1)
        async with supervised(dying, FakeEngine()) as (engine, _):
            stream = engine.generate(prompt("a", stream=True))
            assert (await anext(stream)).text == "a"
            await dying.kill()
            with pytest.raises(EngineDead, match="send it again"):
                await anext(stream)

    run(story)


def test_a_prompt_that_kills_two_engines_is_refused_and_its_neighbours_are_answered():
    async def story():
        async with supervised(held(), Mortal(), Mortal(), Mortal()) as (engine, factory):
            neighbours = [asyncio.create_task(ask(engine, text)) for text in ("a", "b")]
            streams = [asyncio.create_task(ask(engine, text, stream=True)) for text in ("c", "d")]
            poison = asyncio.create_task(ask(engine, POISON))
            await until(lambda: len(factory.steps) == 2 or poison.done())
            with pytest.raises(RequestQuarantined):
                await poison
            assert await asyncio.gather(*neighbours, *streams) == [[f"user: {name}"] for name in "abcd"]
            await recovered(engine)
            starts = len(factory.steps)
            with pytest.raises(RequestQuarantined):
                await ask(engine, POISON, stream=True)
            assert await ask(engine, "e") == ["user: e"]
            assert len(factory.steps) == starts == 3

    run(story)


def test_a_stream_that_was_found_innocent_begins_only_when_nothing_can_end_it():
    async def story():
        async with supervised(held(), Mortal(replies=("a", "b")), Mortal(replies=("a", "b"))) as (engine, _):
            innocent = asyncio.create_task(ask(engine, "hi", stream=True))
            await asyncio.sleep(0)
            poison = asyncio.create_task(ask(engine, POISON))
            assert await innocent == ["a", "b"]
            with pytest.raises(RequestQuarantined):
                await poison

    run(story)


def test_a_prompt_that_kills_after_its_first_token_is_not_blamed_on_the_one_that_is_read_then():
    async def story():
        first, second = Slow(gate=asyncio.Event()), Slow(replies=("a", "b"))
        async with supervised(first, second, FakeEngine()) as (engine, factory):
            poison = asyncio.create_task(ask(engine, POISON, stream=True))
            await until(lambda: first.seen)
            innocent = asyncio.create_task(ask(engine, "hi"))
            await until(lambda: len(first.seen) == 2)
            await first.kill()
            answers = await asyncio.gather(poison, innocent, return_exceptions=True)
            assert [type(answer) for answer in answers] == [EngineDead, EngineDead]
            assert len(factory.steps) == 2

    run(story)


def test_what_a_dying_engine_fails_on_is_answered_by_the_next_one():
    async def story():
        dying = Stopping(gate=asyncio.Event())
        async with supervised(dying, FakeEngine()) as (engine, _):
            text = asyncio.create_task(engine.detokenize([104, 105]))
            waiting = asyncio.create_task(ask(engine, "a"))
            await until(lambda: dying.seen)
            engine._supervisor.died(dying, EngineDead("The engine has died."))  # as the watch says
            assert await waiting == ["user: a"]
            assert await text == "hi"

    run(story)


def test_a_failure_of_an_engine_that_lives_is_the_requests():
    async def story():
        async with supervised(FakeEngine(error=EngineFailure("It failed."))) as (engine, _):
            with pytest.raises(EngineFailure):
                await ask(engine, "a")

    run(story)


def test_the_same_prompt_with_another_parameter_is_another():
    async def story():
        async with supervised(held(), Mortal(), FakeEngine()) as (engine, _):
            with pytest.raises(RequestQuarantined):
                await ask(engine, POISON)
            assert [delta async for delta in engine.generate(prompt(POISON, temperature=1))]

    run(story)


def test_a_second_death_that_no_request_explains_is_the_last():
    async def story():
        first, second = held(), held()
        async with supervised(first, second, FakeEngine()) as (engine, factory):
            await first.kill()
            await recovered(engine)
            with pytest.raises(EngineDead, match="second time in ten minutes"):
                await ask_and_kill(engine, second)
            with pytest.raises(EngineDead, match="second time in ten minutes"):
                await engine.check()
            assert len(factory.steps) == 2

    run(story)


def test_a_death_that_a_request_explains_does_not_count():
    async def story():
        last = FakeEngine()
        async with supervised(held(), Mortal(), last, FakeEngine()) as (engine, _):
            with pytest.raises(RequestQuarantined):
                await ask(engine, POISON)
            await recovered(engine)
            await last.kill()
            assert await ask(engine, "a") == ["user: a"]

    run(story)


def test_restarts_have_a_limit():
    async def story():
        async with supervised(held(), Mortal(), FakeEngine(), restarts=1) as (engine, _):
            with pytest.raises(RequestQuarantined):
                await ask(engine, POISON)
            await until(lambda: not engine._supervisor.is_recovering)
            with pytest.raises(EngineDead, match=r"1 times in ten minutes \(OPTION_ENGINE_RESTARTS\)"):
                await engine.check()

    run(story)


def test_without_restarts_a_death_is_the_end():
    async def story():
        dying = held()
        async with supervised(dying, FakeEngine(), restarts=0) as (engine, factory):
            with pytest.raises(EngineDead, match="This server is going down"):
                await ask_and_kill(engine, dying)
            with pytest.raises(EngineDead):
                await engine.check()
            assert len(factory.steps) == 1

    run(story)


def test_an_engine_that_dies_during_the_start_is_not_replaced():
    async def story():
        dying = Mortal()
        engine = await SupervisedFactory(FakeFactory(dying, [FakeEngine()]), Supervision(restarts=5)).start("m", None)
        with pytest.raises(EngineDead):
            await ask(engine, POISON)

    run(story)


def test_an_engine_that_cannot_be_started_again_is_the_end():
    async def story():
        dying = held()
        async with supervised(dying) as (engine, factory):

            def fail():
                raise StartError("no memory")

            factory.load = fail
            with pytest.raises(EngineDead, match="could not be started again: no memory"):
                await ask_and_kill(engine, dying)

    run(story)


def test_an_engine_that_hangs_is_replaced():
    async def story():
        async with supervised(held(), FakeEngine(), stall_seconds=0.01) as (engine, _):
            waiting = asyncio.create_task(ask(engine, "a"))
            async with asyncio.timeout(20):
                while not waiting.done():
                    with contextlib.suppress(Unavailable):
                        await engine.check()
                    await asyncio.sleep(0.01)
            assert await waiting == ["user: a"]

    run(story)


def test_prompts_that_find_an_engine_dead_that_hung_say_so():
    class SlowToEnd(FakeEngine):
        async def kill(self):
            await super().kill()
            await asyncio.sleep(0.05)  # the prompts know it by now

    async def story():
        hung = SlowToEnd(gate=asyncio.Event())
        async with supervised(hung, restarts=0, stall_seconds=0.01) as (engine, _):
            waiting = asyncio.create_task(ask(engine, "a"))
            async with asyncio.timeout(20):
                while not waiting.done():
                    with contextlib.suppress(EngineDead):
                        await engine.check()
                    await asyncio.sleep(0.01)
            with pytest.raises(EngineDead, match="computed nothing for"):
                await waiting

    run(story)


def test_adapters_are_loaded_again_and_cached_images_are_not_there_any_more():
    async def story():
        dying = FakeEngine(cached=frozenset({"image"}))
        async with supervised(dying, FakeEngine()) as (engine, _):
            adapter = Adapter("mine", "directory", "source", rank=1)
            await engine.load_adapter(adapter)
            assert engine.holds("image")
            await dying.kill()
            with contextlib.suppress(Unavailable):
                await engine.check()
            assert not engine.holds("image")
            await recovered(engine)
            assert engine.adapters == {"mine": adapter}
            assert not engine.holds("image")

    run(story)


def test_an_adapter_that_cannot_be_loaded_again_is_released_and_the_rest_is_served():
    async def story():
        dying, released = FakeEngine(), []
        async with supervised(dying, FakeEngine(max_rank=1)) as (engine, _):
            await engine.load_adapter(Adapter("large", "d", "s", rank=8, release=lambda: released.append("large")))
            await engine.load_adapter(Adapter("small", "d", "s", rank=1))
            await dying.kill()
            await recovered(engine)
            assert list(engine.adapters) == ["small"]
            assert released == ["large"]

    run(story)


def test_a_client_that_leaves_is_not_tried():
    async def story():
        dying, last = held(), held()
        async with supervised(dying, last) as (engine, _):
            leaving = asyncio.create_task(ask(engine, "a"))
            await until(lambda: dying.seen)
            await dying.kill()
            with contextlib.suppress(Unavailable):
                await engine.check()
            leaving.cancel()
            await recovered(engine)
            assert not last.seen

    run(story)
