"""The fields of a request -> Sampling, checked; an error names the field.

The names and defaults are those of vLLM's server, so that a client need not know which engine answers it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from handler.engine import ChatPrompt, Prompt
from handler.errors import InvalidRequest

MAX_COMPLETIONS = 128  # of one prompt
MAX_LOGPROBS = 20
MAX_STOP_STRINGS = 16
TEXT_TOKENS = 16  # of a text completion that does not say; OpenAI's number


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the tokens of a completion are chosen and when it ends. `max_tokens` None is the rest of the context, or of
    `max_length`, which counts the prompt too.
    `logprobs` is how many of the likeliest tokens are reported with each token, None for no log probability at all."""

    n: int = 1
    max_tokens: int | None = None
    max_length: int | None = None
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    logprobs: int | None = None


_LARGEST = 1e300  # JSON has whole numbers that no float holds


@dataclass(frozen=True, slots=True)
class _Range:
    """The numbers that a field may have. `above` excludes `low` itself."""

    kind: type
    low: float
    high: float = math.inf
    above: bool = False

    def __str__(self) -> str:
        what = "a whole number" if self.kind is int else "a number"
        upper = f" and at most {self.high:g}" if self.high < math.inf else ""
        return f"{what} {'above' if self.above else 'of at least'} {self.low:g}{upper}"

    def read(self, value: Any, path: str) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and self.kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        fits = is_number and (self.kind is float or isinstance(value, int)) and self.low <= value <= self.high
        fits = fits and not (self.kind is float and abs(value) > _LARGEST)
        if not fits or (self.above and value == self.low):
            raise InvalidRequest(f"`{path}` is {value!r}; it must be {self}.", param=path)
        return self.kind(value)


NUMBERS: Mapping[str, _Range] = {
    "n": _Range(int, 1, MAX_COMPLETIONS),
    "max_tokens": _Range(int, 1),
    "max_completion_tokens": _Range(int, 1),
    "max_length": _Range(int, 1),
    "min_tokens": _Range(int, 0),
    "temperature": _Range(float, 0, 100),
    "top_p": _Range(float, 0, 1, above=True),
    "top_k": _Range(int, -1),
    "min_p": _Range(float, 0, 1),
    "repetition_penalty": _Range(float, 0.01, 100),
    "seed": _Range(int, -(2**63), 2**63 - 1),
}
FLAGS = ("ignore_eos", "include_stop_str_in_output", "skip_special_tokens")
OF_CHAT_TEMPLATE = ("add_generation_prompt", "continue_final_message", "chat_template_kwargs")

# Fields that this engine does not have, each with the values that ask for nothing.
REFUSED: Mapping[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "documents": ([],),
    "chat_template": (),
    "response_format": ({"type": "text"},),
    "structured_outputs": ({},),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "length_penalty": (1,),
    "use_beam_search": (False,),
    "best_of": (1,),
    "allowed_token_ids": (),
    "bad_words": ([],),
    "logprob_token_ids": (),
    "prompt_logprobs": (),
    "echo": (False,),
    "truncate_prompt_tokens": (),
    "truncation_side": (),
    "reasoning_effort": (),
    "thinking_token_budget": (),
    "mm_processor_kwargs": ({},),
    "media_io_kwargs": ({},),
    "spaces_between_special_tokens": (True,),
    "vllm_xargs": ({},),
}
# Fields that change no answer here: there is no prefix cache, no priority and no reasoning.
HARMLESS = frozenset({"user", "cache_salt", "priority", "parallel_tool_calls", "include_reasoning", "request_id"})

# Fields that say how the completion is written, which the engine need not know.
OF_THE_RESPONSE = frozenset({"stream_options", "return_token_ids", "return_tokens_as_token_ids", "return_prompt_text"})

_TOKEN_ID = re.compile(r"[0-9]{1,10}")

_COMMON = {*NUMBERS, *FLAGS, *REFUSED, *HARMLESS, *OF_THE_RESPONSE}
_COMMON |= {"stop", "stop_token_ids", "logit_bias", "logprobs", "add_special_tokens"}
CHAT_PARAMETERS = frozenset({*_COMMON, *OF_CHAT_TEMPLATE, "top_logprobs"})
TEXT_PARAMETERS = frozenset(_COMMON - {"max_completion_tokens", "tools", "tool_choice", "chat_template", "documents"})


