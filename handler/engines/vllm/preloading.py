"""What the fork server imports, and where vLLM is told to fork from it: the one place that replaces a part of vLLM."""

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
from vllm.model_executor.models import registry
from vllm.platforms import current_platform
from vllm.plugins import load_general_plugins
from vllm.v1.engine import coordinator, utils
from vllm.v1.executor import multiproc_executor

from handler.engines.vllm.forking import EngineContext, is_served

T = TypeVar("T")

# What the engine core and its workers import sooner or later.
MODULES = ("vllm.v1.engine.core", "vllm.v1.executor.uniproc_executor")
WORKERS = {"cpu": "vllm.v1.worker.cpu_worker", "cuda": "vllm.v1.worker.gpu_worker"}
# CUDA's driver opens it; what only asks the management library about GPUs does not.
_CUDA_MEMORY = "/dev/nvidia-uvm"


def preload() -> None:
    """Import, in the fork server. Ends the process where what was imported does not survive a fork."""
    for name in (*MODULES, WORKERS.get(current_platform.device_type)):
        # Whoever needs one that cannot be imported will import it, and say what is wrong.
        with contextlib.suppress(ImportError):
            importlib.import_module(name or MODULES[0])
    if current_platform.is_cpu():
        importlib.import_module("handler.engines.vllm.headers").precompile_when_needed()  # imports PyTorch's compiler
    if obstacle := _obstacle():
        # The parent sees this process end, and spawns as vLLM's own server does.
        sys.exit(f"lumi: vLLM's import {obstacle}, so that no process can be forked from this one.")
    use_forks()


def use_forks() -> None:
    """Have vLLM fork the processes that this one starts from the server. Without a server nothing changes."""
    if is_served():
        for module in (utils, coordinator, multiproc_executor):
            module.get_mp_context = EngineContext
        registry._run_in_subprocess = _in_a_fork  # noqa: SLF001


def _obstacle() -> str | None:
    """What does not survive a fork, if this process has it. Native threads are no obstacle: OpenBLAS ends its own
    before a fork, and OpenMP has none before its first loop."""
    if torch.cuda.is_initialized() or _CUDA_MEMORY in map(os.path.realpath, Path("/proc/self/fd").iterdir()):
        return "has initialised CUDA"
    if threading.active_count() > 1:
        return f"has started threads ({', '.join(thread.name for thread in threading.enumerate())})"
    return None


def _in_a_fork(work: Callable[[], T]) -> T:
    """The result of `work`, done in another process so that this one stays free of CUDA."""
    engine: Any = EngineContext()
    reader, writer = engine.Pipe(duplex=False)
    process = engine.Process(target=_answer, args=(cloudpickle.dumps(work), writer), name="ModelInspection")
    process.start()
    writer.close()
    try:
        result, fault = reader.recv()
    except EOFError:
        result, fault = None, "the process ended without an answer"
    process.join()
    if fault is not None:
        raise RuntimeError(f"Error raised in subprocess:\n{fault}")
    return result  # type: ignore[no-any-return]


def _answer(work: bytes, writer: Connection) -> None:
    try:
        load_general_plugins()
        writer.send((pickle.loads(work)(), None))  # noqa: S301  # from our own parent
    except Exception:  # noqa: BLE001  # carried over, whatever it is
        writer.send((None, traceback.format_exc()))
