"""The real engine in several processes and on two nodes, all on this machine: the answers are those of one process."""

import signal

import pytest

from tests.drawn import post, url
from tests.live import free_port, start
from tests.serving import answer, ask, fault

pytestmark = pytest.mark.engine

SMALL = {"VLLM_CPU_KVCACHE_SPACE": "1", "OPTION_ENFORCE_EAGER": "true"}
LOOPBACK = {"VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}


def right(server):
    """Whether it answers as one process does (tests/test_engine.py), which knows these pictures for sure."""
    two = [url("red", "circle"), url("blue", "square")]
    return (
        answer(post(server, ask("What is in the image?", url("green", "star")))) == "a green star"
        and answer(post(server, ask("What is in the images?", *two)))
        == "the first shows a red circle, the second a blue square"
        and answer(post(server, ask("Count to 5."))) == "one two three four five"
    )


def test_two_replicas_of_two_tensor_parallel_workers_answer_as_one_process_does(tmp_path):
    server = start(tmp_path, **SMALL, **LOOPBACK, OPTION_TENSOR_PARALLEL_DEGREE="2", OPTION_DATA_PARALLEL_SIZE="2")
    try:
        server.wait_until(200)
        assert all(right(server) for _ in range(3))
        running = [
            line for line in server.client.get("/metrics").text.splitlines() if "vllm:prompt_tokens_total{" in line
        ]
        assert len(running) == 2
        assert all(float(line.rsplit(" ", 1)[1]) > 0 for line in running), "one replica did all the work"
        server.process.send_signal(signal.SIGTERM)
        assert server.exit_code() == 0
    finally:
        server.end()


def test_two_nodes_make_one_engine_of_which_the_first_answers(tmp_path):
    port = str(free_port())
    nodes = []
    for rank in ("0", "1"):
        (directory := tmp_path / rank).mkdir()
        nodes.append(
            start(
                directory,
                **SMALL,
                **LOOPBACK,
                OPTION_TENSOR_PARALLEL_DEGREE="2",
                OPTION_MASTER_PORT=port,
                LWS_GROUP_SIZE="2",
                LWS_WORKER_INDEX=rank,
                LWS_LEADER_ADDRESS="127.0.0.1",
            )
        )
    leader, follower = nodes
    try:
        leader.wait_until(200)
        follower.wait_until(200)
        assert follower.client.get("/ping").json()["status"] == "following"
        assert right(leader)
        assert "computing for the node that answers" in fault(post(follower, ask("Count to 2.")))["message"]
        leader.process.kill()
        assert follower.exit_code() == 1
        assert "has ended" in follower.log()
    finally:
        leader.end()
        follower.end()
