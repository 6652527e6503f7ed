"""Settings -> a live engine. Light: transformers is imported by `preload`, or by a start."""

import asyncio
import importlib
import logging
from typing import TYPE_CHECKING, Any, NoReturn

from handler.concurrency import in_background
from handler.engine import EngineNode
from handler.engines.transformers.launch import TransformersSettings
from handler.errors import StartError

if TYPE_CHECKING:
    from handler.engines.transformers.engine import TransformersEngine

log = logging.getLogger("lumi.engine")


class TransformersFactory:
    """An `EngineFactory` for a model of transformers in this process, on one GPU or on the CPU."""

    def __init__(self, settings: TransformersSettings) -> None:
        self._settings = settings
        self._imported: asyncio.Future[Any] | None = None

    def preload(self) -> None:
        if self._imported is None:
            self._imported = in_background(lambda: importlib.import_module("handler.engines.transformers.loading"))

    async def start(self, model: str, leader: str | None) -> "TransformersEngine":
        if leader is not None:
            _refuse_nodes(model)
        self.preload()
        assert self._imported is not None  # noqa: S101  # `preload` has set it
        loading = await self._imported
        for option in self._settings.without_effect:
            log.warning("%s has no effect: %s is run by transformers, not by vLLM", option, model)
        loaded = await in_background(lambda: loading.load(self._settings, model))
        engine: TransformersEngine = await in_background(lambda: loading.start(loaded, self._settings))
        return engine

    async def follow(self, model: str, leader: str | None) -> EngineNode:
        del leader
        _refuse_nodes(model)

    async def close(self) -> None:
        """It has no processes of its own."""


def _refuse_nodes(model: str) -> NoReturn:
    raise StartError(
        f"{model} is run by transformers, which uses one GPU of one machine; unset OPTION_NNODES and what else names nodes."
    )
