"""What the fork server of tests/test_forking.py imports in place of vLLM, and what its forks do."""

import os
import sys
import time

from handler.engines.vllm.forking import EngineContext

PRELOADED_BY = None


def preload():
    global PRELOADED_BY  # noqa: PLW0603  # how a fork shows that it is one
    if "LUMI_TEST_OBSTACLE" in os.environ:
        sys.exit("an obstacle")
    PRELOADED_BY = os.getpid()


def facts(writer, *names):
    writer.send({"preloaded_by": PRELOADED_BY, **{name: os.environ.get(name) for name in names}})


def nested(writer):
    EngineContext().Process(target=facts, args=(writer,)).start()


def sleep(writer):
    writer.send(os.getpid())
    time.sleep(600)
