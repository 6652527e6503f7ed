"""Settings -> a live engine, which takes minutes. What vLLM raises meanwhile becomes a StartError."""

import asyncio
import gc
import time

from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.renderers.chat_utils import load_chat_template
from vllm.usage.usage_lib import UsageContext
from vllm.utils.gc_utils import freeze_gc_heap
from vllm.v1.engine.async_llm import AsyncLLM

from handler.concurrency import in_background
from handler.engine import ModelCard
from handler.engines.processes import shared_memory
from handler.engines.vllm.adapters import cpu_patch
from handler.engines.vllm.adapters.served import VllmAdapters
from handler.engines.vllm.chat_template import ChatTemplate, find_chat_template
from handler.engines.vllm.configuration import create_config, load_errors
from handler.engines.vllm.engine import STOP_SECONDS, VllmEngine, log_stats
from handler.engines.vllm.grammars.backend import choose_backend
from handler.engines.vllm.grammars.trials import GrammarTrials
from handler.engines.vllm.launch import VllmSettings
from handler.engines.vllm.placeholders import image_placeholder, placeholder_escaper
from handler.engines.vllm.requests import CHAT_PARAMETERS, TEXT_PARAMETERS
from handler.engines.vllm.serving import Serving, build_serving, check_constructors, vllm_version
from handler.engines.vllm.steps import Steps


async def start(settings: VllmSettings) -> VllmEngine:
    """Load the model. Raises OptionError or StartError."""
    check_constructors()
    gc.unfreeze()  # what an engine before this one has left can be collected
    steps = Steps()
    llm = await in_background(lambda: _load(settings, steps))
    try:
        await llm.reset_mm_cache()
        await cpu_patch.patch_workers(llm)
        return await _serve(llm, settings, steps)
    except BaseException:
        llm.shutdown(timeout=STOP_SECONDS)
        raise


def _load(settings: VllmSettings, steps: Steps) -> AsyncLLM:
    with load_errors(settings):
        return AsyncLLM.from_vllm_config(
            create_config(settings), usage_context=UsageContext.OPENAI_API_SERVER, stat_loggers=[steps.logger]
        )


async def _serve(llm: AsyncLLM, settings: VllmSettings, steps: Steps) -> VllmEngine:
    models = OpenAIServingModels(
        llm, [BaseModelPath(name=name, model_path=llm.model_config.model) for name in settings.names]
    )
    given = load_chat_template(settings.chat_template)
    template = await asyncio.to_thread(find_chat_template, llm.renderer, llm.model_config, given)
    choose_backend(llm.vllm_config, llm.renderer.tokenizer)
    grammars = GrammarTrials(llm.vllm_config, settings.grammars)
    serving = build_serving(llm, models, settings, template, grammars)
    # The template is compiled and tried here rather than in the first request.
    await asyncio.to_thread(serving.chat.online_renderer.warmup)
    freeze_gc_heap()
    placeholder = image_placeholder(llm.model_config)
    card = _card(llm, settings, serving, placeholder(1), template)
    escaper = placeholder_escaper(llm.model_config, llm.renderer.tokenizer)
    adapters = VllmAdapters(llm, models)
    shared = await asyncio.to_thread(shared_memory)
    stats = asyncio.create_task(log_stats(llm))  # the last thing: nothing that fails may leave it running
    return VllmEngine(
        llm,
        serving,
        adapters,
        card,
        escaper=escaper,
        placeholder=placeholder,
        steps=steps,
        grammars=grammars,
        shared=shared,
        stats=stats,
    )


def _card(
    llm: AsyncLLM, settings: VllmSettings, serving: Serving, placeholder: str | None, template: ChatTemplate
) -> ModelCard:
    max_images = _max_images(llm)
    return ModelCard(
        names=settings.names,
        max_model_len=llm.model_config.max_model_len,
        supports_images=max_images != 0,
        max_images=max_images,
        max_characters=_max_characters(llm),
        concurrency=_concurrency(llm),
        batch_size=llm.vllm_config.scheduler_config.max_num_seqs * llm.vllm_config.parallel_config.data_parallel_size,
        has_chat_template=template.exists,
        template_words=template.words,
        parameters=CHAT_PARAMETERS,
        text_parameters=TEXT_PARAMETERS,
        placeholder=placeholder,
        created=int(time.time()),
        version=vllm_version(),
        fingerprint=serving.chat.system_fingerprint,
    )


def _max_characters(llm: AsyncLLM) -> int | None:
    """vLLM's own bound, which it checks only after the chat template."""
    tokenizer = llm.renderer.tokenizer
    return None if tokenizer is None else llm.model_config.max_model_len * int(tokenizer.max_chars_per_token)


def _concurrency(llm: AsyncLLM) -> float | None:
    config = llm.vllm_config
    found: float | None = config.cache_config.kv_cache_max_concurrency  # of each replica
    return None if found is None else found * config.parallel_config.data_parallel_size


def _max_images(llm: AsyncLLM) -> int | None:
    """How many images the model itself allows in a prompt: 0 if it takes none, None if it sets no limit."""
    if not llm.model_config.is_multimodal_model:
        return 0
    info = llm.renderer.get_mm_processor().info
    # Some multimodal models take audio alone. `vision_chunk` is what Kimi calls images and videos alike.
    taken = (modality for modality in ("image", "vision_chunk") if info.allowed_mm_limits.get(modality, 0) > 0)
    modality = next(taken, None)
    return 0 if modality is None else info.supported_mm_limits[modality]
