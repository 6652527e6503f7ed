"""The adapter that a request chooses: by SageMaker's header, LMI's `adapters` or TGI's `adapter_id`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handler.errors import InvalidRequest
from handler.payload.fields import json_type, shorten

FIELD = "adapters"
TGI_FIELD = "adapter_id"  # among the parameters
HEADER = "X-Amzn-SageMaker-Adapter-Identifier"


@dataclass(frozen=True, slots=True)
class Choice:
    """The name of an adapter and where the request names it: a JSON path or the header."""

    name: str
    path: str


def names(payload: Mapping[str, Any], header: str | None) -> tuple[str | None, ...]:
    """The adapters that a request may name, unchecked: one, or one for each input. None stands for the model."""
    parameters = payload.get("parameters") if "inputs" in payload else None  # as the parsers read it
    by_parameter = parameters.get(TGI_FIELD) if isinstance(parameters, Mapping) else None
    instead = by_parameter or payload.get("model")
    named = header or payload.get(FIELD) or instead
    listed = (name or instead for name in named) if isinstance(named, list) else [named]
    return tuple(name if name and isinstance(name, str) else None for name in listed)


def adapter_of(payload: Mapping[str, Any], header: str | None) -> Choice | None:
    """The adapter of a request with one prompt, or with several that share an adapter. Raises InvalidRequest."""
    value = payload.get(FIELD)
    choices = _choices(value) if isinstance(value, list) else [_choice(value, FIELD)]
    if len({choice.name if choice else None for choice in choices}) > 1:
        raise InvalidRequest(
            f"`{FIELD}` names several adapters for one prompt. Send one name, or a list of `inputs` with a name for each.",
            param=FIELD,
        )
    return match_header(choices[0] if choices else None, header)


def adapters_of(payload: Mapping[str, Any], count: int, header: str | None) -> tuple[Choice | None, ...]:
    """The adapter of each of `count` inputs: one name for all, or a list of as many, in which null or an empty name means
    the model itself. Raises InvalidRequest."""
    value = payload.get(FIELD)
    if not isinstance(value, list) or not value:
        return (match_header(_choice(value or None, FIELD), header),) * count
    if len(value) != count:
        raise InvalidRequest(
            f"`{FIELD}` has {len(value)} names for {count} input(s). Send one name, or one for each input.", param=FIELD
        )
    choices = _choices(value)
    if header and None in choices:
        where = f"{FIELD}[{choices.index(None)}]"
        raise InvalidRequest(
            f"The header {HEADER} names an adapter, but `{where}` is empty, which means the model itself. Send only one.",
            param=where,
        )
    return tuple(match_header(choice, header) for choice in choices)


def match_header(choice: Choice | None, header: str | None) -> Choice | None:
    """The choice of the body or of the header. Raises InvalidRequest if they differ."""
    if not header:
        return choice
    if choice is not None and choice.name != header:
        raise InvalidRequest(
            f"The header {HEADER} names the adapter {shorten(header)!r}, but `{choice.path}` names {shorten(choice.name)!r}. "
            "Send only one.",
            param=choice.path,
        )
    return Choice(header, HEADER)


def pop_adapter_id(parameters: dict[str, Any]) -> Choice | None:
    """The adapter that TGI's `parameters.adapter_id` names; removes the field. Raises InvalidRequest."""
    return _choice(parameters.pop(TGI_FIELD, None), f"parameters.{TGI_FIELD}")


def _choices(names: list[Any]) -> list[Choice | None]:
    return [_choice(name, f"{FIELD}[{index}]") for index, name in enumerate(names)]


def _choice(name: Any, path: str) -> Choice | None:
    if name is None or name == "":
        return None
    if not isinstance(name, str):
        raise InvalidRequest(f"`{path}` is {json_type(name)}; it must be the name of an adapter.", param=path)
    return Choice(name, path)
