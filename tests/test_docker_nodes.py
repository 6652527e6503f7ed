"""Two containers on a network of their own, as pods of a StatefulSet: one engine of two nodes."""

import uuid
from contextlib import ExitStack

import httpx
import pytest

from tests.containers import Container, _docker, require_docker
from tests.drawn import url
from tests.serving import answer, ask, fault

pytestmark = pytest.mark.docker

OPTIONS = {
    "OPTION_NNODES": "2",
    "OPTION_MASTER_ADDR": "lumi-0",
    "OPTION_TENSOR_PARALLEL_DEGREE": "2",
    "OPTION_ENFORCE_EAGER": "true",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}


@pytest.fixture
def network():
    require_docker()
    name = f"lumi-test-{uuid.uuid4().hex[:8]}"
    _docker("network", "create", name)
    yield name
    _docker("network", "rm", name)


def invoke(container, request):
    return httpx.post(f"{container.url}/invocations", json=request, timeout=60)


def test_the_first_of_two_nodes_answers_and_the_second_ends_with_it(network):
    with ExitStack() as stack:
        leader, follower = (
            stack.enter_context(
                # Each knows its number by its host's name, and the first by its name on the network.
                Container(
                    run=("--network", network, "--hostname", name, "--network-alias", name, "--shm-size", "1g"),
                    **OPTIONS,
                )
            )
            for name in ("lumi-0", "lumi-1")
        )
        leader.wait_until_ready()
        follower.wait_until_ready()
        assert httpx.get(f"{leader.url}/ping").json()["status"] == "ready"
        assert httpx.get(f"{follower.url}/ping").json()["status"] == "following"
        assert answer(invoke(leader, ask("What is in the image?", url("green", "star")))) == "a green star"
        assert "computing for the node that answers" in fault(invoke(follower, ask("Count to 2.")))["message"]
        leader.docker("kill")
        assert follower.exit_code() == 1
        assert "has ended" in follower.log()
