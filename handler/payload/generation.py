"""LMI's text-generation schema (`inputs`, `parameters`, `stream`) -> GenerationRequest.

The schema is TGI's; LMI's documents and its async handler say which fields mean what. Parameters that vLLM knows by
their own name pass as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from handler.errors import InvalidRequest
from handler.payload import adapter_choice as adapters
from handler.payload.completion import IMAGES, CompletionRequest, RawText, images, raw_text
from handler.payload.fields import expect, kind_of, optional, unknown_fields

OWN = frozenset({"inputs", "parameters", "stream", "model", adapters.FIELD, *IMAGES})
MOST_INPUTS = 1000
NEW_TOKENS = 30  # LMI's max_new_tokens, where a request has none
# TGI's and transformers' names of what vLLM calls otherwise.
RENAMED = {
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "truncate": "truncate_prompt_tokens",
    "ignore_eos_token": "ignore_eos",
}
WANTED = frozenset({"details", "decoder_input_details", "return_full_text", "top_n_tokens", "best_of"})
TRANSLATED = frozenset({"do_sample", "stop_sequences", "num_beams", "eos_token_id", "grammar"})
NO_EFFECT: Mapping[str, tuple[Any, ...]] = {  # values that ask for what happens anyway
    "n": (1,),
    "num_return_sequences": (1,),
    "typical_p": (1, 0),
    "watermark": (False,),
}
REFUSED = {
    "n": "an input has one answer in this schema; repeat the input, or use `best_of`",
    "num_return_sequences": "an input has one answer in this schema; repeat the input, or use `best_of`",
    "typical_p": "vLLM does not sample so; use `top_p` or `min_p`",
    "watermark": "vLLM puts no watermark into text",
}
MISLEADING = {
    "messages": "a request has `messages` or `inputs`, not both",
    "prompt": "a request has `prompt` or `inputs`, not both",
}
MISLEADING_PARAMETERS = {
    "max_length": "use `max_new_tokens`, which counts the answer alone",
    "max_time": "OPTION_PREDICT_TIMEOUT bounds the time",
    "prompt_embeds": "it is not taken from clients",
    "kv_transfer_params": "it is not taken from clients",
    "ec_transfer_params": "it is not taken from clients",
}
PATH = "parameters"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the answer is to hold beside the generated text. `likeliest` is `top_n_tokens`."""

    details: bool = False
    prompt_details: bool = False
    full_text: bool = False
    likeliest: int = 0
    best_of: int = 1
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One completion for each input. `many` is whether the client sent a list, and so gets one."""

    completions: tuple[CompletionRequest, ...]
    many: bool
    wanted: Wanted
    stream: bool
    ignored: tuple[str, ...] = ()


def generation_request(
    payload: Mapping[str, Any], known: frozenset[str], adapter: str | None = None
) -> GenerationRequest:
    """Read a request of the text-generation schema; `known` are the parameters that the engine gives a meaning to, and
    `adapter` is what the header names.

    `inputs` is a text, `{"prompt": ..., "images": [...]}`, or a list of either. Raises InvalidRequest with the JSON path
    of the first fault.
    """
    ignored = unknown_fields(payload, OWN, MISLEADING)
    given = dict(optional(payload, "parameters", dict, "", "an object") or {})
    stream = _stream(payload, given)
    texts, many = _texts(payload)
    if stream and len(texts) > 1:
        raise InvalidRequest("A stream answers one input; send one request for each.", param="inputs")
    chosen = _adapters(payload, given, len(texts), adapter)
    unknown = _unknown(given, known)
    wanted = _wanted(given, stream=stream)
    one = CompletionRequest(
        texts=(),
        model=optional(payload, "model", str, "", "a string"),
        stream=stream,
        parameters=_parameters({name: value for name, value in given.items() if name not in unknown}, wanted, stream),
    )
    return GenerationRequest(
        completions=tuple(
            replace(one, texts=(text,), adapter=choice) for text, choice in zip(texts, chosen, strict=True)
        ),
        many=many,
        wanted=wanted,
        stream=stream,
        ignored=(*ignored, *(f"{PATH}.{name}" for name in unknown)),
    )


def path_of(name: str | None, wanted: Wanted) -> str | None:
    """The JSON path of what the engine calls `name`, where that is a parameter."""
    theirs = {ours: name for name, ours in RENAMED.items()} | {"n": "best_of"}
    if wanted.likeliest:
        theirs["logprobs"] = "top_n_tokens"
    if name is None:
        return None
    return f"{PATH}.{'grammar' if name.startswith('structured_outputs') else theirs.get(name, name)}"


def _stream(payload: Mapping[str, Any], given: dict[str, Any]) -> bool:
    """Whether the answer streams, which some clients write among the parameters; it is taken out of them."""
    beside = optional(given, "stream", bool, PATH, "true or false")
    given.pop("stream", None)
    own = optional(payload, "stream", bool, "", "true or false")
    if own is not None and beside is not None and own != beside:
        raise InvalidRequest(f"`stream` and `{PATH}.stream` disagree; send one of them.", param=f"{PATH}.stream")
    return bool(own if own is not None else beside)


def _texts(payload: Mapping[str, Any]) -> tuple[tuple[RawText, ...], bool]:
    inputs = payload.get("inputs")
    beside = images(payload, "")
    if not isinstance(inputs, list):
        only = raw_text(inputs, "inputs")
        return (replace(only, images=(*only.images, *beside)),), False
    if not inputs:
        raise InvalidRequest("`inputs` is an empty list; it needs at least one text.", param="inputs")
    if len(inputs) > MOST_INPUTS:
        raise InvalidRequest(f"`inputs` has {len(inputs)} texts; at most {MOST_INPUTS} are taken.", param="inputs")
    if beside:
        cure = 'give each its own: {"prompt": "...", "images": ["..."]}'
        raise InvalidRequest(f"Images beside several inputs belong to none of them; {cure}.", param=beside[0].path)
    return tuple(raw_text(one, f"inputs[{i}]") for i, one in enumerate(inputs)), True


def _adapters(
    payload: Mapping[str, Any], given: dict[str, Any], count: int, header: str | None
) -> tuple[adapters.Choice | None, ...]:
    by_parameter = adapters.parameter(given)
    if by_parameter is None:
        return adapters.adapters_of(payload, count, header)
    if payload.get(adapters.FIELD) is not None:
        raise InvalidRequest(
            f"`{adapters.FIELD}` and `{by_parameter.path}` both name an adapter; send one of them.",
            param=by_parameter.path,
        )
    return (adapters.agreed(by_parameter, header),) * count


def _unknown(given: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    for name, no_effect in NO_EFFECT.items():
        if (value := given.get(name)) is not None and value not in no_effect:
            raise InvalidRequest(f"`{PATH}.{name}` is {value!r}: {REFUSED[name]}.", param=f"{PATH}.{name}")
    ours = {*RENAMED, *WANTED, *TRANSLATED, *NO_EFFECT}
    return unknown_fields(given, (known - {"prompt", "model", "stream"}) | ours, MISLEADING_PARAMETERS, PATH)


def _wanted(given: Mapping[str, Any], *, stream: bool) -> Wanted:
    def flag(name: str) -> bool:
        return optional(given, name, bool, PATH, "true or false") or False

    wanted = Wanted(
        details=flag("details"),
        prompt_details=flag("details") and flag("decoder_input_details"),
        full_text=flag("return_full_text"),
        likeliest=_count(given, "top_n_tokens", 0),
        best_of=_count(given, "best_of", 1),
        seed=_whole(given, "seed"),
    )
    if stream and wanted.best_of > 1:
        raise InvalidRequest(
            "The best of several answers is known at the end: it cannot stream.", param=f"{PATH}.best_of"
        )
    return wanted


def _count(given: Mapping[str, Any], name: str, least: int) -> int:
    value = _whole(given, name)
    if value is not None and value < least:
        raise InvalidRequest(f"`{PATH}.{name}` is {value}; it must be at least {least}.", param=f"{PATH}.{name}")
    return least if value is None else value


def _whole(given: Mapping[str, Any], name: str) -> int | None:
    value = given.get(name)
    if isinstance(value, float) and value.is_integer():  # vLLM takes 5.0 for 5 as well
        return int(value)
    number: int | None = optional(given, name, int, PATH, "a whole number")
    return number


def _parameters(given: Mapping[str, Any], wanted: Wanted, stream: bool) -> dict[str, Any]:
    """`given` by the names of vLLM's completions, with what the answer's details need."""
    ours = {*RENAMED, *WANTED, *TRANSLATED, *NO_EFFECT}
    parameters = {name: value for name, value in given.items() if name not in ours and value is not None}
    for theirs, name in RENAMED.items():
        if given.get(theirs) is not None:
            parameters[name] = given[theirs]
    parameters.setdefault("max_tokens", NEW_TOKENS)
    if "truncate_prompt_tokens" in parameters:
        parameters.setdefault("truncation_side", "left")  # what is asked comes last
    if optional(given, "do_sample", bool, PATH, "true or false") is False:
        parameters["temperature"] = 0.0
    if stops := [*_listed(given, "stop"), *_listed(given, "stop_sequences")]:
        parameters["stop"] = stops
    if (end := given.get("eos_token_id")) is not None:
        others = optional(given, "stop_token_ids", list, PATH, "a list of token ids") or []
        parameters["stop_token_ids"] = [*others, *(end if isinstance(end, list) else [end])]
    if (grammar := optional(given, "grammar", dict, PATH, "an object with `type` and `value`")) is not None:
        parameters["structured_outputs"] = _structure(grammar)
    parameters |= _sequences(given, wanted)
    if wanted.details or stream or wanted.best_of > 1:
        # The log probability of the chosen token comes with any number, the likeliest up to it.
        parameters["logprobs"] = max(wanted.likeliest, _count(given, "logprobs", 0))
    if wanted.prompt_details:
        parameters.setdefault("prompt_logprobs", 0)
    return parameters


def _sequences(given: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    beams = _count(given, "num_beams", 1)
    if beams == 1:
        return {"n": wanted.best_of} if wanted.best_of > 1 else {}
    if wanted.best_of > 1:
        raise InvalidRequest("`num_beams` finds the best of its beams; leave `best_of` out.", param=f"{PATH}.best_of")
    return {"use_beam_search": True, "n": beams}


def _structure(grammar: Mapping[str, Any]) -> dict[str, Any]:
    kind = expect(grammar, "type", str, f"{PATH}.grammar", "json or regex")
    if kind not in ("json", "regex") or "value" not in grammar:
        raise InvalidRequest(
            f"`{PATH}.grammar` must be an object with the `type` json or regex and a `value`.", param=f"{PATH}.grammar"
        )
    return {kind: grammar["value"]}


def _listed(given: Mapping[str, Any], name: str) -> list[str]:
    value = given.get(name)
    if value is None or isinstance(value, str):
        return [value] if value else []
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    where = f"{PATH}.{name}"
    raise InvalidRequest(f"`{where}` is {kind_of(value)}; it must be a string or a list of strings.", param=where)
