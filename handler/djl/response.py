"""JSON of a response -> the object that output formatters expect, which reads like vLLM's own and like a dict."""

import json
from collections.abc import Iterable
from typing import Any


class Response(dict[str, Any]):
    """`response.choices[0].message.content`, `response["choices"]` and `response.model_dump()` are one and the same."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the response has no {name!r}; it has {', '.join(self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def model_dump(
        self,
        *,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        exclude_none: bool = False,
        **_: Any,
    ) -> dict[str, Any]:
        """As plain dicts and lists. Further arguments of pydantic's change nothing here: all fields are set."""
        kept = {name: value for name, value in self.items() if include is None or name in set(include)}
        return {
            name: _plain(value, exclude_none=exclude_none)
            for name, value in kept.items()
            if name not in set(exclude or ()) and not (exclude_none and value is None)
        }

    def model_dump_json(self, *, indent: int | None = None, **arguments: Any) -> str:
        """As JSON text, compact as pydantic's."""
        separators = (",", ":") if indent is None else None
        return json.dumps(self.model_dump(**arguments), ensure_ascii=False, indent=indent, separators=separators)

    # Those of pydantic's first version, which formatters written for older images call.
    json = model_dump_json
    dict = model_dump


def response(text: bytes) -> Any:
    """The response that is `text`."""
    return json.loads(text, object_hook=Response)


def _plain(value: Any, *, exclude_none: bool) -> Any:
    if isinstance(value, Response):
        return value.model_dump(exclude_none=exclude_none)
    if isinstance(value, list):
        return [_plain(item, exclude_none=exclude_none) for item in value]
    return value
