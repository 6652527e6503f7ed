"""vLLM's input of its engine core -> a RenderedPrompt; its request -> the sampling parameters that hold."""

from collections.abc import Mapping, Sequence
from typing import Any

from handler.engine import RenderedPrompt
from handler.engines.vllm.requests import ChatRequest, TextRequest

_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "min_tokens",
    "seed",
    "stop",
    "stop_token_ids",
    "ignore_eos",
)


def rendered_prompt(inputs: Mapping[str, Any]) -> RenderedPrompt:
    return RenderedPrompt(inputs["prompt_token_ids"], _tensors(inputs))


def sampling_of(request: ChatRequest | TextRequest, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """`defaults` are the model's own parameters, which hold where the request has none."""
    # The length matters to nothing here, but may not be below the minimum.
    parameters = request.to_sampling_params(max(1, request.min_tokens), dict(defaults))
    return {name: getattr(parameters, name) for name in _SAMPLING}


def _tensors(inputs: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    tensors: dict[str, list[Any]] = {}
    for items in inputs.get("mm_kwargs", {}).values():
        for item in items:
            for name, element in (item or {}).items():
                tensors.setdefault(name, []).append(element.data)
    return dict(tensors)
