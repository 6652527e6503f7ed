import asyncio

import pytest

from container.http.health import Health, Phase
from handler.adapters.registry import Adapters
from handler.engines.fake import FakeEngine
from handler.errors import Unavailable
from handler.images import Images
from handler.media.limits import MediaLimits
from handler.media.loader import MediaLoader
from handler.service import Service


@pytest.fixture
def service():
    engine = FakeEngine()
    return Service(engine, Images(engine, MediaLoader(MediaLimits())), Adapters(engine))


def test_there_is_no_service_before_the_model_is_loaded():
    health = Health()
    health.loading("reading weights")
    with pytest.raises(Unavailable, match="loading: reading weights") as error:
        health.service()
    assert error.value.retry_after == 10


def test_once_ready_the_model_answers(service):
    health = Health()
    health.ready(service)
    assert health.service() is service
    assert health.report()["status"] == "ready"


@pytest.mark.parametrize(("end", "phase"), [(Health.draining, Phase.DRAINING), (Health.dead, Phase.DEAD)])
def test_after_ready_come_draining_and_dead(service, end, phase):
    health = Health()
    health.ready(service)
    end(health, "over")
    assert health.phase is phase
    assert health.report()["detail"] == "over"
    with pytest.raises(Unavailable, match="over"):
        health.service()


def test_the_report_counts_the_seconds_of_the_phase():
    assert Health().report()["seconds"] >= 0


async def phase_after(end):
    health = Health()
    waiting = asyncio.ensure_future(health.wait_until_loaded(60))
    await asyncio.sleep(0)
    assert not waiting.done()
    end(health)
    await waiting
    return health.phase


@pytest.mark.parametrize("end", [lambda health: health.draining("over"), lambda health: health.dead("over")])
def test_a_wait_for_the_end_of_loading_ends_however_loading_does(end):
    assert asyncio.run(phase_after(end)) is not Phase.LOADING


def test_a_wait_for_the_end_of_loading_ends_when_the_model_is_ready(service):
    assert asyncio.run(phase_after(lambda health: health.ready(service))) is Phase.READY


def test_a_wait_for_the_end_of_loading_has_a_limit():
    health = Health()
    health.loading("reading weights")
    asyncio.run(health.wait_until_loaded(0.01))
    assert health.phase is Phase.LOADING
