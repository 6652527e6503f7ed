import asyncio

import pytest

from handler.media.budget import PixelBudget


async def _settle():
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_request_that_does_not_fit_waits_for_its_turn():
    async def life():
        budget = PixelBudget(10)
        await budget.acquire(6)
        second = asyncio.create_task(budget.acquire(6))
        third = asyncio.create_task(budget.acquire(1))
        await _settle()
        assert (second.done(), third.done()) == (False, False)  # first come, first served
        budget.release(6)
        await _settle()
        assert (second.done(), third.done()) == (True, True)

    asyncio.run(life())


def test_a_request_that_never_fits_runs_alone():
    async def life():
        budget = PixelBudget(10)
        await budget.acquire(99)
        other = asyncio.create_task(budget.acquire(1))
        await _settle()
        assert not other.done()
        budget.release(99)
        await asyncio.wait_for(other, 1)

    asyncio.run(life())


def test_a_request_cancelled_while_it_waits_acquires_nothing_and_blocks_no_other():
    async def life():
        budget = PixelBudget(10)
        await budget.acquire(10)
        leaving, staying = asyncio.create_task(budget.acquire(8)), asyncio.create_task(budget.acquire(2))
        await _settle()
        leaving.cancel()
        budget.release(2)
        await _settle()
        assert staying.done()
        with pytest.raises(asyncio.CancelledError):
            await leaving

    asyncio.run(life())


def test_a_request_cancelled_as_pixels_are_released_is_skipped():
    async def life():
        budget = PixelBudget(10)
        await budget.acquire(10)
        leaving, staying = asyncio.create_task(budget.acquire(8)), asyncio.create_task(budget.acquire(10))
        await _settle()
        leaving.cancel()
        budget.release(10)  # before `leaving` has run
        await asyncio.wait_for(staying, 1)
        with pytest.raises(asyncio.CancelledError):
            await leaving

    asyncio.run(life())


def test_a_request_cancelled_just_after_its_turn_came_releases_its_pixels():
    async def life():
        budget = PixelBudget(10)
        await budget.acquire(10)
        late = asyncio.create_task(budget.acquire(10))
        await _settle()
        budget.release(10)  # the turn has come, but the task has not run yet
        late.cancel()
        await _settle()
        await asyncio.wait_for(budget.acquire(10), 1)

    asyncio.run(life())
