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
from handler.engines.vllm.configuration import configured, loading
from handler.engines.vllm.settings import VllmSettings
from handler.errors import EngineDead


@dataclass(frozen=True, slots=True)
class _Part:
    """What runs here: `watch` returns when it has ended, `end` ends it."""

    watch: Callable[[], None]
    end: Callable[[], None]


async def follow(settings: VllmSettings) -> "Following":
    """Join the leader; a replica loads its model after this. Raises OptionError or StartError."""
    return await in_background(lambda: _join(settings))


def _join(settings: VllmSettings) -> "Following":
    with loading(settings):
        config = configured(settings, headless=True)
        return Following(_workers(config) if config.parallel_config.node_rank_within_dp > 0 else _replicas(config))


def _workers(config: VllmConfig) -> _Part:
    """The share of one engine; made when every node has come and the weights are loaded."""
    executor = MultiprocExecutor(config, monitor_workers=False)

    def end() -> None:
        # They have nothing to finish, and asked politely they would first wait for the leader's next word.
        for worker in executor.workers:
            worker.proc.kill()

    return _Part(lambda: executor.start_worker_monitor(inline=True), end)


def _replicas(config: VllmConfig) -> _Part:
    """Engines of their own, among which the leader's front end shares the requests. They tell it when they are loaded."""
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


class Following:
    """What of the engine runs here, until it ends."""

    def __init__(self, part: _Part) -> None:
        self._part = part
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="lumi-follower", daemon=True).start()

    async def check(self) -> None:
        """Raises EngineDead."""
        if self._ended.is_set():
            raise EngineDead("This node's part of the engine has ended; this server is going down.")

    async def stop(self) -> None:
        await asyncio.to_thread(self._part.end)

    def _watch(self) -> None:
        self._part.watch()
        self._ended.set()
