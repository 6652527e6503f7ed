"""Which adapter a request asks for: by the header of SageMaker, by LMI's `adapters`, or by TGI's `adapter_id`."""

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
    """The name of an adapter, and where the request names it: a JSON path, or the header."""

    name: str
    path: str


def adapter_of(payload: Mapping[str, Any], header: str | None) -> Choice | None:
    """The adapter for a request of one prompt, or of several that share one. Raises InvalidRequest."""
    value = payload.get(FIELD)
    named = _listed(value) if isinstance(value, list) else [_choice(value, FIELD)]
    if len({choice.name if choice else None for choice in named}) > 1:
        raise InvalidRequest(
            f"`{FIELD}` names several adapters, and one answers here; send one, or a list of `inputs`, each with its own.",
            param=FIELD,
        )
    return agreed(named[0] if named else None, header)


def adapters_of(payload: Mapping[str, Any], count: int, header: str | None) -> tuple[Choice | None, ...]:
    """The adapter for each of `count` inputs: one for all, or a list of as many, in which null or an empty name stands
    for the model itself. Raises InvalidRequest."""
    value = payload.get(FIELD)
    if not isinstance(value, list) or not value:
        return (agreed(_choice(value or None, FIELD), header),) * count
    if len(value) != count:
        raise InvalidRequest(
            f"`{FIELD}` has {len(value)} names for {count} input(s); send one name, or one for each input.", param=FIELD
        )
    listed = _listed(value)
    if header and None in listed:
        where = f"{FIELD}[{listed.index(None)}]"
        raise InvalidRequest(
            f"The header {HEADER} names an adapter and `{where}` none, which is the model itself; send one of them.",
            param=where,
        )
    return tuple(agreed(choice, header) for choice in listed)


def agreed(choice: Choice | None, header: str | None) -> Choice | None:
    """What body and header say together. Raises InvalidRequest where they disagree."""
    if not header:
        return choice
    if choice is not None and choice.name != header:
        raise InvalidRequest(
            f"The header {HEADER} names the adapter {shorten(header)!r} and `{choice.path}` names {shorten(choice.name)!r}; "
            "send one of them.",
            param=choice.path,
        )
    return Choice(header, HEADER)


def parameter(parameters: dict[str, Any]) -> Choice | None:
    """The adapter that TGI's `parameters.adapter_id` names, which is taken out. Raises InvalidRequest."""
    return _choice(parameters.pop(TGI_FIELD, None), f"parameters.{TGI_FIELD}")


def _listed(names: list[Any]) -> list[Choice | None]:
    return [_choice(name, f"{FIELD}[{place}]") for place, name in enumerate(names)]


def _choice(name: Any, path: str) -> Choice | None:
    if name is None or name == "":
        return None
    if not isinstance(name, str):
        raise InvalidRequest(f"`{path}` is {json_type(name)}; it must be the name of an adapter.", param=path)
    return Choice(name, path)
