"""Options and request headers: a dict that ignores the case of names, as HTTP does."""

from typing import Any


class Properties(dict[str, Any]):
    """Names keep the case in which they were set first, and lookups ignore it: LMI passes headers on as the client wrote
    them (`Content-Type`, `content-type`), and handlers look up either."""

    def __init__(self, *others: Any, **more: Any) -> None:
        super().__init__()
        self._stored_names: dict[str, str] = {}
        self.update(*others, **more)

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(self._stored_name(name))

    def __setitem__(self, name: str, value: Any) -> None:
        stored = self._stored_names.setdefault(str(name).lower(), name)
        super().__setitem__(stored, value)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(self._stored_name(name))

    def __delitem__(self, name: str) -> None:
        super().__delitem__(self._stored_name(name))
        del self._stored_names[str(name).lower()]

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(self._stored_name(name), default)

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
        self._stored_names.clear()

    def _stored_name(self, name: Any) -> Any:
        """The spelling under which `name` is stored, or `name` itself."""
        return self._stored_names.get(str(name).lower(), name)
