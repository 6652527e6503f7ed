"""A model -> the engine that runs it: vLLM, or transformers for what vLLM no longer has."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from handler.checkpoint.files import DirectoryFiles, read_json
from handler.concurrency import in_background
from handler.engine import Engine, EngineFactory, EngineNode
from handler.engines.architectures import TRANSFORMERS_ENGINE, architectures
from handler.engines.assignment import TRANSFORMERS, Assignment
from handler.engines.inspection import inspect_local
from handler.errors import StartError

log = logging.getLogger("lumi.engine")

Setting = Literal["auto", "always", "never"]  # OPTION_TRANSFORMERS_ENGINE


class EngineChoice:
    """An `EngineFactory` that has the architecture of the model decide between two. `source` is what the operator calls the
    model, `arguments` are the engine arguments."""

    def __init__(
        self,
        vllm: EngineFactory,
        transformers: EngineFactory,
        setting: Setting,
        source: str,
        arguments: Mapping[str, Any],
    ) -> None:
        self._vllm = vllm
        self._transformers = transformers
        self._setting = setting
        self._source = source
        self._arguments = arguments

    def preload(self) -> None:
        likely = self._transformers if self._is_likely_transformers() else self._vllm
        likely.preload()

    async def start(self, model: str, leader: str | None) -> Engine:
        return await (await self._choose(model)).start(model, leader)

    async def follow(self, model: str, leader: str | None) -> EngineNode:
        return await (await self._choose(model)).follow(model, leader)

    async def close(self) -> None:
        await self._vllm.close()
        await self._transformers.close()

    async def _choose(self, model: str) -> EngineFactory:
        """The factory for `model`, whose files are here. The other is closed."""
        if self._setting == "always":
            reason = "OPTION_TRANSFORMERS_ENGINE=always"
        else:
            found = await in_background(lambda: inspect_local(model, self._arguments))
            if found is None or found.assignment.engine != TRANSFORMERS:
                await self._transformers.close()
                return self._vllm
            check_allowed(found.assignment, self._setting)
            reason = f"vLLM has no {found.assignment.architecture}"
        log.info("%s is run by transformers, not by vLLM: %s", model, reason)
        await self._vllm.close()
        return self._transformers

    def _is_likely_transformers(self) -> bool:
        """What is known before the model is fetched: a directory has its config.json already."""
        if self._setting != "auto" or not Path(self._source).is_dir():
            return self._setting == "always"
        config = read_json(DirectoryFiles(Path(self._source), self._source), "config.json")
        return not TRANSFORMERS_ENGINE.isdisjoint(architectures(config)[:1])


def check_allowed(assignment: Assignment, setting: Setting) -> None:
    """Raises StartError if the engine that the model needs is one that the operator refuses."""
    if assignment.engine == TRANSFORMERS and setting == "never":
        raise StartError(
            f"vLLM has no {assignment.architecture}, and OPTION_TRANSFORMERS_ENGINE=never refuses the engine that has it; "
            "set it to auto, or choose another model."
        )
