"""A node that computes for another one: it runs workers (or whole replicas) of an engine whose front end is elsewhere."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from vllm.config import VllmConfig
from vllm.utils.network_utils import get_tcp_uri
from vllm.v1.engine.utils import CoreEngineProcManager
from vllm.v1.executor.abstract import Executor
from vllm.v1.executor.multiproc_executor import MultiprocExecutor

from handler.concurrency import in_background
from handler.engines.vllm.configuration import create_config, load_errors
from handler.engines.vllm.launch import VllmSettings
from handler.errors import EngineDead


@dataclass(frozen=True, slots=True)
class _Part:
    """What runs here: `watch` returns when it has ended, `end` ends it."""

    watch: Callable[[], None]
    end: Callable[[], None]


async def follow(settings: VllmSettings) -> "VllmNode":
    """Join the leader. A replica loads its model after this returns. Raises OptionError or StartError."""
    return await in_background(lambda: _join(settings))


def _join(settings: VllmSettings) -> "VllmNode":
    with load_errors(settings):
        config = create_config(settings, headless=True)
        part = _workers(config) if config.parallel_config.node_rank_within_dp > 0 else _replicas(config)
    ended = threading.Event()

    def watch() -> None:
        part.watch()
        ended.set()

    threading.Thread(target=watch, name="lumi-follower", daemon=True).start()
    return VllmNode(part.end, ended)


def _workers(config: VllmConfig) -> _Part:
    """Workers of an engine that spans the nodes. Returns once every node has joined and the weights are loaded."""
    executor = MultiprocExecutor(config, monitor_workers=False)

    def end() -> None:
        # They have nothing to finish, and on SIGTERM they would first wait for the leader's next message.
        for worker in executor.workers:
            worker.proc.kill()

    return _Part(lambda: executor.start_worker_monitor(inline=True), end)


def _replicas(config: VllmConfig) -> _Part:
    """Engines of their own, to which the leader's front end hands requests. They report to it when they are loaded."""
    parallel = config.parallel_config
    manager = CoreEngineProcManager(
        local_engine_count=parallel.data_parallel_size_local,
        start_index=parallel.data_parallel_rank,
        local_start_index=0,
        vllm_config=config,
        local_client=False,
        handshake_address=get_tcp_uri(parallel.data_parallel_master_ip, parallel.data_parallel_rpc_port),
        executor_class=Executor.get_class(config),
        log_stats=True,
    )
    return _Part(manager.monitor_engine_liveness, manager.shutdown)


class VllmNode:
    """An `EngineNode`. `end` ends its processes, and `ended` is set once they are gone."""

    def __init__(self, end: Callable[[], None], ended: threading.Event) -> None:
        self._end = end
        self._ended = ended

    async def check(self) -> None:
        if self._ended.is_set():
            raise EngineDead("This node's part of the engine has ended; this server is going down.")

    async def stop(self) -> None:
        await asyncio.to_thread(self._end)
