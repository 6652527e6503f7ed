"""Settings -> a running engine: the minutes of a start, and every reason to refuse one."""

import asyncio
import time
from collections.abc import Callable
from inspect import signature
from typing import Any

from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.renderers.chat_utils import load_chat_template
from vllm.usage.usage_lib import UsageContext
from vllm.utils.gc_utils import freeze_gc_heap
from vllm.v1.engine.async_llm import AsyncLLM

from handler.concurrency import in_background
from handler.engine import ModelCard
from handler.engines.vllm.adapters import cpu_patch as cpu_adapters
from handler.engines.vllm.adapters.served import ServedModels, VllmAdapters
from handler.engines.vllm.configuration import configured, loading
from handler.engines.vllm.deltas import DeltaServing
from handler.engines.vllm.placeholders import image_placeholder, placeholder_escaper
from handler.engines.vllm.renderer import Renderer
from handler.engines.vllm.requests import CHAT_PARAMETERS, TEXT_PARAMETERS
from handler.engines.vllm.running import STOP_SECONDS, Running, Serving
from handler.engines.vllm.settings import VllmSettings


async def start(settings: VllmSettings) -> Running:
    """Load the model. Raises OptionError or StartError."""
    llm = await in_background(lambda: _load(settings))
    try:
        await llm.reset_mm_cache()
        await cpu_adapters.patch_workers(llm)
        return await _serve(llm, settings)
    except BaseException:
        llm.shutdown(timeout=STOP_SECONDS)
        raise


def _load(settings: VllmSettings) -> AsyncLLM:
    with loading(settings):
        return AsyncLLM.from_vllm_config(configured(settings), usage_context=UsageContext.OPENAI_API_SERVER)


async def _serve(llm: AsyncLLM, settings: VllmSettings) -> Running:
    template = load_chat_template(settings.chat_template)
    models = ServedModels(llm, [BaseModelPath(name=name, model_path=llm.model_config.model) for name in settings.names])
    shared = {
        "request_logger": None,
        "chat_template": template,
        "chat_template_content_format": settings.chat_template_content_format,
        "enable_auto_tools": settings.enable_auto_tool_choice,
        "tool_parser": settings.tool_call_parser,
        "reasoning_parser": settings.reasoning_parser or "",
        "default_chat_template_kwargs": dict(settings.default_chat_template_kwargs),
        # A request may not bring a template (code that runs here) nor change how images are processed.
        "trust_request_chat_template": False,
        "trust_request_mm_kwargs": False,
    }
    renderer = _build(Renderer, model_config=llm.model_config, renderer=llm.renderer, **shared)
    # The template is compiled and tried here rather than in the first request.
    await asyncio.to_thread(renderer.warmup)
    shared |= {
        "engine_client": llm,
        "models": models,
        "response_role": "assistant",
        "online_renderer": renderer,
        "enable_prompt_tokens_details": True,
    }
    serving = Serving(
        chat=_build(OpenAIServingChat, **shared),
        texts=_build(OpenAIServingCompletion, **shared),
        deltas=_build(DeltaServing, **shared),
    )
    freeze_gc_heap()
    config = llm.model_config
    placeholder = image_placeholder(config)
    card = _card(llm, settings.names, placeholder(1))
    adapters = VllmAdapters(llm, models)
    escaper = placeholder_escaper(config, llm.renderer.tokenizer)
    return Running(llm, serving, adapters, card, escaper=escaper, placeholder=placeholder)


def _build(constructor: Callable[..., Any], **arguments: Any) -> Any:
    # These constructors are not a public contract: between releases they gain and lose optional arguments. One that a
    # release does not have is left out; a contract test says when that happens.
    accepted = signature(constructor).parameters
    return constructor(**{name: value for name, value in arguments.items() if name in accepted})


def _card(llm: AsyncLLM, names: tuple[str, ...], placeholder: str | None) -> ModelCard:
    return ModelCard(
        names=names,
        max_model_len=llm.model_config.max_model_len,
        supports_images=_sees(llm),
        parameters=CHAT_PARAMETERS,
        text_parameters=TEXT_PARAMETERS,
        placeholder=placeholder,
        created=int(time.time()),
    )


def _sees(llm: AsyncLLM) -> bool:
    # There are multimodal models that only hear. `vision_chunk` is what Kimi calls images and videos alike.
    if not llm.model_config.is_multimodal_model:
        return False
    limits = llm.renderer.get_mm_processor().info.allowed_mm_limits
    return any(limits.get(modality, 0) > 0 for modality in ("image", "vision_chunk"))