def read_sampling(prompt: Prompt, defaults: Mapping[str, Any]) -> Sampling:
    """The sampling that a prompt asks for; `defaults` are the model's. Raises InvalidRequest."""
    given = {name: value for name, value in prompt.parameters.items() if value is not None}
    _refuse(given)
    values: dict[str, Any] = {name: value for name, value in defaults.items() if name in _FIELDS}
    values |= {name: numbers.read(given[name], name) for name, numbers in NUMBERS.items() if name in given}
    values |= {name: read_flag(given, name) for name in FLAGS if name in given}
    values["max_tokens"] = values.pop("max_completion_tokens", values.get("max_tokens"))
    values["top_k"] = max(values.get("top_k", 0), 0)
    values["stop"] = _stop_strings(given.get("stop"))
    values["stop_token_ids"] = _token_ids(given.get("stop_token_ids"), "stop_token_ids")
    values["logit_bias"] = _logit_bias(given.get("logit_bias"))
    values["logprobs"] = _chat_logprobs(given) if isinstance(prompt, ChatPrompt) else _text_logprobs(given)
    if values["max_tokens"] is None and "max_length" not in values and not isinstance(prompt, ChatPrompt):
        values["max_tokens"] = TEXT_TOKENS
    sampling = Sampling(**values)
    if sampling.max_tokens is not None and sampling.min_tokens > sampling.max_tokens:
        raise InvalidRequest(
            f"`min_tokens` is {sampling.min_tokens}, more than the {sampling.max_tokens} tokens of `max_tokens`.",
            param="min_tokens",
        )
    return sampling


_FIELDS = frozenset(one.name for one in fields(Sampling))


def read_flag(given: Mapping[str, Any], name: str) -> bool:
    """The boolean field `name`. Raises InvalidRequest."""
    value = given[name]
    if not isinstance(value, bool):
        raise InvalidRequest(f"`{name}` is {value!r}; it must be true or false.", param=name)
    return value


def _refuse(given: Mapping[str, Any]) -> None:
    for name, neutral in REFUSED.items():
        if name in given and given[name] not in neutral:
            raise InvalidRequest(
                f"`{name}` is not supported for this model, which transformers runs and not vLLM; remove the field.",
                param=name,
            )


def _stop_strings(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise InvalidRequest("`stop` must be a text that is not empty, or a list of such texts.", param="stop")
    if len(stops) > MAX_STOP_STRINGS:
        raise InvalidRequest(f"`stop` has {len(stops)} texts; the maximum is {MAX_STOP_STRINGS}.", param="stop")
    return tuple(stops)


def _token_ids(value: Any, path: str) -> tuple[int, ...]:
    ids = value or []
    if not isinstance(ids, list) or not all(type(one) is int and one >= 0 for one in ids):
        raise InvalidRequest(f"`{path}` must be a list of token ids.", param=path)
    return tuple(ids)


def _logit_bias(value: Any) -> Mapping[int, float]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest('`logit_bias` must be an object such as {"42": -100}.', param="logit_bias")
    bias = _Range(float, -100, 100)
    if strange := next((key for key in value if not _TOKEN_ID.fullmatch(key)), None):
        raise InvalidRequest(f"`logit_bias` has the key {strange[:40]!r}; its keys are token ids.", param="logit_bias")
    return {int(key): bias.read(number, f"logit_bias.{key}") for key, number in value.items()}


def _chat_logprobs(given: Mapping[str, Any]) -> int | None:
    wanted = "logprobs" in given and read_flag(given, "logprobs")
    top = _Range(int, 0, MAX_LOGPROBS).read(given["top_logprobs"], "top_logprobs") if "top_logprobs" in given else 0
    if top and not wanted:
        raise InvalidRequest("`top_logprobs` needs `logprobs` to be true.", param="top_logprobs")
    return int(top) if wanted else None


def _text_logprobs(given: Mapping[str, Any]) -> int | None:
    value = given.get("logprobs")
    if value is None or value is False:
        return None
    return int(_Range(int, 0, MAX_LOGPROBS).read(value, "logprobs"))
