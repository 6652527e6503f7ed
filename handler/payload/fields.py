"""Fields of a JSON object, checked: an error says the JSON path, what is wrong and what is expected."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from handler.errors import InvalidRequest

MAX_UNKNOWN_FIELDS = 50  # clients of other servers send fewer
NEW_TOKENS = ("max_tokens", "max_completion_tokens", "max_new_tokens")
# Other servers' own parameters that resemble one of vLLM's: OpenRouter's fallbacks, NVIDIA's templates, transformers' tokens
# (their references, 2026-11-22). They are not misspelt.
FOREIGN = frozenset({"models", "chat_template_args", "bos_token_id", "return_tokens", "stop_tokens"})


def expect(holder: Mapping[str, Any], name: str, kind: type, path: str, what: str) -> Any:
    """The field `name` of the object at `path`, which must be a `kind`. Raises InvalidRequest."""
    where = f"{path}.{name}" if path else name
    if name not in holder:
        raise InvalidRequest(f"`{where}` is missing; it must be {what}.", param=where)
    value = holder[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InvalidRequest(f"`{where}` is {json_type(value)}; it must be {what}.", param=where)
    return value


def optional(holder: Mapping[str, Any], name: str, kind: type, path: str, what: str) -> Any:
    """As `expect`; None if the field is missing or null."""
    return None if holder.get(name) is None else expect(holder, name, kind, path, what)


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are not null: clients write null for what they leave to the server."""
    return {name: value for name, value in fields.items() if value is not None}


def pop_superseded_length(parameters: dict[str, Any]) -> list[str]:
    """Remove `max_length`, which counts the prompt too, where the number of new tokens is given: as in transformers 5.19
    (generation/utils.py, 2026-11-22) that one holds. The names that have no effect."""
    superseded = "max_length" in parameters and not parameters.keys().isdisjoint(NEW_TOKENS)
    return ["max_length"] if superseded and parameters.pop("max_length") else []


def unknown_fields(
    fields: Mapping[str, Any], known: Collection[str], misleading: Mapping[str, str], path: str = ""
) -> list[str]:
    """The names of `fields` that are not `known`.

    Raises InvalidRequest for a name that is a known one misspelt, and for a `misleading` one; its value is the cure.
    """
    prefix = f"{path}." if path else ""
    for name in misleading.keys() & fields.keys():
        raise InvalidRequest(f"`{prefix}{name}` is not supported: {misleading[name]}.", param=f"{prefix}{name}")
    unknown = sorted(fields.keys() - set(known) - misleading.keys())
    if len(unknown) > MAX_UNKNOWN_FIELDS:
        raise InvalidRequest(f"The body has {len(unknown)} unknown fields, such as `{shorten(unknown[0])}`.")
    for name in unknown:
        near = get_close_matches(name, known, n=1, cutoff=0.88) if len(name) < 40 and name not in FOREIGN else []
        if near:
            raise InvalidRequest(
                f"`{prefix}{name}` is not a parameter; did you mean `{near[0]}`?", param=f"{prefix}{name}"
            )
    return unknown


def shorten(text: str) -> str:
    """At most 80 characters of `text`, for an error message."""
    return text if len(text) <= 80 else f"{text[:80]}..."


_JSON_TYPES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def json_type(value: Any) -> str:
    """The type of a JSON value, with its article."""
    return _JSON_TYPES.get(type(value), "null")
