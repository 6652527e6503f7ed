"""Every private name of Python, vLLM and PyTorch that the fork server uses or replaces, with the reasons.

An upgrade of one of the three may remove a name; tests/test_private_names.py shows that the installed versions have all.
Importing this module imports none of them.
"""

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any


class PrivateName(Enum):
    """A row: module, attribute path, why it is used, and what breaks without it."""

    SERVER_ADDRESS = (
        "multiprocessing.forkserver",
        "_forkserver._forkserver_address",
        "set: Popen and all forks connect to it, and no public call names a server that is already running",
        "processes are forked from a server of Python's own, which has imported nothing",
    )
    SERVER_ALIVE_FD = (
        "multiprocessing.forkserver",
        "_forkserver._forkserver_alive_fd",
        "set: Popen passes this end of a pipe to each fork; the server ends when all ends are closed",
        "no process can be forked",
    )
    ENSURE_RUNNING = (
        "multiprocessing.forkserver",
        "_forkserver.ensure_running",
        "replaced: it starts a server unless it has started one itself",
        "each process starts a second server in place of using ours",
    )
    POPEN = (
        "multiprocessing.context",
        "ForkServerProcess._Popen",
        "overridden by EngineProcess: it decides for each process whether it is forked or spawned",
        "processes are forked where only a spawned one has the right environment",
    )
    INTERPRETER_FLAGS = (
        "subprocess",
        "_args_from_interpreter_flags",
        "called: the server runs with the flags of this interpreter (-X, -W, -O), as Python's own does",
        "the server cannot be started",
    )
    CORE_CONTEXT = (
        "vllm.v1.engine.utils",
        "get_mp_context",
        "replaced: the context in which vLLM starts engine cores",
        "engine cores are spawned and import vLLM anew, which takes seconds at each start",
    )
    COORDINATOR_CONTEXT = (
        "vllm.v1.engine.coordinator",
        "get_mp_context",
        "replaced: the context in which vLLM starts the coordinator of replicas",
        "the coordinator is spawned, as above",
    )
    WORKER_CONTEXT = (
        "vllm.v1.executor.multiproc_executor",
        "get_mp_context",
        "replaced: the context in which vLLM starts the workers of an engine core",
        "workers are spawned, as above",
    )
    RUN_IN_SUBPROCESS = (
        "vllm.model_executor.models.registry",
        "_run_in_subprocess",
        "replaced: vLLM inspects the class of a model in a new interpreter, to keep this process free of CUDA",
        "the inspection imports vLLM anew, as above",
    )
    COMPILE_CPP = (
        "torch._inductor.codecache",
        "_worker_compile_cpp",
        "replaced: it compiles kernels for CPUs, and before that a header, even if no kernel is missing",
        "each start on a CPU compiles the header, which takes five seconds",
    )
    HEADER_LOCKS = (
        "torch._inductor.codecache",
        "_HEADER_LOCK_DIR",
        "read: the locks of headers lie in this directory, which tells headers from kernels",
        "a header cannot be told from a kernel, as above",
    )

    def __init__(self, module: str, path: str, why: str, without: str) -> None:
        self.module = module
        self.path = path
        self.why = why
        self.without = without

    def get(self) -> Any:  # its owner does not type it for others
        owner, name = self._resolve()
        return getattr(owner, name)

    def set(self, value: object) -> None:
        """Replace it for good. Raises AttributeError if it does not exist."""
        owner, name = self._resolve()
        getattr(owner, name)
        setattr(owner, name, value)

    def _resolve(self) -> tuple[object, str]:
        owner: object = importlib.import_module(self.module)
        *path, name = self.path.split(".")
        for step in path:
            owner = getattr(owner, step)
        return owner, name


@contextlib.contextmanager
def replace_names(values: Mapping[PrivateName, object]) -> Iterator[None]:
    """Each name with its value in `values`, and with its own again at the end."""
    before = {name: name.get() for name in values}
    for name, value in values.items():
        name.set(value)
    try:
        yield
    finally:
        for name, value in before.items():
            name.set(value)
