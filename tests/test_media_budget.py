import asyncio

import pytest

from handler.media.budget import PixelBudget


async def _settle():
    for _ in range(3):
        await asyncio.sleep(0)


def test_what_does_not_fit_waits_for_its_turn():
    async def life():
        budget = PixelBudget(10)
        await budget.take(6)
        second = asyncio.create_task(budget.take(6))
        third = asyncio.create_task(budget.take(1))
        await _settle()
        assert (second.done(), third.done()) == (False, False)  # first come, first served
        budget.give_back(6)
        await _settle()
        assert (second.done(), third.done()) == (True, True)

    asyncio.run(life())


def test_what_never_fits_runs_alone():
    async def life():
        budget = PixelBudget(10)
        await budget.take(99)
        other = asyncio.create_task(budget.take(1))
        await _settle()
        assert not other.done()
        budget.give_back(99)
        await asyncio.wait_for(other, 1)

    asyncio.run(life())


def test_who_gives_up_waiting_holds_nothing_and_blocks_nobody():
    async def life():
        budget = PixelBudget(10)
        await budget.take(10)
        leaving, staying = asyncio.create_task(budget.take(8)), asyncio.create_task(budget.take(2))
        await _settle()
        leaving.cancel()
        budget.give_back(2)
        await _settle()
        assert staying.done()
        with pytest.raises(asyncio.CancelledError):
            await leaving

    asyncio.run(life())


def test_who_is_cancelled_just_after_the_turn_came_gives_it_back():
    async def life():
        budget = PixelBudget(10)
        await budget.take(10)
        late = asyncio.create_task(budget.take(10))
        await _settle()
        budget.give_back(10)  # the turn has come, but the task has not run yet
        late.cancel()
        await _settle()
        await asyncio.wait_for(budget.take(10), 1)

    asyncio.run(life())
