import asyncio

import pytest

from container.nodes.phases import FOLLOWER, LEADER, Event, Phase, Progress

START = [Event.ALL_MET, Event.LEADER_READY]


@pytest.mark.parametrize("transitions", [LEADER, FOLLOWER])
def test_every_phase_is_reached_from_the_first(transitions):
    reached = {Phase.WAITING}
    for _ in Phase:
        reached |= {after for (before, _), after in transitions.items() if before in reached}
    assert reached == set(Phase)


@pytest.mark.parametrize(
    ("transitions", "events", "phase"),
    [
        (LEADER, START, Phase.READY),
        (LEADER, [Event.STOP], Phase.RELEASED),
        (LEADER, [*START, Event.STOP, Event.PEER_STOPPING], Phase.STOPPING),
        (LEADER, [*START, Event.STOP, Event.CONNECTION_LOST], Phase.LOST),
        (FOLLOWER, [*START, Event.STOP, Event.CONNECTION_LOST], Phase.RELEASED),
        (FOLLOWER, [*START, Event.PEER_STOPPING, Event.STOP], Phase.STOPPING),
        (FOLLOWER, [*START, Event.CONNECTION_LOST, Event.STOP], Phase.LOST),
    ],
)
def test_events_lead_from_phase_to_phase(transitions, events, phase):
    progress = Progress(transitions)
    for event in events:
        progress.handle(event)
    assert progress.phase is phase


def test_an_event_that_is_not_in_the_table_changes_nothing():
    progress = Progress(LEADER)
    assert not progress.handle(Event.CONNECTION_LOST)
    assert progress.phase is Phase.WAITING


def test_all_tasks_that_wait_see_a_phase():
    async def story():
        progress = Progress(FOLLOWER)
        tasks = [asyncio.create_task(progress.reach(Phase.RELEASED)) for _ in range(2)]
        await asyncio.sleep(0)
        progress.handle(Event.STOP)
        assert await asyncio.gather(*tasks) == [Phase.RELEASED] * 2

    asyncio.run(story())
