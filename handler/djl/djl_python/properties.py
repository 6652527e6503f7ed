"""Options and request headers: a dict whose names may be asked for in any case, as those of HTTP."""

from typing import Any


class Properties(dict[str, Any]):
    """Names keep the case in which they were set, and every lookup ignores it: LMI's server hands headers on as the
    client wrote them (`Content-Type`, `content-type`), and handlers ask for either."""

    def spelt(self, name: object) -> Any:
        """`name` as it is kept, or as it is where there is none."""
        if super().__contains__(name) or not isinstance(name, str):
            return name
        lower = name.lower()
        return next((kept for kept in self if str(kept).lower() == lower), name)

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(self.spelt(name))

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(self.spelt(name), value)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(self.spelt(name))

    def __delitem__(self, name: str) -> None:
        super().__delitem__(self.spelt(name))

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(self.spelt(name), default)

    def pop(self, name: str, *default: Any) -> Any:
        return super().pop(self.spelt(name), *default)

    def setdefault(self, name: str, default: Any = None) -> Any:
        return super().setdefault(self.spelt(name), default)

    def update(self, *others: Any, **more: Any) -> None:
        for name, value in dict(*others, **more).items():
            self[name] = value

    def copy(self) -> "Properties":
        return Properties(self)
