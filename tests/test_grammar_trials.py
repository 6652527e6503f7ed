"""Grammars are tried in processes that may die of them. Real compilers; tests/test_engine_grammars.py has the server."""

import asyncio
import json
import multiprocessing
import time

import psutil
import pytest

from handler.engines.vllm.grammars.limits import GrammarLimits
from handler.errors import InvalidRequest, Unavailable
from handler.turns import Source
from tests.grammar_cases import HARMFUL, OVER_A_LIMIT, USEFUL
from tests.live import MODEL

pytestmark = [
    pytest.mark.engine,
    # vLLM's and torch's own; ours would be errors in every other file.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def config():
    from vllm.engine.arg_utils import AsyncEngineArgs

    from handler.engines.vllm.grammars.backend import choose_backend

    config = AsyncEngineArgs(model=str(MODEL), dtype="float32").create_engine_config()
    choose_backend(config, None)
    return config


@pytest.fixture
def start(config, monkeypatch):
    """Starts trials, which are forked from this process: it has imported vLLM, and there is no fork server."""
    from handler.engines.vllm.grammars import trial_server
    from handler.engines.vllm.grammars.trials import GrammarTrials

    monkeypatch.setattr(trial_server, "EngineContext", lambda: multiprocessing.get_context("fork"))
    monkeypatch.setenv("VLLM_REGEX_COMPILATION_TIMEOUT_S", "0")
    started = []

    def start(**limits):
        started.append(GrammarTrials(config, GrammarLimits(**limits)))
        return started[-1]

    yield start
    for trials in started:
        trials.close()


async def passed(trials, grammar, client=""):
    from vllm.sampling_params import StructuredOutputsParams

    return await trials.passed(StructuredOutputsParams(**grammar), "path", client)


async def refusal(trials, grammar):
    with pytest.raises(InvalidRequest) as refused:
        await passed(trials, grammar)
    assert refused.value.param == "path"
    return str(refused.value)


class Hungry:
    """A compiler that takes a GiB."""

    def try_out(self, params):
        assert params.regex
        bytearray(2**30)


def test_a_trial_that_takes_too_much_memory_is_told_from_others():
    from handler.engines.vllm.grammars.trial import MEMORY, run_trial

    forks = multiprocessing.get_context("fork")
    verdict, end = forks.Pipe(duplex=False)
    job = json.dumps([{"regex": "a"}, {"seconds": 60, "memory": 2**20}])
    trial = forks.Process(target=lambda: end.send_bytes(run_trial(Hungry(), job)))
    trial.start()
    assert json.loads(verdict.recv_bytes()) == {"exceeded": MEMORY}
    trial.join()


def wait_until(condition):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen in a minute")


def forked(trials):
    """The process that forks the trials."""
    return psutil.Process(trials._server.result().process.pid)


def test_useful_grammars_pass_as_vllm_would_validate_them(start):
    async def scenario():
        trials = start()
        for name, grammar in USEFUL.items():
            found = await passed(trials, grammar)
            assert found._backend == "xgrammar", name
            assert await passed(trials, grammar) == found
        chosen = await passed(trials, {"choice": ["yes", "no"]})
        assert (chosen.choice, chosen.grammar) == (None, 'root ::= "yes" | "no"')  # what vLLM's validation makes of it
        assert await trials.passed(chosen, "path") is chosen

    asyncio.run(scenario())


@pytest.mark.parametrize("name", HARMFUL)
def test_a_harmful_grammar_is_refused_with_what_it_exceeds(start, name):
    grammar, reason = HARMFUL[name]

    async def scenario():
        trials = start(seconds=1.0)
        assert reason in await refusal(trials, grammar)
        process = forked(trials).pid
        await passed(trials, {"regex": "[ab]"})
        assert forked(trials).pid == process  # it outlives the trial

    asyncio.run(scenario())


@pytest.mark.parametrize("name", OVER_A_LIMIT)
def test_what_the_limits_would_refuse_does_no_harm_either(start, name):
    async def scenario():
        trials = start(seconds=1.0, memory=2**29)
        try:
            await passed(trials, OVER_A_LIMIT[name])
        except (InvalidRequest, Unavailable):
            await passed(trials, {"regex": "[ab]"})

    asyncio.run(scenario())


@pytest.mark.parametrize("grammar", [{"regex": "("}, {"json": {"type": 5}}, {"grammar": 'root ::= "'}, {"json": "{"}])
def test_what_vllm_refuses_is_refused_in_its_words(start, grammar):
    async def scenario():
        assert "OPTION_GRAMMAR" not in await refusal(start(), grammar)

    asyncio.run(scenario())


def test_a_schema_that_the_backend_does_not_support_is_refused_with_the_cure(start):
    async def scenario():
        message = await refusal(start(), {"json": {"type": "integer", "multipleOf": 3}})
        assert "OPTION_STRUCTURED_OUTPUTS_CONFIG" in message

    asyncio.run(scenario())


def test_a_verdict_is_kept_and_shared(start):
    async def scenario():
        trials = start()
        tried = []
        ask = trials._ask

        async def count(*arguments):
            tried.append(arguments)
            return await ask(*arguments)

        trials._ask = count
        await asyncio.gather(*(passed(trials, {"regex": "[ab]"}) for _ in range(5)))
        await refusal(trials, {"regex": "("})
        await refusal(trials, {"regex": "("})
        assert len(tried) == 2

    asyncio.run(scenario())


def test_a_client_that_leaves_takes_no_verdict_along(start):
    async def scenario():
        trials = start()
        first = asyncio.create_task(passed(trials, {"regex": "[abc]"}))
        await asyncio.sleep(0)
        second = asyncio.create_task(passed(trials, {"regex": "[abc]"}))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).regex == "[abc]"

    asyncio.run(scenario())


