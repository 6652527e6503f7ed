"""The parameters of a request -> what its response contains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseOptions:
    """What a response contains besides the text.

    `likeliest` is how many likely tokens stand beside each log probability, None for all that the engine has;
    `prompt_logprobs` whether the prompt has log probabilities. `ids_as_tokens` writes a token as `token_id:5`.
    """

    n: int
    logprobs: bool
    likeliest: int | None
    prompt_logprobs: bool
    ids_as_tokens: bool
    token_ids: bool
    echo: bool
    usage: bool
    continuous_usage: bool


def chat_options(parameters: Mapping[str, Any]) -> ResponseOptions:
    """The options of a chat completion: `logprobs` is a boolean, and `top_logprobs` a number."""
    echo = flag(parameters, "echo")
    return ResponseOptions(
        logprobs=flag(parameters, "logprobs"),
        likeliest=_likeliest(parameters, number(parameters, "top_logprobs") or 0),
        prompt_logprobs=echo or parameters.get("prompt_logprobs") is not None,
        echo=echo,
        **_common(parameters),
    )


def text_options(parameters: Mapping[str, Any]) -> ResponseOptions:
    """The options of a text completion: `logprobs` is a number, and the chosen token comes in addition."""
    echo = flag(parameters, "echo")
    logprobs = number(parameters, "logprobs")
    asked = logprobs is not None
    return ResponseOptions(
        logprobs=asked,
        likeliest=_likeliest(parameters, -1 if logprobs == -1 else (logprobs or 0) + 1),
        prompt_logprobs=(echo and asked) or parameters.get("prompt_logprobs") is not None,
        echo=echo,
        **_common(parameters),
    )


def flag(parameters: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    """A boolean parameter. Engines take `"true"` and 1 for one as well, and refuse what is none."""
    value = parameters.get(name)
    if value is None:
        return default
    return value.lower() in _TRUE if isinstance(value, str) else bool(value)


def number(parameters: Mapping[str, Any], name: str) -> int | None:
    """A whole number, which engines take as a string, too; None for what is none, which they refuse."""
    try:
        return int(parameters.get(name))  # type: ignore[arg-type]  # its TypeError is caught
    except (TypeError, ValueError, OverflowError):
        return None


def _common(parameters: Mapping[str, Any]) -> dict[str, Any]:
    stream_options = parameters.get("stream_options")
    streamed: Mapping[str, Any] = stream_options if isinstance(stream_options, Mapping) else {}
    usage = flag(streamed, "include_usage")
    return {
        "n": number(parameters, "n") or 1,
        "ids_as_tokens": flag(parameters, "return_tokens_as_token_ids"),
        "token_ids": flag(parameters, "return_token_ids"),
        "usage": usage,
        "continuous_usage": usage and flag(streamed, "continuous_usage_stats"),
    }


def _likeliest(parameters: Mapping[str, Any], count: int) -> int | None:
    return None if count == -1 or parameters.get("logprob_token_ids") else count
