"""vLLM behind the seam. This package alone imports vllm, and only once an engine starts: the import takes seconds."""

import ast
import asyncio
import contextlib
import importlib
import importlib.metadata
import importlib.util
import multiprocessing
from collections.abc import AsyncGenerator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handler.concurrency import in_background
from handler.engine import Adapter, Delta, ModelCard, Prompt, TextPrompt
from handler.engines.vllm.forking import fork_server
from handler.engines.vllm.settings import VllmSettings
from handler.errors import StartError, Unavailable

if TYPE_CHECKING:
    from handler.engines.vllm.following import Following
    from handler.engines.vllm.running import Running


class VllmEngine:
    """An `Engine` that runs vLLM's AsyncLLM in this process and its engine core in another.

    Everything slow (the import, the configuration, waiting for the engine core) happens off the event loop, so that the
    loop can answer health checks meanwhile. `environ` is what its processes inherit, if they are to be forked from a
    server that imports vLLM at the same time as this process does.
    """

    def __init__(self, settings: VllmSettings, environ: MutableMapping[str, str] | None = None) -> None:
        self._settings = settings
        self._environ = environ
        self._forks = contextlib.ExitStack()
        self._begun = False
        self._imported: asyncio.Future[Any] | None = None
        self._running: Running | None = None
        self._following: Following | None = None

    def prepare(self) -> None:
        """Begin with what needs no model: the import of vLLM, which takes as long as many a download. To be called in
        the main thread. Raises StartError."""
        if self._environ is not None:
            self._forks.enter_context(fork_server(self._environ))
        self._importing()

    async def start(self, model: str | None = None, leader: str | None = None) -> ModelCard:
        """`model` is where it was brought to, if that is not where the settings say; `leader` the address of the first of
        several nodes."""
        loading = await self._importing()
        self._begun = True
        self._running = await loading.start(self._settings_for(model, leader))
        return self._live.card

    async def follow(self, model: str | None = None, leader: str | None = None) -> None:
        """Compute for the engine of another node, in place of `start`; nobody can ask this one."""
        await self._importing()
        self._begun = True
        following = await in_background(lambda: importlib.import_module("handler.engines.vllm.following"))
        self._following = await following.follow(self._settings_for(model, leader))

    @property
    def card(self) -> ModelCard:
        return self._live.card

    @property
    def tokenizer(self) -> Any:
        return self._live.tokenizer

    def holds(self, digest: str) -> bool:
        return self._live.holds(digest)

    async def complete(self, prompt: Prompt) -> bytes:
        return await self._live.complete(prompt)

    def stream(self, prompt: Prompt) -> AsyncGenerator[bytes, None]:
        return self._live.stream(prompt)

    def generate(self, prompt: TextPrompt) -> AsyncGenerator[Delta, None]:
        return self._live.generate(prompt)

    async def tokenize(self, prompt: Prompt) -> Sequence[int]:
        return await self._live.tokenize(prompt)

    async def detokenize(self, tokens: Sequence[int]) -> str:
        return await self._live.detokenize(tokens)

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        return self._live.adapters.served

    async def load_adapter(self, adapter: Adapter) -> None:
        await self._live.adapters.load(adapter)

    async def unload_adapter(self, name: str) -> None:
        self._live.adapters.unload(name)

    async def check(self) -> None:
        await (self._following or self._live).check()

    async def stop(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            await running.stop()
        if self._following is not None:
            following, self._following = self._following, None
            await following.stop()
        # A start that was given up leaves an engine core which nobody waits for. Without one, they are others' children.
        for child in multiprocessing.active_children() if self._begun else ():
            child.terminate()
        self._forks.close()

    def _settings_for(self, model: str | None, leader: str | None) -> VllmSettings:
        arguments = dict(self._settings.arguments)
        if model is not None:
            arguments["model"] = model
        if leader is not None:
            arguments.setdefault("data_parallel_address", leader)
        return replace(self._settings, arguments=arguments)

    def _importing(self) -> "asyncio.Future[Any]":
        if self._imported is None:
            self._imported = in_background(lambda: importlib.import_module("handler.engines.vllm.loading"))
        return self._imported

    @property
    def _live(self) -> "Running":
        if self._running is None:
            raise Unavailable("The model is not loaded.", retry_after=10)
        return self._running


def cuda() -> int | None:
    """The major version of CUDA that the installed vLLM is built for (0 where nobody says), None of the CPU build."""
    try:
        importlib.metadata.version("vllm")  # the CPU build has a name of its own
        return int(importlib.metadata.version("nvidia-cuda-runtime").split(".")[0])
    except importlib.metadata.PackageNotFoundError as missing:
        return None if missing.name == "vllm" else 0


def field_names() -> frozenset[str]:
    """The names of vLLM's engine arguments, read from its source: an import would take seconds to refuse a typo."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        raise StartError("vLLM is not installed; ./build.sh installs it into .venv.")
    tree = ast.parse((Path(spec.origin).parent / "engine" / "arg_utils.py").read_text())
    return frozenset(
        field.target.id
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name in ("EngineArgs", "AsyncEngineArgs")
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.target.id[0] != "_"
    )


def validate(texts: Mapping[str, str]) -> None:
    """Check the text of engine arguments with vLLM's own parser. Imports vllm; raises OptionError."""
    importlib.import_module("handler.engines.vllm.arguments").parse_texts(texts)
