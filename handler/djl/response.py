"""JSON of a response -> the object that output formatters expect: fields are attributes, as in vLLM, and items."""

import json
from collections.abc import Iterable
from typing import Any


class Response(dict[str, Any]):
    """A JSON object: `response.choices[0].message.content`, `response["choices"]` and `response.model_dump()` all work."""

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
        """Plain dicts and lists. Other arguments of pydantic's method have no effect: all fields are set."""
        selected = {name: value for name, value in self.items() if include is None or name in set(include)}
        return {
            name: _dump(value, exclude_none=exclude_none)
            for name, value in selected.items()
            if name not in set(exclude or ()) and not (exclude_none and value is None)
        }

    def model_dump_json(self, *, indent: int | None = None, **arguments: Any) -> str:
        """JSON text, as compact as pydantic's."""
        separators = (",", ":") if indent is None else None
        return json.dumps(self.model_dump(**arguments), ensure_ascii=False, indent=indent, separators=separators)

    # The names in pydantic's first version, for formatters written for older images.
    json = model_dump_json
    dict = model_dump


def parse_response(text: bytes) -> Any:
    """The response in the JSON `text`."""
    return json.loads(text, object_hook=Response)


def _dump(value: Any, *, exclude_none: bool) -> Any:
    if isinstance(value, Response):
        return value.model_dump(exclude_none=exclude_none)
    if isinstance(value, list):
        return [_dump(item, exclude_none=exclude_none) for item in value]
    return value
