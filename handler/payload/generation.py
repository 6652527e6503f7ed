"""LMI's text-generation schema (`inputs`, `parameters`, `stream`) -> GenerationRequest.

The schema is TGI's; LMI's documents and its async handler say which fields mean what. Parameters that vLLM knows by
their own name pass as they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from handler.errors import InvalidRequest
from handler.payload import adapter_choice
from handler.payload.completion import IMAGE_FIELDS, images, raw_text
from handler.payload.fields import expect, json_type, optional, pop_superseded_length, present, unknown_fields
from handler.payload.requests import CompletionRequest, GenerationRequest, RawText, ResponseFields

OWN = frozenset({"inputs", "parameters", "stream", "model", adapter_choice.FIELD, *IMAGE_FIELDS})
MAX_INPUTS = 1000
DEFAULT_NEW_TOKENS = 30  # LMI's default of max_new_tokens
RESPONSE_FIELDS = frozenset({"details", "decoder_input_details", "return_full_text", "top_n_tokens", "best_of"})
# TGI's and transformers' names of vLLM's parameters.
RENAMED = {
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "truncate": "truncate_prompt_tokens",
    "ignore_eos_token": "ignore_eos",
}
NO_EFFECT: Mapping[str, tuple[Any, ...]] = {  # values that ask for the default
    "n": (1,),
    "num_return_sequences": (1,),
    "typical_p": (1, 0),
}
UNSUPPORTED = {
    "n": "this schema has one completion for each input; repeat the input, or use `best_of`",
    "num_return_sequences": "this schema has one completion for each input; repeat the input, or use `best_of`",
    "typical_p": "vLLM does not support it; use `top_p` or `min_p`",
}
MISLEADING = {
    "messages": "a request has `messages` or `inputs`, not both",
    "prompt": "a request has `prompt` or `inputs`, not both",
}
MISLEADING_PARAMETERS = {
    "max_time": "OPTION_PREDICT_TIMEOUT limits the time",
    "prompt_embeds": "clients may not send it",
    "kv_transfer_params": "clients may not send it",
    "ec_transfer_params": "clients may not send it",
}
PATH = "parameters"


def parse_generation_request(
    payload: Mapping[str, Any], known: frozenset[str], adapter: str | None = None
) -> GenerationRequest:
    """Parse a request of the text-generation schema. `known` are the parameters that the engine knows, `adapter` is the one
    that the header names.

    `inputs` is a text, `{"prompt": ..., "images": [...]}`, or a list of either. Raises InvalidRequest with the JSON path
    of the first fault.
    """
    payload = present(payload)
    ignored = unknown_fields(payload, OWN, MISLEADING)
    given = present(optional(payload, "parameters", dict, "", "an object") or {})
    stream = _stream(payload, given)
    texts, is_list = _texts(payload)
    if stream and len(texts) > 1:
        raise InvalidRequest("A stream answers one input; send one request for each.", param="inputs")
    chosen = _adapters(payload, given, len(texts), adapter)
    unknown = [*pop_superseded_length(given), *_unknown(given, known)]
    fields = _response_fields(given, stream=stream)
    one = CompletionRequest(
        texts=(),
        model=optional(payload, "model", str, "", "a string") or None,
        stream=stream,
        parameters=_parameters(
            {name: value for name, value in given.items() if name not in unknown}, fields, stream=stream
        ),
    )
    return GenerationRequest(
        completions=tuple(
            replace(one, texts=(text,), adapter=choice) for text, choice in zip(texts, chosen, strict=True)
        ),
        is_list=is_list,
        fields=fields,
        stream=stream,
        ignored=(*ignored, *(f"{PATH}.{name}" for name in unknown)),
    )


def parameter_path(name: str | None, fields: ResponseFields) -> str | None:
    """The JSON path of the parameter that the engine calls `name`."""
    theirs = {ours: name for name, ours in RENAMED.items()} | {"n": "best_of"}
    if fields.top_tokens:
        theirs["logprobs"] = "top_n_tokens"
    if name is None:
        return None
    return f"{PATH}.{'grammar' if name.startswith('structured_outputs') else theirs.get(name, name)}"


def _stream(payload: Mapping[str, Any], given: dict[str, Any]) -> bool:
    """Whether the response streams. Some clients write `stream` among the parameters; it is removed from `given`."""
    top_level = optional(given, "stream", bool, PATH, "true or false")
    given.pop("stream", None)
    own = optional(payload, "stream", bool, "", "true or false")
    if own is not None and top_level is not None and own != top_level:
        raise InvalidRequest(f"`stream` and `{PATH}.stream` disagree; send one of them.", param=f"{PATH}.stream")
    return bool(own if own is not None else top_level)


def _texts(payload: Mapping[str, Any]) -> tuple[tuple[RawText, ...], bool]:
    inputs = payload.get("inputs")
    top_level = images(payload, "")
    if not isinstance(inputs, list):
        only = raw_text(inputs, "inputs")
        return (replace(only, images=(*only.images, *top_level)),), False
    if not inputs:
        raise InvalidRequest("`inputs` is an empty list; it needs at least one text.", param="inputs")
    if len(inputs) > MAX_INPUTS:
        raise InvalidRequest(f"`inputs` has {len(inputs)} texts; the maximum is {MAX_INPUTS}.", param="inputs")
    if top_level:
        cure = 'give each its own: {"prompt": "...", "images": ["..."]}'
        raise InvalidRequest(f"Images beside a list of inputs are ambiguous; {cure}.", param=top_level[0].path)
    return tuple(raw_text(one, f"inputs[{i}]") for i, one in enumerate(inputs)), True


def _adapters(
    payload: Mapping[str, Any], given: dict[str, Any], count: int, header: str | None
) -> tuple[adapter_choice.Choice | None, ...]:
    by_parameter = adapter_choice.pop_adapter_id(given)
    if by_parameter is None:
        return adapter_choice.adapters_of(payload, count, header)
    if payload.get(adapter_choice.FIELD) is not None:
        raise InvalidRequest(
            f"`{adapter_choice.FIELD}` and `{by_parameter.path}` both name an adapter; send one of them.",
            param=by_parameter.path,
        )
    return (adapter_choice.match_header(by_parameter, header),) * count


def _unknown(given: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    for name, no_effect in NO_EFFECT.items():
        if (value := given.get(name)) is not None and value not in no_effect:
            raise InvalidRequest(f"`{PATH}.{name}` is {value!r}: {UNSUPPORTED[name]}.", param=f"{PATH}.{name}")
    ours = {*TRANSLATIONS, *RESPONSE_FIELDS, *NO_EFFECT}
    return unknown_fields(given, (known - {"prompt", "model", "stream"}) | ours, MISLEADING_PARAMETERS, PATH)


def _response_fields(given: Mapping[str, Any], *, stream: bool) -> ResponseFields:
    def flag(name: str) -> bool:
        return optional(given, name, bool, PATH, "true or false") or False

    fields = ResponseFields(
        details=flag("details"),
        prompt_details=flag("details") and flag("decoder_input_details"),
        full_text=flag("return_full_text"),
        top_tokens=_count(given, "top_n_tokens", 0),
        best_of=_count(given, "best_of", 1),
        seed=_whole(given, "seed"),
    )
    if stream and fields.best_of > 1:
        raise InvalidRequest(
            "`best_of` cannot stream: the best completion is known only at the end.", param=f"{PATH}.best_of"
        )
    return fields


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


def _parameters(given: Mapping[str, Any], fields: ResponseFields, *, stream: bool) -> dict[str, Any]:
    """The parameters of vLLM's completions: those in `given`, and what the fields of the response need."""
    ours = {*TRANSLATIONS, *RESPONSE_FIELDS, *NO_EFFECT}
    parameters = {name: value for name, value in given.items() if name not in ours and value is not None}
    for name, translate in TRANSLATIONS.items():
        if given.get(name) is not None:
            translate(parameters, given, name)
    if "max_length" not in parameters:
        parameters.setdefault("max_tokens", DEFAULT_NEW_TOKENS)
    if "truncate_prompt_tokens" in parameters:
        parameters.setdefault("truncation_side", "left")  # the question is at the end
    if fields.best_of > 1:
        if parameters.get("use_beam_search"):
            raise InvalidRequest("Beam search and `best_of` exclude each other.", param=f"{PATH}.best_of")
        parameters["n"] = fields.best_of
    if fields.details or stream or fields.best_of > 1:
        # Any number of log probabilities includes that of the chosen token.
        parameters["logprobs"] = max(fields.top_tokens, _count(given, "logprobs", 0))
    if fields.prompt_details:
        parameters.setdefault("prompt_logprobs", 0)
    return parameters


