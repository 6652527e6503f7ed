"""Requests drawn from the JSON schemas of vLLM's own parameters: values that fit, borders, and values of other types."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest

from handler.engines.vllm.requests import GUIDED
from handler.payload.generation import NO_EFFECT, RESPONSE_FIELDS, TRANSLATIONS
from tests.drawn import image

# They are the request itself, or clients may not send them.
_NOT_DRAWN = frozenset({"messages", "model", "prompt", "stream", "prompt_embeds", "suffix", "request_id"})
_NUMBERS = (-(2**70), -(2**63), -(2**31) - 1, -1, 0, 1, 2, 128, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**70)
_REALS = (-1e308, -1.0, -0.0, 1e-320, 1e-9, 0.5, 1.0, 2.5, 1e30, 1e308)
_TEXTS = ("", " ", "a", "a red circle", "\x00", "<image>", "é" * 300, "-1", "5", "{}", "[", "none", "auto")
_MAX_DEPTH = 4

_LEAVES = st.one_of(
    st.none(), st.booleans(), st.sampled_from(_NUMBERS), st.sampled_from(_REALS), st.sampled_from(_TEXTS)
)
ANYTHING = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_TEXTS), inner, max_size=3),
    max_leaves=5,
)
_SIMPLE = {
    "integer": st.integers(0, 60) | st.sampled_from(_NUMBERS),
    "number": st.floats(0, 2) | st.sampled_from(_NUMBERS + _REALS),
    "string": st.sampled_from(_TEXTS),
    "boolean": st.booleans(),
    "null": st.none(),
}


def _matching(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> SearchStrategy[Any]:
    """Values that mostly fit `schema`, a JSON schema as pydantic writes it in `root`."""
    if depth > _MAX_DEPTH:
        return ANYTHING
    if "$ref" in schema:
        return _matching(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root, depth + 1)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return st.one_of([_matching(choice, root, depth) for choice in choices])
    if literals := schema.get("enum") or [schema[name] for name in ("const",) if name in schema]:
        return st.sampled_from(literals)
    match schema.get("type"):
        case "array":
            values = st.lists(_matching(schema.get("items", {}), root, depth + 1), max_size=4)
        case "object":
            values = _matching_object(schema, root, depth)
        case kind:
            values = _SIMPLE.get(kind, ANYTHING)
    return values


def _matching_object(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> SearchStrategy[Any]:
    fields = {name: _matching(field, root, depth + 1) for name, field in schema.get("properties", {}).items()}
    if not fields:
        more = schema.get("additionalProperties")
        values = _matching(more, root, depth + 1) if isinstance(more, dict) else ANYTHING
        return st.dictionaries(st.sampled_from((*_TEXTS, *map(str, _NUMBERS))), values, max_size=3)
    required = {name: fields.pop(name) for name in schema.get("required", ()) if name in fields}
    return st.fixed_dictionaries(required, optional=fields)


def _mostly(values: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda chance: values if chance else ANYTHING)


def _parameters(model: Any) -> SearchStrategy[dict[str, Any]]:
    """A few parameters of vLLM's request `model`."""
    schema = model.model_json_schema()
    drawn = {name: field for name, field in schema["properties"].items() if name not in _NOT_DRAWN}
    fields = {name: _mostly(_matching(field, schema)) for name, field in drawn.items()} | dict.fromkeys(
        GUIDED, ANYTHING
    )
    one = st.sampled_from(sorted(fields)).flatmap(lambda name: fields[name].map(lambda value: (name, value)))
    return st.lists(one, min_size=1, max_size=4).map(dict)


def _chat(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "What is in the image?"}]}]}


_IMAGE = image("red", "circle")
_WITH_IMAGE = {"prompt": "<s><|user|><image>\nWhat?</s><|assistant|>", "images": [_IMAGE["image_url"]["url"]]}
_STREAM = st.sampled_from(({}, {"stream": True}))

CHATS = st.builds(
    lambda base, parameters, stream: {**base, "max_tokens": 4, **parameters, **stream},
    st.sampled_from((_chat(), _chat(_IMAGE))),
    _parameters(ChatCompletionRequest),
    _STREAM,
)
TEXTS = st.builds(
    lambda base, parameters, stream: {**base, "max_tokens": 4, **parameters, **stream},
    st.sampled_from(({"prompt": "a"}, {"prompt": ["a", "a red"]}, {"prompt": [5, 6, 7]}, _WITH_IMAGE)),
    _parameters(CompletionRequest),
    _STREAM,
)
INPUTS = st.builds(
    lambda inputs, parameters, ours, stream: {
        "inputs": inputs,
        "parameters": {"max_new_tokens": 4, **parameters, **ours},
        **stream,
    },
    st.sampled_from(("a", ["a", "a red"], _WITH_IMAGE)),
    _parameters(CompletionRequest),
    st.dictionaries(st.sampled_from(sorted({*TRANSLATIONS, *RESPONSE_FIELDS, *NO_EFFECT})), _LEAVES, max_size=2),
    _STREAM,
)
