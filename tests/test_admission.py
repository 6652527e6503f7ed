import asyncio
from contextlib import ExitStack

import pytest

from container.http.admission import Admission
from handler.errors import Unavailable


def test_a_permit_over_the_limit_is_refused_with_the_option():
    admission = Admission(1)
    with admission.permit(), pytest.raises(Unavailable, match="OPTION_JOB_QUEUE_SIZE"), admission.permit():
        pass
    with admission.permit():
        assert admission.held == 1


def test_a_permit_comes_back_when_the_work_fails():
    admission = Admission(1)
    with pytest.raises(ZeroDivisionError), admission.permit():
        raise ZeroDivisionError
    assert admission.held == 0


def test_one_client_does_not_lock_the_others_out():
    admission = Admission(8)
    with ExitStack() as permits:
        for _ in range(8):
            permits.enter_context(admission.permit("hog"))
        with pytest.raises(Unavailable), admission.permit("hog"):
            pass
        with admission.permit("next"), admission.permit("other"):
            assert admission.held == 10
            with pytest.raises(Unavailable), admission.permit("third"):
                pass
    assert admission.held == 0


def test_a_released_permit_is_free_while_its_response_is_sent():
    admission = Admission(1)
    with admission.permit() as first:
        first.release()
        first.release()
        with admission.permit():
            assert (admission.held, admission.open) == (1, 2)
    assert (admission.held, admission.open) == (0, 0)


def test_idle_waits_for_the_last_permit():
    async def life():
        admission = Admission(5)
        await admission.idle()
        with admission.permit():
            waiting = asyncio.create_task(admission.idle())
            await asyncio.sleep(0)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 1)

    asyncio.run(life())
