"""LoRA adapters in vLLM: loaded, replaced and unloaded while requests run."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.lora.request import LoRARequest
from vllm.v1.engine.async_llm import AsyncLLM

from handler.adapters.files import AdapterFiles, rank_to_allow, read_adapter_files
from handler.engine import Adapter
from handler.engines.vllm.adapters.layers import Layers
from handler.engines.vllm.failures import translate
from handler.errors import EngineDead, InvalidRequest, StartError, UnknownAdapter


def check_tower_adapters(config: Any) -> None:
    """Raises StartError where vLLM 0.32 would crash on the first image of a request with an adapter: for LLaVA it counts
    the patches of a CLIP tower without the class token, so its buffers for adapters are one token too short."""
    if config.lora_config is None or not config.lora_config.enable_tower_connector_lora:
        return
    model = config.model_config.hf_config
    tower = getattr(getattr(model, "vision_config", None), "model_type", "")
    if "LlavaForConditionalGeneration" in (model.architectures or ()) and tower.startswith("clip"):
        raise StartError(
            "vLLM does not support adapters of this model's vision tower. Remove OPTION_ENABLE_TOWER_CONNECTOR_LORA."
        )


@dataclass(slots=True, eq=False)
class _Loaded:
    """A loading of an adapter and the number of `prompts` that use it; `unloading` once no new prompt may."""

    adapter: Adapter
    request: LoRARequest
    prompts: int = 0
    unloading: bool = False


class VllmAdapters:
    """The adapters of a live AsyncLLM, for use on its event loop."""

    def __init__(self, llm: AsyncLLM, models: OpenAIServingModels) -> None:
        self._llm = llm
        self._models = models
        self._config = llm.vllm_config.lora_config
        self._layers: Layers | None = None
        self._numbers = itertools.count(1)
        self.served: dict[str, Adapter] = {}
        self._loaded: dict[str, _Loaded] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def acquire(self, name: str) -> Iterator[str]:
        """The model name that vLLM takes for the adapter `name`, which stays loaded until the prompt is done."""
        loaded = self._loaded[name]
        loaded.prompts += 1
        try:
            yield loaded.request.lora_name
        finally:
            loaded.prompts -= 1
            self._free_if_done(loaded)

    async def load(self, adapter: Adapter) -> None:
        """Load an adapter, in place of one with its name. Raises InvalidRequest or EngineDead."""
        if self._config is None:
            raise InvalidRequest("LoRA adapters are not enabled. Start with OPTION_ENABLE_LORA=true.")
        await asyncio.to_thread(self._check, Path(adapter.directory))
        number = next(self._numbers)
        # Each loading has a key of its own: vLLM's caches identify an adapter by it, and an entry computed with one must not
        # be found for the next of that name. No name of an adapter has a #.
        request = LoRARequest(f"{adapter.name}#{number}", number, adapter.directory)
        try:
            await self._llm.add_lora(request)
        except Exception as fault:
            error = translate(fault)
            if isinstance(error, EngineDead):
                raise error from fault
            await self._remove(request)  # it may be partly loaded
            raise InvalidRequest(
                f"vLLM cannot load the adapter: {fault}", param="src", code="adapter_invalid"
            ) from fault
        replaced = self._loaded.get(adapter.name)
        self._models.lora_requests[request.lora_name] = request
        self._loaded[adapter.name] = _Loaded(adapter, request)
        self.served[adapter.name] = adapter
        if replaced is not None:
            self._unload_when_done(replaced)

    def unload(self, name: str) -> None:
        """Unload an adapter once the prompts that use it are done. Raises UnknownAdapter."""
        if name not in self._loaded:
            raise UnknownAdapter(f"The adapter {name!r} does not exist.", param="name")
        del self.served[name]
        self._unload_when_done(self._loaded.pop(name))

    def _check(self, directory: Path) -> None:
        files = read_adapter_files(directory)
        self._check_rank(files)
        if self._layers is None:
            towers = self._config.enable_tower_connector_lora
            download_dir = self._llm.vllm_config.load_config.download_dir
            self._layers = Layers(self._llm.model_config, download_dir, only_language=not towers)
        self._layers.check(files)

    def _check_rank(self, files: AdapterFiles) -> None:
        limit = self._config.max_lora_rank
        if files.rank > limit:
            raise InvalidRequest(
                f"The adapter has rank {files.rank}, but the limit of this server is {limit}; {rank_to_allow(files.rank)}.",
                param="src",
                code="adapter_does_not_fit",
            )

    def _unload_when_done(self, loaded: _Loaded) -> None:
        loaded.unloading = True
        self._free_if_done(loaded)

    def _free_if_done(self, loaded: _Loaded) -> None:
        if not loaded.unloading or loaded.prompts:
            return
        self._models.lora_requests.pop(loaded.request.lora_name, None)
        # In its own task: the task that closes a stream may be cancelled at every await.
        task = asyncio.create_task(self._free(loaded))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _free(self, loaded: _Loaded) -> None:
        await self._remove(loaded.request)
        # Only now: until here the engine may read the files again and would crash without them.
        await asyncio.to_thread(loaded.adapter.release)

    async def _remove(self, request: LoRARequest) -> None:
        with contextlib.suppress(Exception):  # it may not be loaded; a dead engine is reported elsewhere
            await self._llm.remove_lora(request.lora_int_id)
