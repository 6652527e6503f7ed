"""vLLM's own count of the requests of each replica; tests/test_engine_death.py shows the steps of a real engine."""

from collections import Counter
from types import SimpleNamespace

import pytest

pytestmark = [
    pytest.mark.engine,
    # vLLM's and torch's own; ours would be errors in every other file.
    pytest.mark.filterwarnings("default"),
]


def test_a_replica_that_has_requests_is_known_by_its_number():
    from vllm.v1.engine.core_client import DPLBAsyncMPClient
    from vllm.v1.engine.utils import CoreEngine

    from handler.engines.vllm.steps import Steps

    client = SimpleNamespace(
        core_engines=[CoreEngine(index=number, local=True).identity for number in range(3)],
        reqs_in_flight={},
        engine_inflight=Counter(),
    )
    llm = SimpleNamespace(
        engine_core=client,
        output_processor=SimpleNamespace(has_unfinished_requests=lambda: bool(client.reqs_in_flight)),
    )
    steps = Steps()
    loggers = [steps.logger(None, number) for number in range(3)]
    loggers[2].record(None, None)
    assert steps.of_busy_replicas(llm) == {}
    for number in (1, 2):
        request = SimpleNamespace(request_id=str(number), data_parallel_rank=number)
        DPLBAsyncMPClient.get_core_engine_for_request(client, request)
    assert steps.of_busy_replicas(llm) == {1: 0, 2: 1}


def test_the_names_that_vllm_gives_to_the_requests_of_a_prompt_lead_back_to_it():
    from vllm.v1.engine.output_processor import OutputProcessor, RequestState

    from handler.engines.vllm.engine import VllmEngine

    assert {"external_req_id", "is_prefilling"} <= set(RequestState.__init__.__code__.co_names)
    states = {
        "a-x": SimpleNamespace(external_req_id="chatcmpl-a", is_prefilling=False),
        "b-x": SimpleNamespace(external_req_id="cmpl-b-0", is_prefilling=False),
        "b-y": SimpleNamespace(external_req_id="cmpl-b-1", is_prefilling=True),
    }
    processor = OutputProcessor(None, log_stats=False)
    processor.request_states.update(states)
    engine = object.__new__(VllmEngine)
    engine._llm = SimpleNamespace(output_processor=processor)
    assert engine.in_flight() == {"a": True, "b": False}
