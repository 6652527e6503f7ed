"""Settings -> a live engine. Light: vllm is imported by `preload`, or by a start."""

import asyncio
import contextlib
import importlib
import logging
import multiprocessing
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from handler.checkpoint.divisible_sizes import divisible_sizes
from handler.concurrency import in_background
from handler.engines.assignment import TRANSFORMERS
from handler.engines.inspection import Inspected, inspect_local
from handler.engines.vllm.forking import fork_server
from handler.engines.vllm.launch import VllmSettings
from handler.errors import StartError

if TYPE_CHECKING:
    from handler.engines.vllm.engine import VllmEngine
    from handler.engines.vllm.node import VllmNode

log = logging.getLogger("lumi.engine")


class VllmFactory:
    """An `EngineFactory` for vLLM's AsyncLLM in this process and its engine core in another.

    Everything slow (the import, the configuration, waiting for the engine core) happens off the event loop, which answers
    health checks meanwhile. With an `environ`, which its processes inherit, they are forked from a server that imports
    vLLM at the same time as this process does.
    """

    def __init__(self, settings: VllmSettings, environ: MutableMapping[str, str] | None = None) -> None:
        self._settings = settings
        self._environ = environ
        self._forks = contextlib.ExitStack()
        self._imports: dict[str, asyncio.Future[Any]] = {}
        self._launched = False

    def preload(self) -> None:
        if not self._imports and self._environ is not None:
            self._forks.enter_context(fork_server(self._environ))
        self._import("loading")

    async def start(self, model: str, leader: str | None) -> "VllmEngine":
        self.preload()
        settings = await self._settings_for(model, leader)
        loading = await self._import("loading")
        self._launched = True
        engine: VllmEngine = await loading.start(settings)
        return engine

    async def follow(self, model: str, leader: str | None) -> "VllmNode":
        self.preload()
        settings = await self._settings_for(model, leader)
        await self._import("loading")  # it and `node` import the same modules: not at the same time
        node = await self._import("node")
        self._launched = True
        part: VllmNode = await node.follow(settings)
        return part

    async def close(self) -> None:
        # A start that was cancelled leaves an engine core behind. Before a start, child processes are not the engine's.
        for child in multiprocessing.active_children() if self._launched else ():
            child.terminate()
        self._forks.close()

    async def _settings_for(self, model: str, leader: str | None) -> VllmSettings:
        """Raises StartError where the files of the model show that it cannot be served."""
        arguments = {**self._settings.arguments, "model": model}
        found = await in_background(lambda: inspect_local(model, {**self._settings.texts, **arguments}))
        sizes = None
        if found is not None:
            arguments |= _missing_arguments(model, found, arguments)
            sizes = divisible_sizes(found.config)
        if leader is not None:
            arguments.setdefault("data_parallel_address", leader)
        return replace(self._settings, arguments=arguments, sizes=sizes)

    def _import(self, module: str) -> "asyncio.Future[Any]":
        if module not in self._imports:
            self._imports[module] = in_background(lambda: importlib.import_module(f"handler.engines.vllm.{module}"))
        return self._imports[module]


def _missing_arguments(model: str, found: Inspected, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What vLLM needs besides `arguments`, or in their place. Raises StartError where vLLM cannot serve the model."""
    assignment = found.assignment
    if assignment.engine == TRANSFORMERS:
        raise StartError(
            f"{model} cannot be served by vLLM, which does not have its architecture {assignment.architecture}."
        )
    quantisation = _online_quantisation(found.config, arguments)
    if not assignment.overrides:
        return quantisation
    log.info(
        "set for vLLM, which has this model under another name or computes it otherwise: hf_overrides=%s",
        assignment.overrides,
    )
    return {"hf_overrides": assignment.overrides, **quantisation}


def _online_quantisation(config: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, str]:
    """vLLM 0.32 has another name for `fp8` where it quantises the weights itself, and refuses the one of LMI's documents."""
    if arguments.get("quantization") != "fp8" or config.get("quantization_config"):
        return {}
    log.info(
        "set for vLLM, which quantises these weights at the start: quantization=fp8_per_tensor, for OPTION_QUANTIZE=fp8"
    )
    return {"quantization": "fp8_per_tensor"}
