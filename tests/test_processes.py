"""Real processes that hang, seen from the one that started them."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from handler.engines import processes

ROOT = Path(__file__).parent.parent
HANGING = """
import threading
from handler.engines import processes

def wait_for_ever():
    threading.Event().wait()

if {answers}:
    processes.answer_signal()
print(flush=True)
wait_for_ever()
"""


@contextlib.contextmanager
def hanging(*, answers=True):
    """A child process that hangs."""
    code = HANGING.format(answers=answers)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def report(caplog):
    """What is written to the log about each process, by its id."""

    def report():
        with caplog.at_level(logging.ERROR, "lumi.engine"):
            asyncio.run(processes.report_processes())
        return {int(line.split(":")[0].removeprefix("process ")): line for line in caplog.messages}

    return report


def test_the_stacks_of_a_process_that_hangs_are_in_the_log(report):
    with hanging() as process:
        line = report()[process.pid]
        assert "state S (sleeping)" in line
        assert "in wait_for_ever" in line
        assert process.poll() is None


def test_a_process_that_was_stopped_is_named_with_its_state(report):
    with hanging() as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        line = report()[process.pid]
        assert "state T (stopped)" in line
        assert "does not answer" in line


def test_the_server_itself_is_in_the_report(report):
    assert "in _own_stacks" in report()[os.getpid()]


def test_a_process_that_is_not_the_engines_is_left_alone(report):
    with hanging(answers=False) as process:
        assert process.pid not in report()
        processes.kill_processes()
        assert process.poll() is None


def test_the_shared_memory_of_a_process_is_known_while_it_lives():
    code = (
        "from multiprocessing.shared_memory import SharedMemory; from handler.engines import processes;"
        "processes.answer_signal(); memory = SharedMemory(create=True, size=64); print(memory.name, flush=True); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **pipes) as process:
        file = Path("/dev/shm") / process.stdout.readline().strip()
        assert processes.shared_memory() == {file}
        process.kill()
    assert processes.shared_memory() == frozenset()
    file.unlink(missing_ok=True)


def test_a_stopped_process_can_be_killed():
    with hanging() as process:
        process.send_signal(signal.SIGSTOP)
        processes.kill_processes()
        assert process.wait(20) == -signal.SIGKILL
