"""What the fork server of tests/test_forking.py imports in place of vLLM, and what its forks do."""

import importlib
import logging
import os
import sys
import time
from pathlib import Path

from handler.engines.vllm.forking import EngineContext

PRELOADED_BY = None


def preload():
    global PRELOADED_BY  # noqa: PLW0603  # how a fork shows that it is one
    if "LUMI_TEST_OBSTACLE" in os.environ:
        sys.exit("an obstacle")
    if "LUMI_TEST_TORCH" in os.environ:
        importlib.import_module("torch")
    PRELOADED_BY = os.getpid()


def facts(writer, *names):
    writer.send({"preloaded_by": PRELOADED_BY, **{name: os.environ.get(name) for name in names}})


def threads(writer):
    """The number of threads that run, and of those that torch would compute with."""
    from torch import get_num_threads

    writer.send((len(list(Path("/proc/self/task").iterdir())), get_num_threads()))


def nested(writer):
    EngineContext().Process(target=facts, args=(writer,)).start()


def sleep(writer):
    writer.send(os.getpid())
    time.sleep(600)


def fail(message):
    raise ValueError(message)


def fail_below(message):
    """As vLLM's workers do: the exception is logged there, and the process above raises another one."""
    worker = EngineContext().Process(target=log_failure, args=(message,))
    worker.start()
    worker.join()
    raise RuntimeError("WorkerProc initialization failed. See stack trace for root cause.")


def log_failure(message):
    try:
        fail(message)
    except ValueError:
        logging.getLogger("vllm.worker").exception("WorkerProc failed to start.")
