"""LoRA adapters in vLLM: added, replaced and removed beneath requests that run."""

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

from handler.adapters.files import AdapterFiles, inspected, rank_to_allow
from handler.engine import Adapter
from handler.engines.vllm.adapters.layers import Layers
from handler.engines.vllm.failures import translate
from handler.errors import EngineDead, InvalidRequest, StartError, UnknownAdapter

_MARK = "#"  # stands in no adapter's name


class ServedModels(OpenAIServingModels):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's list of what is served, where each loading of an adapter goes by a key of its own: `name#number`.

    vLLM's caches know an adapter by its name: what was computed with one must not be found by the next of that name.
    """

    def model_name(self, lora_request: LoRARequest | None = None) -> str:
        """What an answer says has answered."""
        if lora_request is None:
            return str(super().model_name())
        return str(lora_request.lora_name.rpartition(_MARK)[0])


def check_tower_adapters(config: Any) -> None:
    """Raises StartError where vLLM 0.32 would die of the first image that is shown to an adapter: it counts a CLIP
    tower's patches of LLaVA without the token of the class, and its buffers for adapters are one too short."""
    if config.lora_config is None or not config.lora_config.enable_tower_connector_lora:
        return
    model = config.model_config.hf_config
    tower = getattr(getattr(model, "vision_config", None), "model_type", "")
    if "LlavaForConditionalGeneration" in (model.architectures or ()) and tower.startswith("clip"):
        raise StartError(
            "vLLM does not serve adapters of this model's vision tower; remove OPTION_ENABLE_TOWER_CONNECTOR_LORA."
        )


@dataclass(slots=True, eq=False)
class _Loaded:
    """A loading of an adapter, and how many prompts run with it. Once it is `leaving`, no new one does."""

    adapter: Adapter
    request: LoRARequest
    prompts: int = 0
    leaving: bool = False


class VllmAdapters:
    """The adapters that a live AsyncLLM answers with. Belongs to the event loop."""

    def __init__(self, llm: AsyncLLM, models: ServedModels) -> None:
        self._llm = llm
        self._models = models
        self._config = llm.vllm_config.lora_config
        self._layers: Layers | None = None
        self._numbers = itertools.count(1)
        self.served: dict[str, Adapter] = {}
        self._loaded: dict[str, _Loaded] = {}
        self._chores: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def lent(self, name: str | None) -> Iterator[str | None]:
        """What vLLM is to be asked for by a prompt that asks for `name`; an adapter stays until the prompt is done."""
        loaded = self._loaded.get(name) if name is not None else None
        if loaded is None:
            yield name
            return
        loaded.prompts += 1
        try:
            yield loaded.request.lora_name
        finally:
            loaded.prompts -= 1
            self._free_if_done(loaded)

    async def load(self, adapter: Adapter) -> None:
        """Raises InvalidRequest or EngineDead."""
        if self._config is None:
            raise InvalidRequest("Adapters are off here; start with OPTION_ENABLE_LORA=true.")
        await asyncio.to_thread(self._check, Path(adapter.directory))
        number = next(self._numbers)
        request = LoRARequest(f"{adapter.name}{_MARK}{number}", number, adapter.directory)
        try:
            await self._llm.add_lora(request)
        except Exception as fault:
            error = translate(fault)
            if isinstance(error, EngineDead):
                raise error from fault
            await self._remove(request)  # a part of it may be there
            raise InvalidRequest(
                f"vLLM cannot load the adapter: {fault}", param="src", code="adapter_invalid"
            ) from fault
        replaced = self._loaded.get(adapter.name)
        self._models.lora_requests[request.lora_name] = request
        self._loaded[adapter.name] = _Loaded(adapter, request)
        self.served[adapter.name] = adapter
        if replaced is not None:
            self._leave(replaced)

    def unload(self, name: str) -> None:
        """Raises UnknownAdapter."""
        if name not in self._loaded:
            raise UnknownAdapter(f"The adapter {name!r} is not served.", param="name")
        del self.served[name]
        self._leave(self._loaded.pop(name))

    def _check(self, directory: Path) -> None:
        files = inspected(directory)
        self._check_rank(files)
        if self._layers is None:
            towers = self._config.enable_tower_connector_lora
            kept = self._llm.vllm_config.load_config.download_dir
            self._layers = Layers(self._llm.model_config, kept, only_language=not towers)
        self._layers.check(files)

    def _check_rank(self, files: AdapterFiles) -> None:
        most = self._config.max_lora_rank
        if files.rank > most:
            raise InvalidRequest(
                f"The adapter has the rank {files.rank}, and this server takes {most}; {rank_to_allow(files.rank)}.",
                param="src",
                code="adapter_does_not_fit",
            )

    def _leave(self, loaded: _Loaded) -> None:
        loaded.leaving = True
        self._free_if_done(loaded)

    def _free_if_done(self, loaded: _Loaded) -> None:
        if not loaded.leaving or loaded.prompts:
            return
        self._models.lora_requests.pop(loaded.request.lora_name, None)
        # In a task of its own: whoever closes a stream may itself be cancelled at every await.
        chore = asyncio.create_task(self._free(loaded))
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def _free(self, loaded: _Loaded) -> None:
        await self._remove(loaded.request)
        # Only now: until then the engine may read the files again, and would not survive their absence.
        await asyncio.to_thread(loaded.adapter.release)

    async def _remove(self, request: LoRARequest) -> None:
        with contextlib.suppress(Exception):  # it may not be there; a dead engine is told of elsewhere
            await self._llm.remove_lora(request.lora_int_id)
