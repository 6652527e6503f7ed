"""An ordered list of keys and values, which holds the content: keys may be None and may repeat."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


class PairList:
    """Pairs of a key and a value. `keys` and `values` are parallel lists, as in LMI."""

    def __init__(
        self,
        keys: list[Any] | None = None,
        values: list[Any] | None = None,
        pair_list: Iterable[tuple[Any, Any]] | None = None,
        pair_map: Mapping[Any, Any] | None = None,
    ) -> None:
        self.keys: list[Any] = list(keys or [])
        self.values: list[Any] = list(values or [])
        if len(self.keys) != len(self.values):
            raise ValueError(
                f"There are {len(self.keys)} keys and {len(self.values)} values; each key needs one value."
            )
        for key, value in (*(pair_list or ()), *(pair_map or {}).items()):
            self.add(key, value)

    def add(
        self, key: Any = None, value: Any = None, index: int | None = None, pair: tuple[Any, Any] | None = None
    ) -> None:
        """Append a key and its value, or insert them before `index`. `pair` replaces both."""
        key, value = pair if pair is not None else (key, value)
        position = self.size() if index is None else index
        self.keys.insert(position, key)
        self.values.insert(position, value)

    def add_all(self, other: "PairList | None") -> None:
        for pair in other or ():
            self.add(pair=pair)

    def size(self) -> int:
        return len(self.keys)

    def is_empty(self) -> bool:
        return not self.keys

    def get(self, key: Any) -> Any:
        """The first value of `key`, or None."""
        return next((value for other, value in self if other == key), None)

    def key_at(self, index: int) -> Any:
        return self.keys[index]

    def value_at(self, index: int) -> Any:
        return self.values[index]

    def get_keys(self) -> list[Any]:
        return self.keys

    def get_values(self) -> list[Any]:
        return self.values

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return zip(self.keys, self.values, strict=True)

    def __len__(self) -> int:
        return self.size()
