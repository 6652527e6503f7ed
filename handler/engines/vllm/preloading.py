"""What the fork server imports, and how vLLM comes to fork its processes from it."""

import contextlib
import importlib
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle
import torch
from vllm import envs
from vllm.platforms import current_platform
from vllm.plugins import load_general_plugins

from handler.engines.vllm.forking import EngineContext, has_fork_server
from handler.engines.vllm.private_names import PrivateName

T = TypeVar("T")

# The engine core and its workers import these sooner or later.
MODULES = ("vllm.v1.engine.core", "vllm.v1.executor.uniproc_executor")
WORKERS = {"cpu": "vllm.v1.worker.cpu_worker", "cuda": "vllm.v1.worker.gpu_worker"}
# CUDA's driver opens it; libraries that only query the GPUs do not.
_CUDA_MEMORY = "/dev/nvidia-uvm"


def preload() -> None:
    """Import vLLM in the fork server. Ends the process if what was imported does not survive a fork."""
    for name in (*MODULES, WORKERS.get(current_platform.device_type)):
        # A process that needs a module which cannot be imported imports it again, and reports the error.
        with contextlib.suppress(ImportError):
            importlib.import_module(name or MODULES[0])
    if current_platform.is_cpu():
        importlib.import_module("handler.engines.vllm.headers").precompile_when_needed()  # imports PyTorch's compiler
    use_engine_processes()
    if obstacle := _obstacle_to_forks():
        # The parent notices that this process has ended, and spawns as vLLM does on its own.
        sys.exit(f"lumi: vLLM's import {obstacle}, so that no process can be forked from this one.")


def use_engine_processes() -> None:
    """Have vLLM start processes that are forked from the fork server, if there is one, and that report why they fail."""
    # An operator may have chosen another way to start processes.
    if has_fork_server() or envs.VLLM_WORKER_MULTIPROC_METHOD == "spawn":
        for name in (PrivateName.CORE_CONTEXT, PrivateName.COORDINATOR_CONTEXT, PrivateName.WORKER_CONTEXT):
            name.set(EngineContext)
    if has_fork_server():
        PrivateName.RUN_IN_SUBPROCESS.set(_run_in_fork)


def _obstacle_to_forks() -> str | None:
    """What in this process does not survive a fork, if anything. Native threads do: OpenBLAS stops its own before a
    fork, and OpenMP starts none before its first loop."""
    if torch.cuda.is_initialized() or _CUDA_MEMORY in map(os.path.realpath, Path("/proc/self/fd").iterdir()):
        return "has initialised CUDA"
    if threading.active_count() > 1:
        return f"has started threads ({', '.join(thread.name for thread in threading.enumerate())})"
    return None


def _run_in_fork(work: Callable[[], T]) -> T:
    """The result of `work` in another process, so that this one stays free of CUDA. Raises RuntimeError."""
    engine: Any = EngineContext()
    reader, writer = engine.Pipe(duplex=False)
    process = engine.Process(target=_send_result, args=(cloudpickle.dumps(work), writer), name="ModelInspection")
    process.start()
    writer.close()
    result: T
    try:
        result, error = reader.recv()
    except EOFError:
        error = "the process ended without a result"
    process.join()
    if error is not None:
        raise RuntimeError(f"Error raised in subprocess:\n{error}")
    return result


def _send_result(work: bytes, writer: Connection) -> None:
    try:
        load_general_plugins()
        writer.send((pickle.loads(work)(), None))  # noqa: S301  # from our own parent
    except Exception:  # noqa: BLE001  # the parent raises it, whatever it is
        writer.send((None, traceback.format_exc()))