def _rename(new: str, parameters: dict[str, Any], given: Mapping[str, Any], name: str) -> None:
    parameters[new] = given[name]


def _translate_do_sample(parameters: dict[str, Any], given: Mapping[str, Any], name: str) -> None:
    if not expect(given, name, bool, PATH, "true or false"):
        parameters["temperature"] = 0.0


def _translate_stop(parameters: dict[str, Any], given: Mapping[str, Any], name: str) -> None:
    stop = given[name]
    if isinstance(stop, str):
        stop = [stop] if stop else []
    if not isinstance(stop, list) or not all(isinstance(one, str) for one in stop):
        where = f"{PATH}.{name}"
        raise InvalidRequest(f"`{where}` is {json_type(stop)}; it must be a string or a list of strings.", param=where)
    parameters["stop"] = [*parameters.get("stop", ()), *stop]


def _translate_eos_token(parameters: dict[str, Any], given: Mapping[str, Any], name: str) -> None:
    end = given[name]
    others = optional(given, "stop_token_ids", list, PATH, "a list of token ids") or []
    parameters["stop_token_ids"] = [*others, *(end if isinstance(end, list) else [end])]


def _translate_grammar(parameters: dict[str, Any], given: Mapping[str, Any], name: str) -> None:
    where = f"{PATH}.{name}"
    grammar = expect(given, name, dict, PATH, "an object with `type` and `value`")
    kind = expect(grammar, "type", str, where, "json or regex")
    if kind not in ("json", "regex") or "value" not in grammar:
        raise InvalidRequest(f"`{where}` must be an object with the `type` json or regex and a `value`.", param=where)
    parameters["structured_outputs"] = {kind: grammar["value"]}


def _translate_beams(parameters: dict[str, Any], given: Mapping[str, Any], name: str) -> None:
    if (beams := _count(given, name, 1)) > 1:
        parameters |= {"use_beam_search": True, "n": beams}


# The parameters that vLLM has by another name, or in another form.
TRANSLATIONS: Mapping[str, Callable[[dict[str, Any], Mapping[str, Any], str], None]] = {
    **{name: partial(_rename, new) for name, new in RENAMED.items()},
    "do_sample": _translate_do_sample,
    "stop": _translate_stop,
    "stop_sequences": _translate_stop,
    "eos_token_id": _translate_eos_token,
    "grammar": _translate_grammar,
    "num_beams": _translate_beams,
}
