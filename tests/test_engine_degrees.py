"""The real engine in several processes and on two nodes, all on this machine: the answers are those of one process."""

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from tests.drawn import post, url
from tests.live import free_port, start
from tests.serving import answer, ask, fault

pytestmark = pytest.mark.engine

SMALL = {"VLLM_CPU_KVCACHE_SPACE": "1", "OPTION_ENFORCE_EAGER": "true"}
LOOPBACK = {"VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}


@contextmanager
def two_nodes(directory, **options):
    """The leader and the follower of one engine, ready."""
    ports = {"OPTION_MASTER_PORT": str(free_port(row=2)), "OPTION_DATA_PARALLEL_RPC_PORT": str(free_port())}
    group = {"LWS_GROUP_SIZE": "2", "LWS_LEADER_ADDRESS": "127.0.0.1"}
    nodes = []
    try:
        for rank in ("0", "1"):
            (directory / rank).mkdir()
            nodes.append(
                start(directory / rank, **SMALL, **LOOPBACK, **ports, **group, **options, LWS_WORKER_INDEX=rank)
            )
        for node in nodes:
            node.wait_until(200)
        yield nodes
    finally:
        for node in nodes:
            node.end()


def right(server):
    """Whether it answers as one process does (tests/test_engine.py), which knows these images for sure."""
    two = [url("red", "circle"), url("blue", "square")]
    return (
        answer(post(server, ask("What is in the image?", url("green", "star")))) == "a green star"
        and answer(post(server, ask("What is in the images?", *two)))
        == "the first shows a red circle, the second a blue square"
        and answer(post(server, ask("Count to 5."))) == "one two three four five"
    )


def work_of_replicas(server):
    """Prompt tokens that each replica has computed."""
    lines = server.client.get("/metrics").text.splitlines()
    return [float(line.rsplit(" ", 1)[1]) for line in lines if "vllm:prompt_tokens_total{" in line]


def test_two_replicas_of_two_tensor_parallel_workers_answer_as_one_process_does(tmp_path):
    server = start(tmp_path, **SMALL, **LOOPBACK, OPTION_TENSOR_PARALLEL_DEGREE="2", OPTION_DATA_PARALLEL_SIZE="2")
    try:
        server.wait_until(200)
        assert all(right(server) for _ in range(3))
        work = work_of_replicas(server)
        assert len(work) == 2
        assert all(work), "one replica did all the work"
        server.process.send_signal(signal.SIGTERM)
        assert server.exit_code() == 0
    finally:
        server.end()


def test_two_nodes_make_one_engine_of_which_the_first_answers_and_which_ends_with_either(tmp_path):
    with two_nodes(tmp_path, OPTION_TENSOR_PARALLEL_DEGREE="2") as (leader, follower):
        assert follower.client.get("/ping").json()["status"] == "following"
        assert right(leader)
        assert "computing for the node that answers" in fault(post(follower, ask("Count to 2.")))["message"]
        follower.process.kill()
        assert leader.exit_code() == 1
        assert "Node 1, which computes for this one, has ended; this server is going down." in leader.log()


def test_two_nodes_with_a_replica_each_share_what_is_asked_and_finish_it_when_told_to_stop(tmp_path):
    with two_nodes(tmp_path, OPTION_DATA_PARALLEL_SIZE="2") as (leader, follower):
        with ThreadPoolExecutor(8) as clients:
            assert all(clients.map(lambda _: right(leader), range(8)))
        work = work_of_replicas(leader)
        assert len(work) == 2
        assert all(work), "one node did all the work"
        counting = {**ask("Count to 20."), "stream": True, "min_tokens": 500, "max_tokens": 500, "temperature": 0}
        with ExitStack() as stack:
            # The second goes to the replica that does not have the first.
            streams = [
                stack.enter_context(leader.client.stream("POST", "/v1/chat/completions", json=counting)).iter_lines()
                for _ in range(2)
            ]
            for stream in streams:
                next(stream)
            leader.process.send_signal(signal.SIGTERM)
            follower.wait_until(503)
            assert follower.client.get("/ping").json()["status"] == "draining"
            assert [[line for line in stream if line][-1] for stream in streams] == ["data: [DONE]"] * 2
        assert (leader.exit_code(), follower.exit_code()) == (0, 0)
        assert "Traceback" not in leader.log() + follower.log()
