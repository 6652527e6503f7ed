"""The process that forks a trial for each grammar. No grammar is read in it, so that none can harm it."""

import contextlib
import gc
import importlib
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from vllm.config import VllmConfig

from handler.engines.vllm.forking import EngineContext, end_with_parent
from handler.engines.vllm.grammars.trial import Bench, run_trial


class TrialServer:
    """The process, which is started here: forked from the fork server if there is one. It ends when this object does."""

    def __init__(self, config: VllmConfig) -> None:
        context: Any = EngineContext()
        self._requests, requests = socket.socketpair()
        with requests:
            self.process = context.Process(target=serve, args=(config, requests), name="Grammars", daemon=True)
            self.process.start()

    def begin_trial(self) -> socket.socket:
        """A socket that takes a job, to the end of what is sent, and gives the verdict; nothing if the process has ended.
        Raises ConnectionError if that is known already."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._requests, [b"t"], [theirs.fileno()])
        return ours

    def end(self) -> None:
        """End the process, and its trials with it. May be called twice."""
        self._requests.close()
        self.process.kill()


def serve(config: VllmConfig, requests: socket.socket) -> None:
    """The main function of the process."""
    with contextlib.suppress(ImportError):
        importlib.import_module("setproctitle").setproctitle("lumi::Grammars")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal: the server ends this process when it ends
    bench = Bench(config)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # as in the fork server
    while True:
        _, fds, _, _ = socket.recv_fds(requests, 1, 1)
        if not fds:
            return
        with socket.socket(fileno=fds[0]) as trial:
            _fork(partial(_supervise, bench, trial))


def _supervise(bench: Bench, trial: socket.socket) -> None:
    """Run the trial in another process, and say by which signal it ended, if by one."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = _fork(lambda: trial.sendall(run_trial(bench, _read(trial))))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        trial.sendall(b'{"died": %d}' % os.WTERMSIG(status))


def _fork(work: Callable[[], Any]) -> int:
    """The id of a child that does `work` and ends."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            end_with_parent(parent)
            work()
        finally:
            os._exit(0)
    return child


def _read(trial: socket.socket) -> bytes:
    return b"".join(iter(lambda: trial.recv(2**16), b""))
