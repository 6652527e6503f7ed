"""Nodes of one engine find each other on real ports of loopback, and start, stop and end together."""

import asyncio
import json
import socket
import threading
from contextlib import ExitStack, asynccontextmanager, contextmanager

import pytest
import uvloop

from container.nodes.membership import Node
from container.nodes.rendezvous import SingleNode, node_group
from handler.engines.fake import FakeEngine
from handler.errors import EngineDead, StartError
from tests.live import free_port
from tests.serving import answer, ask, serving, wait_for

SHARED = {"OPTION_NNODES": 2, "OPTION_DATA_PARALLEL_SIZE": 2}


def places(count=2, leader="127.0.0.1"):
    """A free port, as each node of a group knows it."""
    port = free_port(row=2)
    return [Node(count, rank, leader, port) for rank in range(count)]


def nodes(count=2, leader="127.0.0.1"):
    return [node_group(place, SHARED) for place in places(count, leader)]


def fail(report):
    raise AssertionError(report)


def ignore(report):
    pass


async def alive():
    pass


async def until(condition):
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


@asynccontextmanager
async def meeting(*members):
    """The tasks in which the members meet, and what each reports meanwhile."""
    reports = [[] for _ in members]
    tasks = [asyncio.create_task(member.meet(report.append)) for member, report in zip(members, reports, strict=True)]
    try:
        yield tasks, reports
    finally:
        for task in tasks:
            task.cancel()
        for member in members:
            member.close()


@asynccontextmanager
async def together(*members):
    """The members once they have met; the address of node 0 that each received."""
    async with meeting(*members) as (tasks, _), asyncio.timeout(5):
        yield await asyncio.gather(*tasks)


def run(story):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story)


def test_a_single_node_waits_for_no_other():
    async def story():
        (single,) = nodes(1)
        assert type(single) is SingleNode
        assert await single.meet(fail) is None
        await single.ready(alive)
        single.stop()
        await single.wait_until_released()
        single.close()

    run(story())


def test_all_nodes_learn_the_address_at_which_the_leader_is_reached():
    async def story():
        async with together(*nodes(3, leader="localhost")) as addresses:
            assert len(set(addresses)) == 1
            assert addresses[0] in ("127.0.0.1", "::1")

    run(story())


def test_a_follower_may_come_first_and_reports_which_node_it_waits_for():
    async def story():
        leader, follower = nodes()
        async with meeting(follower) as ((early,), (reports,)):
            await until(lambda: reports)
            assert "waiting for node 0 at 127.0.0.1:" in reports[0]
            assert "(OPTION_MASTER_ADDR)" in reports[0]
            async with together(leader):
                assert await early == "127.0.0.1"

    run(story())


def test_a_leader_reports_which_nodes_are_missing():
    async def story():
        leader, first, *_ = nodes(4)
        async with meeting(leader) as (_, (reports,)):
            async with meeting(first):
                await until(lambda: len(reports) == 2)
                assert "for nodes 1, 2, 3 of 4" in reports[0]
                assert "for nodes 2, 3 of 4" in reports[1]
            # A node that restarts while the others are awaited is missing again.
            await until(lambda: len(reports) == 3)
            assert reports[2] == reports[0]

    run(story())


def test_a_name_that_does_not_resolve_is_reported_and_tried_again():
    async def story():
        _, follower = nodes(leader="no-such-node.invalid")
        async with meeting(follower) as ((task,), (reports,)):
            await until(lambda: reports)
            assert "no-such-node.invalid" in reports[0]
            assert not task.done()

    run(story())


def test_nodes_with_other_options_are_refused_with_both_values():
    async def story():
        first, second = places()
        leader, right = node_group(first, SHARED), node_group(second, SHARED)
        wrong = node_group(second, {**SHARED, "OPTION_NNODES": 3})
        async with meeting(leader) as ((waiting,), _):
            with pytest.raises(
                StartError, match=r"OPTION_NNODES is 3 on node 1 and 2 on node 0\. All nodes need the same"
            ):
                await wrong.meet(ignore)
            assert not waiting.done()
            wrong.close()
            async with together(right):
                await waiting

    run(story())


def test_a_second_node_of_the_same_rank_is_refused():
    async def story():
        ranks = places(3)
        leader, first, second = (node_group(ranks[rank], SHARED) for rank in (0, 1, 1))
        async with meeting(leader, first) as (_, (reports, _)):
            await until(lambda: "for node 2 of 3" in "".join(reports))
            with pytest.raises(StartError, match=r"There is already a node 1.*OPTION_NODE_RANK"):
                await second.meet(ignore)
            second.close()

    run(story())


def test_when_all_have_met_no_other_node_can_connect():
    async def story():
        ranks = places()
        leader, follower = (node_group(rank, SHARED) for rank in ranks)
        async with together(leader, follower):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", ranks[0].rendezvous_port)
            await leader.ready(alive)
            await follower.ready(alive)

    run(story())


def test_a_node_whose_connection_was_closed_can_be_stopped():
    async def story():
        leader, follower, _ = nodes(3)
        async with meeting(follower) as (_, (reports,)):
            async with meeting(leader) as (_, (missing,)):
                await until(lambda: "for node 2 of 3" in "".join(missing))
            await until(lambda: "closed the connection" in reports[-1])
            follower.stop()
            async with asyncio.timeout(5):
                await follower.wait_until_released()

    run(story())


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_node_that_is_told_to_stop_before_all_have_met_takes_the_others_with_it(stopped):
    async def story():
        members = nodes(3)[:2]
        async with meeting(*members) as (_, (missing, _)):
            await until(lambda: "for node 2 of 3" in "".join(missing))
            members[stopped].stop()
            async with asyncio.timeout(5):
                await members[1 - stopped].wait_for_stop_of_peer()
                for member in members:
                    member.stop()
                    await member.wait_until_released()

    run(story())


