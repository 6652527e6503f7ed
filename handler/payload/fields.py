"""A JSON object's fields, read with the JSON path and the sentence of whatever is wrong with one."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from handler.errors import InvalidRequest

MAX_UNKNOWN_FIELDS = 50  # fields without a meaning; no client of another server sends more


def expect(holder: Mapping[str, Any], name: str, kind: type, path: str, what: str) -> Any:
    """The field `name` of the object at `path`, which must be a `kind`. Raises InvalidRequest."""
    where = f"{path}.{name}" if path else name
    if name not in holder:
        raise InvalidRequest(f"`{where}` is missing; it must be {what}.", param=where)
    value = holder[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InvalidRequest(f"`{where}` is {kind_of(value)}; it must be {what}.", param=where)
    return value


def optional(holder: Mapping[str, Any], name: str, kind: type, path: str, what: str) -> Any:
    """As `expect`, or None where there is none."""
    return None if holder.get(name) is None else expect(holder, name, kind, path, what)


def unknown_fields(
    fields: Mapping[str, Any], known: Collection[str], misleading: Mapping[str, str], path: str = ""
) -> list[str]:
    """The fields that are not `known`, which have no meaning here.

    Raises InvalidRequest for one that nearly is known, and for a `misleading` one: its value is the cure.
    """
    prefix = f"{path}." if path else ""
    for name in misleading.keys() & fields.keys():
        if fields[name] is not None:
            raise InvalidRequest(f"`{prefix}{name}` has no meaning here: {misleading[name]}.", param=f"{prefix}{name}")
    unknown = sorted(fields.keys() - set(known) - misleading.keys())
    if len(unknown) > MAX_UNKNOWN_FIELDS:
        raise InvalidRequest(f"The body has {len(unknown)} fields without a meaning; `{short(unknown[0])}` is one.")
    for name in unknown:
        near = get_close_matches(name, known, n=1, cutoff=0.85) if len(name) < 40 else []
        if near:
            raise InvalidRequest(
                f"`{prefix}{name}` is not a parameter; did you mean `{near[0]}`?", param=f"{prefix}{name}"
            )
    return unknown


def short(text: str) -> str:
    """`text` as far as a sentence may quote it."""
    return text if len(text) <= 80 else f"{text[:80]}..."


_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


def kind_of(value: Any) -> str:
    """What a JSON value is, in a sentence."""
    return _KINDS.get(type(value), "null")
