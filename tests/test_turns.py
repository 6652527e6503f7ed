import asyncio
import contextlib

import pytest

from handler.errors import InvalidRequest
from handler.turns import Source, Turns


class Engine:
    """The sequences that are in it, by source, and those that were let in, in order."""

    def __init__(self, turns):
        self.turns = turns
        self.inside = []
        self.entered = []
        self._leave = {}

    async def run(self, source, sequences=1):
        leave = asyncio.Event()
        async with self.turns.turn(source, sequences):
            self.inside.append(source)
            self.entered.append(source)
            self._leave.setdefault(source, []).append(leave)
            await leave.wait()
        self.inside.remove(source)

    def start(self, source, count=1, sequences=1):
        return [asyncio.create_task(self.run(source, sequences)) for _ in range(count)]

    async def finish(self, source, count=1):
        for _ in range(count):
            self._leave[source].pop().set()
        await settle()


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def run(story, batch=2):
    """`story(engine)`, after which what still runs is cancelled."""

    async def life():
        await story(Engine(Turns(batch)))
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    asyncio.run(life())


A1, A2, A3 = (Source("a", name) for name in "123")
B, C = Source("b", "1"), Source("c", "1")


def test_one_request_has_no_more_than_a_batch_in_the_engine():
    async def story(engine):
        engine.start(A1, 10)
        await settle()
        assert engine.inside == [A1, A1]
        await engine.finish(A1)
        assert engine.inside == [A1, A1]
        assert len(engine.entered) == 3

    run(story)


def test_one_client_has_no_more_than_two_batches_and_all_have_no_more_than_four():
    async def story(engine):
        for source in (A1, A2, A3):
            engine.start(source, 10)
        await settle()
        assert sorted(engine.inside, key=str) == [A1, A1, A2, A2]
        engine.start(B, 10)
        engine.start(C, 10)
        await settle()
        assert len(engine.inside) == 8
        assert engine.inside.count(B) == engine.inside.count(C) == 2

    run(story)


def test_another_client_is_next_however_many_wait_before_it():
    async def story(engine):
        tasks = [*engine.start(B, 2), *engine.start(C, 2)]
        for source in (A1, A2, A3):
            engine.start(source, 1000)
        await settle()
        assert len(engine.inside) == 8
        engine.start(Source("d", "1"))
        await settle()
        await engine.finish(B)
        assert engine.inside[-1] == Source("d", "1")
        assert not any(task.cancelled() for task in tasks)

    run(story)


def test_the_requests_of_one_client_take_turns():
    async def story(engine):
        engine.start(A1, 100)
        engine.start(A2, 100)
        await settle()
        engine.start(A3, 1)
        await settle()
        for source in (A1, A2, A1):
            await engine.finish(source)
        assert A3 in engine.inside

    run(story)


def test_a_request_of_many_sequences_waits_for_room_and_counts_as_them():
    async def story(engine):
        engine.start(A1, 3, sequences=2)
        await settle()
        assert engine.inside == [A1]
        await engine.finish(A1)
        assert engine.inside == [A1]

    run(story)


def test_one_that_no_longer_waits_takes_no_turn():
    async def story(engine):
        engine.start(A1, 2)
        await settle()
        waiting = engine.start(A1, 3)
        await settle()
        for task in waiting[:2]:
            task.cancel()
        await settle()
        await engine.finish(A1, 2)
        assert engine.inside == [A1]
        assert not waiting[2].done()
        await engine.finish(A1)
        assert engine.inside == []

    run(story)


def test_one_that_fails_gives_its_turn_back():
    async def story(engine):
        for _ in range(10):
            with contextlib.suppress(ZeroDivisionError):
                async with engine.turns.turn(A1, 2):
                    raise ZeroDivisionError

    run(story)


@pytest.mark.parametrize("value", [33, "33", 10**9])
def test_more_completions_than_the_engine_runs_at_once_are_refused(value):
    with pytest.raises(InvalidRequest, match="the maximum is 32") as refusal:
        Turns(2).check({"n": value})
    assert refusal.value.param == "n"
    Turns(64).check({"n": 33})


@pytest.mark.parametrize("value", [None, "many", [], 1e400])
def test_what_is_no_number_is_left_to_the_engine(value):
    Turns(2).check({"n": value})
