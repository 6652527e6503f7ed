"""A vLLM engine that is loaded: prompts in, chat completions out. Built by `start`, which loads it."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest, ChatCompletionResponse
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.renderers.chat_utils import load_chat_template
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.usage.usage_lib import UsageContext
from vllm.utils.gc_utils import freeze_gc_heap
from vllm.v1.engine.async_llm import AsyncLLM

from handler.engine import ModelCard, Prompt
from handler.engines.vllm.arguments import engine_args
from handler.engines.vllm.background import in_background
from handler.engines.vllm.failures import translate, translate_answer
from handler.engines.vllm.placeholders import Neutraliser, neutraliser
from handler.engines.vllm.requests import chat_completion_request, known_parameters
from handler.engines.vllm.settings import VllmSettings
from handler.errors import EngineFailure, LumiError, StartError, Unavailable

log = logging.getLogger("lumi.engine")

STATS_SECONDS = 10  # vLLM's own server logs its throughput at this interval
STOP_SECONDS = 10

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


async def start(settings: VllmSettings) -> "Running":
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
    # tensor_parallel_degree is `max` unless it is set. Each pipeline stage needs GPUs of its own.
    stages = int(arguments.get("pipeline_parallel_size", 1))
    return {"tensor_parallel_size": max(1, torch.cuda.device_count() // stages), **arguments}


async def _serve(llm: AsyncLLM, settings: VllmSettings) -> "Running":
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
    }
    renderer = _build(OnlineRenderer, model_config=llm.model_config, renderer=llm.renderer, **shared)
    # The template is compiled and tried here rather than in the first request.
    await asyncio.to_thread(renderer.warmup)
    chat = _build(
        OpenAIServingChat,
        engine_client=llm,
        models=models,
        response_role="assistant",
        online_renderer=renderer,
        enable_prompt_tokens_details=True,
        **shared,
    )
    freeze_gc_heap()
    return Running(
        llm, chat, _card(llm.model_config, settings.names), neutraliser(llm.model_config, llm.renderer.tokenizer)
    )


def _build(constructor: Callable[..., Any], **arguments: Any) -> Any:
    # These constructors are not a public contract: between releases they gain and lose optional arguments. One that a
    # release does not have is left out; a contract test says when that happens.
    accepted = signature(constructor).parameters
    return constructor(**{name: value for name, value in arguments.items() if name in accepted})


def _card(model_config: Any, names: tuple[str, ...]) -> ModelCard:
    return ModelCard(
        names=names,
        max_model_len=model_config.max_model_len,
        supports_pictures=model_config.is_multimodal_model,
        parameters=known_parameters(),
        created=int(time.time()),
    )


@dataclass(slots=True)
class _Open:
    """A stream that vLLM has begun: its first chunk and the rest."""

    first: bytes | None
    rest: AsyncGenerator[str, None]


class Running:
    """vLLM's chat serving over a live AsyncLLM, with our errors in place of its own."""

    def __init__(self, llm: AsyncLLM, chat: OpenAIServingChat, card: ModelCard, texts: Neutraliser) -> None:
        self.card = card
        self._llm = llm
        self._chat = chat
        self._texts = texts
        self._cache = llm.renderer.mm_processor_cache
        self._chores: set[asyncio.Task[None]] = {asyncio.create_task(self._log_stats())}

    def holds(self, digest: str) -> bool:
        return self._cache is not None and self._cache.is_cached_item(digest)

    async def complete(self, prompt: Prompt) -> bytes:
        answer = await self._retried(partial(self._complete_once, prompt))
        text: str = answer.model_dump_json()
        return text.encode()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[bytes, None]:
        opened = await self._retried(partial(self._open_once, prompt))
        finished = False
        try:
            if opened.first is not None:
                yield opened.first
            async with contextlib.aclosing(opened.rest) as events:
                async for chunk in _chunks(events):
                    yield chunk
            finished = True
        finally:
            if not finished:
                self._abort(prompt.request_id)

    async def check(self) -> None:
        if self._llm.errored:
            raise translate(self._llm.dead_error)

    async def stop(self) -> None:
        for chore in self._chores:
            chore.cancel()
        if self._llm.output_handler is not None:
            # It would take the end of the engine core for a failure and log it with its traceback.
            self._llm.output_handler.cancel()
        await asyncio.to_thread(self._llm.shutdown, STOP_SECONDS)

    async def _complete_once(self, prompt: Prompt) -> ChatCompletionResponse:
        answer = await self._chat.create_chat_completion(self._request(prompt))
        if isinstance(answer, ErrorResponse):
            raise translate_answer(answer.error.message, answer.error.code, answer.error.param)
        return answer

    async def _open_once(self, prompt: Prompt) -> _Open:
        events = await self._chat.create_chat_completion(self._request(prompt))
        if isinstance(events, ErrorResponse):
            raise translate_answer(events.error.message, events.error.code, events.error.param)
        try:
            # The engine has accepted the request only when something comes out.
            return _Open(await anext(_chunks(events), None), events)
        except BaseException:
            self._abort(prompt.request_id)
            await events.aclose()
            raise

    def _request(self, prompt: Prompt) -> ChatCompletionRequest:
        return chat_completion_request(prompt, self._texts)

    async def _retried(self, attempt: Callable[[], Any]) -> Any:
        # vLLM's two caches of processed pictures may drift apart when a request dies between them; it notices, mends
        # the first and asks for a retry, which would be rude to pass on.
        try:
            return await self._translated(attempt)
        except Unavailable:
            await self.check()
            return await self._translated(attempt)

    async def _translated(self, attempt: Callable[[], Any]) -> Any:
        try:
            return await attempt()
        except Exception as fault:
            error = translate(fault)
            if isinstance(error, EngineFailure):
                log.exception("vLLM failed on a request")
            raise error from fault

    def _abort(self, request_id: str) -> None:
        # In a task of its own: whoever closes a stream may itself be cancelled at every await.
        chore = asyncio.create_task(self._llm.abort(f"chatcmpl-{request_id}"))
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def _log_stats(self) -> None:
        while True:
            await asyncio.sleep(STATS_SECONDS)
            await self._llm.do_log_stats()


async def _chunks(events: AsyncIterator[str]) -> AsyncGenerator[bytes, None]:
    """vLLM's server-sent events -> the JSON of each chunk; an error event is raised."""
    async for event in events:
        data = event.removeprefix("data: ").rstrip("\n")
        if data == "[DONE]":
            continue
        if data.startswith('{"error"'):
            error = json.loads(data)["error"]
            raise translate_answer(error["message"], error["code"], error["param"])
        yield data.encode()
