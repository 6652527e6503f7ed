"""The adapters that a model is served with: registered, replaced and removed while requests run."""

import asyncio
import itertools
import logging
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from handler.adapters.files import inspected
from handler.engine import Adapter, Engine
from handler.errors import AdapterConflict, InvalidRequest, UnknownAdapter, UnknownModel
from handler.payload.adapter_choice import Choice
from handler.payload.fields import shorten

log = logging.getLogger("lumi.adapters")

MOST_ADAPTERS = 10_000
_NAMED = 20
_NAME = re.compile(r"[\w][\w.\-/:@ ]{0,199}", re.ASCII)


class AdapterStore(Protocol):
    """Where the files of adapters come from."""

    async def bring(self, source: str) -> Path:
        """A directory with the files that `source` names, which nobody changes from then on. Raises InvalidRequest."""

    def discard(self, directory: Path) -> None:
        """Remove a directory that `bring` made."""


class Adapters:
    """The adapters of one engine, changed one at a time. `image_adapter` responds to requests that have images and name no
    adapter, while it is served (`default_mm_loras`)."""

    def __init__(self, engine: Engine, store: AdapterStore | None = None, image_adapter: str | None = None) -> None:
        self._engine = engine
        self._names = engine.card.names
        self._store = store
        self._image_adapter = image_adapter
        self._changing = asyncio.Lock()

    @property
    def served(self) -> Mapping[str, Adapter]:
        return self._engine.adapters

    def find(self, name: str) -> Adapter:
        """Raises UnknownAdapter."""
        if name not in self.served:
            raise unknown_adapter(name, self.served, "name")
        return self.served[name]

    def resolve(self, model: str | None, choice: Choice | None, *, has_images: bool) -> str | None:
        """The name that the engine is to be asked for: of the adapter that a request chooses, or of the model.

        `model` is the name in the request. Raises UnknownModel or UnknownAdapter for a name that is not served, and
        InvalidRequest for two adapters at once.
        """
        if choice is not None and choice.name not in self.served:
            raise unknown_adapter(choice.name, self.served, choice.path)
        if model is not None and model not in self._names:
            if model not in self.served:
                served = listed((*self._names, *self.served))
                raise UnknownModel(f"The model {shorten(model)!r} is not served here; this is {served}.", param="model")
            if choice is not None and choice.name != model:
                raise InvalidRequest(
                    f"`model` names the adapter {shorten(model)!r} and `{choice.path}` names {shorten(choice.name)!r}; "
                    "send one of them.",
                    param=choice.path,
                )
            return model
        if choice is not None:
            return choice.name
        return self._image_adapter if has_images and self._image_adapter in self.served else model

    async def add(self, name: str, directory: Path, source: str) -> None:
        """Serve the adapter in `directory`, which stays as it is. Raises InvalidRequest."""
        check_name(name, self._names)
        await self._load(Adapter(name, str(directory), source))

    async def register(self, name: str, source: str, *, replacing: bool = False) -> Adapter:
        """Bring an adapter from `source` and serve it; if it is `replacing` one of its name, requests that run finish
        with the old one. Raises InvalidRequest, AdapterConflict or UnknownAdapter, and changes nothing then."""
        if self._store is None:
            raise InvalidRequest("Adapters are off here; start with OPTION_ENABLE_LORA=true.")
        self._check_name(name, replacing=replacing)
        directory, store = await self._store.bring(source), self._store
        adapter = Adapter(name, str(directory), source, release=lambda: store.discard(directory))
        try:
            async with self._changing:
                self._check_name(name, replacing=replacing)  # it may have come or gone meanwhile
                return await self._load(adapter)
        except BaseException:
            store.discard(directory)
            raise

    async def update(self, name: str, source: str | None = None) -> Adapter:
        """Bring an adapter again, from where it came from or from elsewhere. Raises as `register` does."""
        return await self.register(name, source or self.find(name).source, replacing=True)

    async def unregister(self, name: str) -> None:
        """Answer no new request with it. Raises UnknownAdapter."""
        async with self._changing:
            self.find(name)
            await self._engine.unload_adapter(name)
            log.info("adapter %s is removed", name)

    async def _load(self, adapter: Adapter) -> Adapter:
        files = await asyncio.to_thread(inspected, Path(adapter.directory))
        loaded = replace(adapter, rank=files.rank, created=int(time.time()))
        await self._engine.load_adapter(loaded)
        log.info("adapter %s of rank %d is served, from %s", adapter.name, files.rank, adapter.source)
        return loaded

    def _check_name(self, name: str, *, replacing: bool) -> None:
        check_name(name, self._names)
        if replacing:
            self.find(name)
        elif name in self.served:
            raise AdapterConflict(
                f"The adapter {shorten(name)!r} is served already; remove or update it, or choose another name.",
                param="name",
            )
        elif len(self.served) >= MOST_ADAPTERS:
            raise InvalidRequest(f"{MOST_ADAPTERS} adapters are served; remove one.", code="too_many_adapters")


def check_name(name: str, of_model: Collection[str]) -> None:
    """Raises InvalidRequest for what an adapter cannot be called."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{shorten(name)!r} is no name for an adapter; use letters, digits and . _ - / : @", param="name"
        )
    if name in of_model:
        raise InvalidRequest(f"{shorten(name)!r} is a name of the model; choose another for the adapter.", param="name")


def unknown_adapter(name: str, served: Collection[str], path: str) -> UnknownAdapter:
    """The refusal of an adapter that is not served, at the JSON path (or in the header) that names it."""
    known = f"there is {listed(served)}" if served else "there is none"
    return UnknownAdapter(f"The adapter {shorten(name)!r} is not served here; {known}.", param=path)


def listed(names: Collection[str]) -> str:
    """As many of them as a sentence may name."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(itertools.islice(names, _NAMED)) + more
