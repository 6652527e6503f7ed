"""A cause on its way from a process to the one that started it; tests/test_engine.py has it with vLLM."""

import functools
import logging
import os

import pytest

from handler.engines.vllm.causes import causes_file, gather_causes
from handler.engines.vllm.forking import EngineContext, fork_server
from tests import light_preloading

LOG = logging.getLogger("vllm.test")


@pytest.fixture(params=["forked", "spawned"], autouse=True)
def start(request, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setattr("handler.engines.vllm.forking._stopped.is_set", lambda: False)
    if request.param == "spawned":
        yield
        return
    with fork_server(os.environ, light_preloading.__name__):
        yield


def run(work, *arguments):
    process = EngineContext().Process(target=work, args=arguments)
    process.start()
    process.join()


def test_the_exception_that_ends_a_process_is_known_to_its_parent():
    with gather_causes() as first_cause:
        run(light_preloading.fail, "no field vocab_size")
        assert first_cause() == "no field vocab_size"


def test_an_exception_that_is_only_logged_is_known_through_two_processes():
    with gather_causes() as first_cause:
        run(light_preloading.fail_below, "a worker's fault")
        assert first_cause() == "a worker's fault"


def test_the_first_that_ended_a_process_is_the_cause():
    with gather_causes() as first_cause:
        for message in ("survived", "WorkerProc failed to start.", "EngineCore failed to start."):
            try:
                raise ValueError(f"why {message}")
            except ValueError:
                LOG.exception(message)
        assert first_cause() == "why WorkerProc failed to start."


def test_nothing_is_known_of_a_process_that_was_killed():
    with gather_causes() as first_cause:
        run(os._exit, 9)
        assert first_cause() is None


def test_a_factory_of_records_that_was_set_meanwhile_stays():
    before = logging.getLogRecordFactory()
    try:
        with gather_causes():
            theirs = functools.partial(logging.getLogRecordFactory())
            logging.setLogRecordFactory(theirs)
        assert logging.getLogRecordFactory() is theirs
    finally:
        logging.setLogRecordFactory(before)


def test_nobody_waits_for_causes_after_a_start():
    with gather_causes():
        assert causes_file() is not None
    assert causes_file() is None
    LOG.error("later", exc_info=ValueError("late"))