def test_the_process_is_replaced_when_it_is_killed_with_its_trials(start):
    async def scenario():
        trials = start(seconds=60.0)
        await passed(trials, {"regex": "a"})
        process = forked(trials)
        busy = asyncio.create_task(passed(trials, HARMFUL["9,000 choices"][0]))
        await asyncio.to_thread(wait_until, process.children)
        children = process.children(recursive=True)
        process.kill()
        await passed(trials, {"regex": "b"})
        assert forked(trials).pid != process.pid
        assert not psutil.wait_procs(children, timeout=60)[1]
        busy.cancel()

    asyncio.run(scenario())


def test_long_trials_keep_nobody_waiting(start, monkeypatch):
    monkeypatch.setattr("handler.engines.vllm.grammars.trials.SHORT_SECONDS", 0.5)

    async def scenario():
        trials = start()
        slow = [{"choice": [f"choice number {i} {word}" for i in range(9000)]} for word in ("one", "two", "three")]
        waiting = [asyncio.create_task(passed(trials, grammar)) for grammar in slow]
        await asyncio.to_thread(wait_until, lambda: trials._long.count)
        await passed(trials, {"regex": "[a-c]"}, "another")
        assert trials._long.count  # still
        for task in waiting:
            task.cancel()

    asyncio.run(scenario())


def test_clients_take_turns(start):
    async def scenario():
        trials = start()
        mine = [asyncio.create_task(passed(trials, {"regex": f"[a-{end}]{{1,500}}"}, "mine")) for end in "bcdefghijklm"]
        await asyncio.to_thread(wait_until, lambda: trials._short.count)
        await passed(trials, {"regex": "[ab]"}, "yours")
        assert sum(task.done() for task in mine) < len(mine)
        for task in mine:
            task.cancel()

    asyncio.run(scenario())


def test_a_grammar_that_does_not_get_its_turn_is_to_come_again(start):
    async def scenario():
        trials = start(seconds=0.1)
        async with trials._short.turn(Source("a"), 1), trials._short.turn(Source("b"), 1):
            with pytest.raises(Unavailable) as busy:
                await passed(trials, {"regex": "[ab]"})
        assert busy.value.retry_after
        trials.limits = GrammarLimits()
        await passed(trials, {"regex": "[ab]"})  # the verdict is not kept

    asyncio.run(scenario())


def test_the_event_loop_goes_on_meanwhile(start):
    async def scenario():
        trials = start(seconds=3.0)
        slow = asyncio.create_task(refusal(trials, HARMFUL["9,000 choices"][0]))
        turns = 0
        while not slow.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert turns > 100
        await slow

    asyncio.run(scenario())
