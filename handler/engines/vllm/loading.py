"""Settings -> a running engine: the minutes of a start, and every reason to refuse one."""

import asyncio
import time
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import torch
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.renderers.chat_utils import load_chat_template
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.usage.usage_lib import UsageContext
from vllm.utils.gc_utils import freeze_gc_heap
from vllm.v1.engine.async_llm import AsyncLLM

from handler.background import in_background
from handler.engine import ModelCard
from handler.engines.vllm.arguments import engine_args
from handler.engines.vllm.growths import GrowthServing
from handler.engines.vllm.placeholders import neutraliser, picture_placeholder
from handler.engines.vllm.preloading import use_forks
from handler.engines.vllm.requests import known_parameters, release_pictures
from handler.engines.vllm.running import STOP_SECONDS, Running, Serving
from handler.engines.vllm.settings import VllmSettings
from handler.engines.vllm.texts import TextRequest, known_text_parameters
from handler.errors import LumiError, StartError

# What a configuration of a checkpoint that sees has, whatever class its architecture resolves to.
_VISION_FIELDS = (
    "vision_config",
    "vq_config",
    "vision_tower",
    "mm_vision_tower",
    "visual",
    "image_token_id",
    "image_token_index",
)


async def start(settings: VllmSettings) -> Running:
    """Load the model. Raises OptionError or StartError."""
    llm = await in_background(lambda: _load(settings))
    try:
        await llm.reset_mm_cache()
        return await _serve(llm, settings)
    except BaseException:
        llm.shutdown(timeout=STOP_SECONDS)
        raise


def _load(settings: VllmSettings) -> AsyncLLM:
    model = settings.arguments["model"]
    try:
        use_forks()
        args = engine_args(_with_all_gpus(settings.arguments))
        config = args.create_engine_config(UsageContext.OPENAI_API_SERVER)
        if not args.language_model_only:
            _refuse_blind(config.model_config)
        return AsyncLLM.from_vllm_config(config, usage_context=UsageContext.OPENAI_API_SERVER)
    except LumiError:
        raise
    except Exception as fault:
        raise StartError(f"vLLM could not load {model}: {_reason(fault)}") from fault


def _refuse_blind(model_config: Any) -> None:
    # vLLM falls back to a text-only class for an architecture that it no longer has, and would answer about pictures
    # that it never saw.
    if model_config.is_multimodal_model:
        return
    seen = [name for name in _VISION_FIELDS if getattr(model_config.hf_config, name, None) is not None]
    if seen:
        architectures = ", ".join(model_config.hf_config.architectures or ["unknown"])
        raise StartError(
            f"{model_config.model} is a vision checkpoint (its config has {seen[0]}), but this vLLM runs its "
            f"architecture {architectures} as text only and would ignore every picture. Choose another model, or set "
            "OPTION_LANGUAGE_MODEL_ONLY=true to serve its language part on purpose."
        )


def _reason(fault: BaseException) -> str:
    """What the outermost exception says, and what the innermost has to add."""
    inner = fault
    while (cause := inner.__cause__ or inner.__context__) is not None:
        inner = cause
    said = str(fault).strip() or type(fault).__name__
    return said if str(inner).strip() in said else f"{said} ({str(inner).strip()})"


def _with_all_gpus(arguments: Mapping[str, Any]) -> dict[str, Any]:
    # tensor_parallel_degree is `max` unless it is set. Each pipeline stage and each replica needs GPUs of its own.
    shares = int(arguments.get("pipeline_parallel_size", 1)) * int(arguments.get("data_parallel_size", 1))
    return {"tensor_parallel_size": max(1, torch.cuda.device_count() // shares), **arguments}


async def _serve(llm: AsyncLLM, settings: VllmSettings) -> Running:
    template = load_chat_template(settings.chat_template)
    models = OpenAIServingModels(
        llm, [BaseModelPath(name=name, model_path=llm.model_config.model) for name in settings.names]
    )
    shared = {
        "request_logger": None,
        "chat_template": template,
        "chat_template_content_format": settings.chat_template_content_format,
        "enable_auto_tools": settings.enable_auto_tool_choice,
        "tool_parser": settings.tool_call_parser,
        "reasoning_parser": settings.reasoning_parser or "",
        "default_chat_template_kwargs": dict(settings.default_chat_template_kwargs),
        # A request may not bring a template (code that runs here) nor change how pictures are processed.
        "trust_request_chat_template": False,
        "trust_request_mm_kwargs": False,
    }
    renderer = _build(_Renderer, model_config=llm.model_config, renderer=llm.renderer, **shared)
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
        growths=_build(GrowthServing, **shared),
    )
    freeze_gc_heap()
    config = llm.model_config
    placeholder = picture_placeholder(config)
    card = _card(llm, settings.names, placeholder(1))
    return Running(llm, serving, card, neutraliser(config, llm.renderer.tokenizer), placeholder)


class _Renderer(OnlineRenderer):  # type: ignore[misc]  # vllm is untyped here
    """vLLM's, which lets the pixels go when a request's pictures are processed, and takes raw prompts with pictures."""

    async def render_chat(self, request: ChatCompletionRequest, **how: Any) -> Any:
        try:
            return await super().render_chat(request, **how)
        finally:
            release_pictures(request)

    async def render_completion(self, request: TextRequest, **how: Any) -> Any:
        try:
            return await self.preprocess_cmpl(request, request.prompts, **how)
        finally:
            request.release_pictures()


def _build(constructor: Callable[..., Any], **arguments: Any) -> Any:
    # These constructors are not a public contract: between releases they gain and lose optional arguments. One that a
    # release does not have is left out; a contract test says when that happens.
    accepted = signature(constructor).parameters
    return constructor(**{name: value for name, value in arguments.items() if name in accepted})


def _card(llm: AsyncLLM, names: tuple[str, ...], placeholder: str | None) -> ModelCard:
    return ModelCard(
        names=names,
        max_model_len=llm.model_config.max_model_len,
        supports_pictures=_sees(llm),
        parameters=known_parameters(),
        text_parameters=known_text_parameters(),
        placeholder=placeholder,
        created=int(time.time()),
    )


def _sees(llm: AsyncLLM) -> bool:
    # There are multimodal models that only hear. `vision_chunk` is what Kimi calls pictures and videos alike.
    if not llm.model_config.is_multimodal_model:
        return False
    limits = llm.renderer.get_mm_processor().info.allowed_mm_limits
    return any(limits.get(modality, 0) > 0 for modality in ("image", "vision_chunk"))
