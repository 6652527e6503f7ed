"""Nodes of one engine find each other on real ports of loopback, and start, stop and end as one."""

import asyncio
import json
import socket
import threading
from contextlib import ExitStack, asynccontextmanager, contextmanager

import pytest
import uvloop

from container.nodes.membership import Node
from container.nodes.rendezvous import Follower, Leader, SingleNode, gathering
from handler.engines.fake import FakeEngine
from handler.errors import EngineDead, StartError
from tests.live import free_port
from tests.serving import answer, ask, serving, wait_for

AGREED = {"OPTION_NNODES": 2, "OPTION_DATA_PARALLEL_SIZE": 2}


def nodes(count=2, agreed=AGREED, leader="127.0.0.1"):
    port = free_port(row=2)
    return [gathering(Node(count, rank, leader, port), agreed) for rank in range(count)]


def nobody(reason):
    raise AssertionError(reason)


async def alive():
    pass


async def until(condition):
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


@asynccontextmanager
async def together(members):
    """The members once they have met; the addresses of the leader that each was told."""
    try:
        async with asyncio.timeout(5):
            yield await asyncio.gather(*(member.meet(lambda _: None) for member in members))
    finally:
        for member in members:
            member.close()


def run(story):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story)


def test_a_node_without_others_waits_for_nobody():
    async def story():
        alone = gathering(Node(1, 0, "127.0.0.1", 29501), {})
        assert type(alone) is SingleNode
        assert await alone.meet(nobody) is None
        await alone.ready(alive)
        await alone.released()
        alone.close()

    run(story())


def test_all_nodes_learn_the_address_at_which_the_leader_is_reached():
    async def story():
        async with together(nodes(3, leader="localhost")) as addresses:
            assert len(set(addresses)) == 1
            assert addresses[0] in ("127.0.0.1", "::1")

    run(story())


def test_a_follower_may_come_first_and_says_whom_it_waits_for():
    async def story():
        leader, follower = nodes()
        said = []
        early = asyncio.create_task(follower.meet(said.append))
        await until(lambda: said)
        assert "waiting for node 0 at 127.0.0.1:" in said[0]
        assert "(OPTION_MASTER_ADDR)" in said[0]
        async with together([leader]):
            async with asyncio.timeout(5):
                assert await early == "127.0.0.1"
        follower.close()

    run(story())


def test_a_leader_says_who_is_missing():
    async def story():
        leader, first, *_ = nodes(4)
        said = []
        tasks = [asyncio.create_task(leader.meet(said.append)), asyncio.create_task(first.meet(lambda _: None))]
        await until(lambda: len(said) == 2)
        assert "for nodes 1, 2, 3 of 4" in said[0]
        assert "for nodes 2, 3 of 4" in said[1]
        # One that starts anew while the others are awaited is simply missing again.
        tasks[1].cancel()
        first.close()
        await until(lambda: len(said) == 3)
        assert said[2] == said[0]
        tasks[0].cancel()
        leader.close()

    run(story())


def test_a_name_that_nobody_has_is_said_and_tried_again():
    async def story():
        _, follower = nodes(leader="no-such-node.invalid")
        said = []
        task = asyncio.create_task(follower.meet(said.append))
        await until(lambda: said)
        assert "no-such-node.invalid" in said[0]
        assert not task.done()
        task.cancel()

    run(story())


def test_nodes_with_other_options_are_refused_with_both_values():
    async def story():
        leader, right = nodes()
        wrong = Follower(right._node, {**AGREED, "OPTION_NNODES": 3})
        waiting = asyncio.create_task(leader.meet(lambda _: None))
        with pytest.raises(StartError, match=r"OPTION_NNODES is 3 on node 1 and 2 on node 0\. All nodes take the same"):
            await wrong.meet(lambda _: None)
        assert not waiting.done()
        wrong.close()
        async with together([right]):
            await waiting
        leader.close()

    run(story())


