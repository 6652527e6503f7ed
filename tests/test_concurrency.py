import asyncio
import threading
import time

import pytest

from handler.concurrency import in_background


def test_the_result_comes_back_and_the_loop_goes_on_meanwhile():
    async def life():
        held = threading.Event()
        work = in_background(lambda: held.wait(5))
        await asyncio.sleep(0)  # the loop is free
        held.set()
        return await work

    assert asyncio.run(life()) is True


def test_an_error_comes_back():
    async def life():
        await in_background(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(life())


def test_who_gives_up_waiting_can_leave_before_the_work_is_done():
    held = threading.Event()

    async def life():
        work = in_background(lambda: held.wait(5))
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(life())  # returns although the thread still waits
    held.set()
    time.sleep(0.1)  # and its result finds a closed loop