@pytest.mark.parametrize(
    "message",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b'{"hello": 1}\n', b'{"hello": {}}\n', b"x" * 100_000, b"[" * 60_000 + b"\n"]
    + [json.dumps({"hello": {"rank": rank, "options": SHARED}}).encode() + b"\n" for rank in (0, 2, -1, True)],
)
def test_connections_of_other_programs_change_nothing(message):
    async def story():
        ranks = places()
        leader, follower = (node_group(rank, SHARED) for rank in ranks)
        async with meeting(leader) as ((waiting,), (reports,)):
            await until(lambda: reports)
            reader, writer = await asyncio.open_connection("127.0.0.1", ranks[0].rendezvous_port)
            writer.write(message)
            if message:
                assert await reader.read() == b""
            async with together(follower):
                await waiting
                writer.close()
                await leader.ready(alive)
                await follower.ready(alive)

    run(story())


def test_a_follower_is_ready_when_the_leader_answers_and_not_before():
    checks = []

    async def check():
        checks.append(None)

    async def story():
        leader, follower = nodes()
        async with together(leader, follower):
            waiting = asyncio.create_task(follower.ready(check))
            await until(lambda: checks)
            assert not waiting.done()
            await leader.ready(alive)
            await waiting

    run(story())


def test_a_part_that_dies_while_it_is_loaded_is_noticed():
    async def dead():
        raise EngineDead("gone")

    async def story():
        leader, follower = nodes()
        async with together(leader, follower):
            with pytest.raises(EngineDead, match="gone"):
                await follower.ready(dead)

    run(story())


@pytest.mark.parametrize(("gone", "left", "name"), [(0, 1, "Node 0, which answers requests"), (1, 0, "Node 1")])
def test_a_node_that_is_gone_without_a_message_ends_the_other(gone, left, name):
    async def story():
        members = nodes()
        async with together(*members):
            members[gone].close()
            with pytest.raises(EngineDead, match=f"^{name}.* has ended; this server is going down"):
                await members[left].wait_for_stop_of_peer()

    run(story())


def test_a_leader_that_stops_cannot_finish_without_its_followers():
    async def story():
        leader, follower = nodes()
        async with together(leader, follower):
            leader.stop()
            await follower.wait_for_stop_of_peer()
            follower.close()
            with pytest.raises(EngineDead, match=r"^Node 1"):
                await leader.wait_for_stop_of_peer()

    run(story())


def test_a_follower_is_released_when_the_leader_has_finished():
    async def story():
        leader, follower = nodes()
        async with together(leader, follower):
            leader.stop()
            await follower.wait_for_stop_of_peer()
            follower.stop()
            finishing = asyncio.create_task(follower.wait_until_released())
            leader.close()
            await finishing

    run(story())


@contextmanager
def served(engine=None):
    """Two servers of one engine, both ready."""
    leader, follower = nodes()
    # The second is not ready before the first, whose start waits for the second.
    second = serving(nodes=follower, follows=True, loading=threading.Event())
    with ExitStack() as stack:
        two = stack.enter_context(second)
        one = stack.enter_context(serving(engine, nodes=leader))
        wait_for(lambda: two.health.phase == "following")
        yield one, two


def test_the_followers_of_a_leader_that_is_told_to_stop_compute_until_it_has_finished():
    engine = FakeEngine(gate=asyncio.Event())
    with served(engine) as (one, two):
        answers = []
        running = threading.Thread(target=lambda: answers.append(one.post(ask("slow"))))
        running.start()
        wait_for(lambda: engine.seen)
        one.terminate()
        wait_for(lambda: two.health.phase == "draining")
        assert two.client.get("/ping").status_code == 503
        assert not two.engine.stopped
        one.call(engine.gate.set)
        running.join()
        assert answer(answers[0])
        assert (one.wait(), two.wait()) == (0, 0)


def test_the_leader_of_a_follower_that_is_told_to_stop_finishes_what_runs_and_stops_too():
    engine = FakeEngine(gate=asyncio.Event())
    with served(engine) as (one, two):
        answers = []
        running = threading.Thread(target=lambda: answers.append(one.post(ask("slow"))))
        running.start()
        wait_for(lambda: engine.seen)
        two.terminate()
        wait_for(lambda: one.health.phase == "draining")
        assert not two.engine.stopped
        one.call(engine.gate.set)
        running.join()
        assert answer(answers[0])
        assert (one.wait(), two.wait()) == (0, 0)


@pytest.mark.parametrize("dying", [0, 1])
def test_an_engine_that_dies_on_one_node_ends_all_with_1(dying):
    with served() as members:
        members[dying].engine.dead = True
        assert [member.wait() for member in members] == [1, 1]
        assert all(member.health.phase == "dead" for member in members)


def test_a_second_signal_does_not_wait_for_the_leader():
    engine = FakeEngine(gate=asyncio.Event())
    with served(engine) as (one, two):
        running = threading.Thread(target=lambda: one.post(ask("slow")))
        running.start()
        wait_for(lambda: engine.seen)
        two.terminate()
        wait_for(lambda: two.health.phase == "draining" and one.health.phase == "draining")
        two.terminate()
        assert two.wait() == 0
        assert one.wait() == 1  # what ran cannot be finished
        running.join()


def test_a_port_in_use_is_named_with_the_cure():
    async def story():
        with socket.socket() as other:
            other.bind(("", 0))
            other.listen()
            leader = node_group(Node(2, 0, "127.0.0.1", other.getsockname()[1] - 1), SHARED)
            with pytest.raises(StartError, match=r"the one after OPTION_MASTER_PORT.*choose another"):
                await leader.meet(fail)

    run(story())