def test_a_second_node_of_the_same_number_is_refused():
    async def story():
        leader, first, _ = nodes(3)
        meeting = [asyncio.create_task(node.meet(lambda _: None)) for node in (leader, first)]
        await until(lambda: leader._lines)
        second = Follower(first._node, AGREED)
        with pytest.raises(StartError, match=r"There is a node 1 already.*OPTION_NODE_RANK"):
            await second.meet(lambda _: None)
        for task in meeting:
            task.cancel()
        for node in (leader, first, second):
            node.close()

    run(story())


def test_when_all_have_met_nobody_else_is_let_in():
    async def story():
        leader, follower = nodes()
        async with together([leader, follower]):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", leader._node.rendezvous_port)
            await leader.ready(alive)
            async with asyncio.timeout(5):
                await follower.ready(alive)

    run(story())


def test_a_node_that_was_hung_up_on_can_be_stopped():
    async def story():
        leader, follower, _ = nodes(3)
        meeting = [asyncio.create_task(node.meet(lambda _: None)) for node in (leader, follower)]
        await until(lambda: leader._lines)
        meeting[0].cancel()
        leader.close()
        await until(lambda: follower._line is None)
        follower.stop()
        async with asyncio.timeout(5):
            await follower.released()
        meeting[1].cancel()
        follower.close()

    run(story())


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_node_that_is_told_to_stop_before_all_have_met_takes_the_others_with_it(stopped):
    async def story():
        members = nodes(3)[:2]
        meeting = [asyncio.create_task(node.meet(lambda _: None)) for node in members]
        await until(lambda: members[0]._lines)
        members[stopped].stop()
        async with asyncio.timeout(5):
            await members[1 - stopped].parted()
        for task in meeting:
            task.cancel()
        for node in members:
            node.close()

    run(story())


@pytest.mark.parametrize(
    "words",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b'{"hello": 1}\n', b'{"hello": {}}\n', b"x" * 100_000, b"[" * 60_000 + b"\n"]
    + [json.dumps({"hello": {"node": number, "agreed": AGREED}}).encode() + b"\n" for number in (0, 2, -1, True)],
)
def test_strangers_at_the_port_change_nothing(words):
    async def story():
        leader, follower = nodes()
        waiting = asyncio.create_task(leader.meet(lambda _: None))
        await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", leader._node.rendezvous_port)
        writer.write(words)
        if words:
            assert await reader.read() == b""
        async with together([follower]):
            async with asyncio.timeout(5):
                await waiting
            writer.close()
            await leader.ready(alive)
            await follower.ready(alive)
        leader.close()

    run(story())


def test_a_follower_is_ready_when_the_leader_answers_and_not_before():
    async def story():
        leader, follower = nodes()
        async with together([leader, follower]):
            waiting = asyncio.create_task(follower.ready(alive))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            await leader.ready(alive)
            await waiting

    run(story())


def test_a_part_that_dies_while_it_is_loaded_is_noticed():
    async def dead():
        raise EngineDead("gone")

    async def story():
        leader, follower = nodes()
        async with together([leader, follower]):
            with pytest.raises(EngineDead, match="gone"):
                await follower.ready(dead)

    run(story())


@pytest.mark.parametrize(("goes", "stays", "words"), [(0, 1, "The node that answers"), (1, 0, "Node 1")])
def test_a_node_that_is_gone_without_a_word_ends_the_other(goes, stays, words):
    async def story():
        members = nodes()
        async with together(members):
            members[goes].close()
            with pytest.raises(EngineDead, match=f"^{words}.* has ended; this server is going down"):
                await members[stays].parted()

    run(story())


@contextmanager
def served(engine=None):
    """Two servers of one engine, ready."""
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
            leader = Leader(Node(2, 0, "127.0.0.1", other.getsockname()[1] - 1), AGREED)
            with pytest.raises(StartError, match=r"the one after OPTION_MASTER_PORT.*choose another"):
                await leader.meet(nobody)

    run(story())
