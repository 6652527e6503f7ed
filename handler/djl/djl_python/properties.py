"""Options and request headers: a dict whose names may be asked for in any case, as those of HTTP."""

from typing import Any


class Properties(dict[str, Any]):
    """Names keep the case in which they were set first, and every lookup ignores it: LMI's server hands headers on as
    the client wrote them (`Content-Type`, `content-type`), and handlers ask for either."""

    def __init__(self, *others: Any, **more: Any) -> None:
        super().__init__()
        self._spellings: dict[str, str] = {}
        self.update(*others, **more)

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(self._spelt(name))

    def __setitem__(self, name: str, value: Any) -> None:
        spelt = self._spellings.setdefault(str(name).lower(), name)
        super().__setitem__(spelt, value)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(self._spelt(name))

    def __delitem__(self, name: str) -> None:
        super().__delitem__(self._spelt(name))
        del self._spellings[str(name).lower()]

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(self._spelt(name), default)

    def pop(self, name: str, *default: Any) -> Any:
        if default and name not in self:
            return default[0]
        value = self[name]
        del self[name]
        return value

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, *others: Any, **more: Any) -> None:
        for name, value in dict(*others, **more).items():
            self[name] = value

    def copy(self) -> "Properties":
        return Properties(self)

    def clear(self) -> None:
        super().clear()
        self._spellings.clear()

    def _spelt(self, name: Any) -> Any:
        """As it is kept, or as it is where there is none."""
        return self._spellings.get(str(name).lower(), name)
