"""Text of the options of adapters -> their values: names and paths (in vLLM's forms), ranks and directories."""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from container.options.parsers.sizes import whole
from container.options.parsers.values import names
from handler.adapters.files import RANKS

_FORMS = 'write name=path, {"name": "path"} or [{"name": "...", "path": "..."}]'
_KNOWN = {"name", "path", "base_model_name"}


@dataclass(frozen=True, slots=True)
class LoraModule:
    """An adapter: what requests call it, and the directory or s3:// address of its files."""

    name: str
    path: str

    def __str__(self) -> str:
        return f"{self.name}={self.path}"


def parse_lora_modules(value: str | tuple[LoraModule, ...]) -> tuple[LoraModule, ...]:
    """The adapters. Raises ValueError."""
    if isinstance(value, tuple):
        return value
    modules = tuple(_modules(value.strip()))
    called = [module.name for module in modules]
    if twice := next((name for name in called if called.count(name) > 1), None):
        raise ValueError(f"has the adapter {twice!r} twice; give it once")
    return modules


def _modules(text: str) -> Iterator[LoraModule]:
    if text.startswith(("{", "[")):
        try:
            found = list(_json_values(text))
        except ValueError as error:
            raise ValueError(f"is not valid JSON: {error}; {_FORMS}") from None
        for entry in itertools.chain.from_iterable(one if isinstance(one, list) else [one] for one in found):
            yield from _entries(entry)
        return
    for word in re.split(r"[,\s]+", text.strip(", \t\r\n")):
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise ValueError(f"has {word!r}, which is not name=path; {_FORMS}")
        yield LoraModule(name, path)


def _json_values(text: str) -> Iterator[Any]:
    """One, or several with blanks between them, as SM_VLLM_LORA_MODULES may have them. Raises ValueError."""
    decoder, rest = json.JSONDecoder(), text
    while rest:
        value, end = decoder.raw_decode(rest)
        yield value
        rest = rest[end:].lstrip()


def _entries(entry: Any) -> Iterator[LoraModule]:
    if isinstance(entry, str):
        yield from _modules(entry)
    elif not isinstance(entry, dict):
        raise ValueError(f"has {entry!r}, which is not an adapter; {_FORMS}")  # noqa: TRY004  parsers raise ValueError
    elif "path" in entry or "name" in entry:
        if unknown := sorted(entry.keys() - _KNOWN):
            raise ValueError(f"has the key {unknown[0]!r}, which is unknown; {_FORMS}")
        yield _module(entry.get("name"), entry.get("path"))
    else:
        yield from (_module(name, path) for name, path in entry.items())


def _module(name: Any, path: Any) -> LoraModule:
    if not (isinstance(name, str) and isinstance(path, str) and name and path):
        raise ValueError(f"has an adapter without a name or a path that is text; {_FORMS}")
    return LoraModule(name, path)


def lora_rank(text: str) -> int:
    rank = whole(1)(text)
    if rank > RANKS[-1]:
        raise ValueError(f"is more than {RANKS[-1]}, the largest rank that vLLM serves")
    return next(known for known in RANKS if known >= rank)


def directories(text: str) -> tuple[str, ...]:
    """Absolute paths. They may be mounted later, so nothing checks here that they exist."""
    found = names(text)
    if relative := [path for path in found if not path.startswith("/")]:
        raise ValueError(f"has {relative[0]!r}, which is not an absolute path; begin it with a slash")
    return found
