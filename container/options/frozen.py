"""A mapping that cannot be changed: for values of Options that are mappings."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

V_co = TypeVar("V_co", covariant=True)


class FrozenMapping(Mapping[str, V_co]):
    """A read-only copy. `types.MappingProxyType` would do if it could be pickled for the engine's process."""

    def __init__(self, items: Mapping[str, V_co] | Iterable[tuple[str, V_co]] = ()) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> V_co:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items))  # values may be lists; equal mappings have equal keys

    def __repr__(self) -> str:
        return repr(self._items)


def frozen(value: Any) -> Any:
    """`value` with every mapping and list in it made unchangeable."""
    if isinstance(value, Mapping):
        return FrozenMapping((key, frozen(item)) for key, item in value.items())
    return tuple(frozen(item) for item in value) if isinstance(value, list | tuple) else value


def thawed(value: Any) -> Any:
    """`value` as plain dictionaries and lists, for callers who want their own to change or to write as JSON."""
    if isinstance(value, Mapping):
        return {key: thawed(item) for key, item in value.items()}
    return [thawed(item) for item in value] if isinstance(value, list | tuple) else value
