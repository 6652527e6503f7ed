"""The adapters that a model is served with: registered, updated and unregistered while requests run."""

import asyncio
import itertools
import logging
import re
import time
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from handler.adapters.files import read_adapter_files
from handler.adapters.store import AdapterStore
from handler.engine import Adapter, Engine
from handler.errors import AdapterConflict, InvalidRequest, UnknownAdapter, UnknownModel
from handler.payload.adapter_choice import Choice
from handler.payload.fields import shorten

log = logging.getLogger("lumi.adapters")

MAX_ADAPTERS = 10_000
_MAX_NAMES_IN_MESSAGE = 20
_NAME = re.compile(r"[\w][\w.\-/:@ ]{0,199}", re.ASCII)


class AdapterCode(Protocol):
    """The user's own code in the directories of adapters."""

    def load(self, name: str, directory: Path, *, is_remote: bool) -> AbstractAsyncContextManager[None]:
        """Execute it; it serves requests from the end of the block. Raises InvalidRequest."""

    def remove(self, name: str) -> None:
        """Serve no further request."""


class Adapters:
    """The adapters of one engine, changed one at a time. `image_adapter` responds to requests that have images and name no
    adapter, while it is served (`default_mm_loras`). `code` executes what comes with an adapter."""

    def __init__(
        self,
        engine: Engine,
        store: AdapterStore | None = None,
        image_adapter: str | None = None,
        code: AdapterCode | None = None,
    ) -> None:
        self._engine = engine
        self._names = engine.card.names
        self._store = store
        self._image_adapter = image_adapter
        self._code = code
        self._operators_sources: set[str] = set()
        self._changing = asyncio.Lock()

    @property
    def served(self) -> Mapping[str, Adapter]:
        """The loaded adapters by name."""
        return self._engine.adapters

    def serves(self, model: str) -> bool:
        """Whether a request may name it as its `model`."""
        return model in self._names or model in self.served

    def find(self, name: str) -> Adapter:
        """The loaded adapter of that name. Raises UnknownAdapter."""
        if name not in self.served:
            raise unknown_adapter(name, self.served, "name")
        return self.served[name]

    def resolve(self, model: str | None, choice: Choice | None, *, has_images: bool) -> str | None:
        """The name to send to the engine: of the adapter that a request chooses, or of the model.

        `model` is the name in the request. Raises UnknownModel or UnknownAdapter for an unknown name, and InvalidRequest
        for two adapters.
        """
        if choice is not None and choice.name not in self.served:
            raise unknown_adapter(choice.name, self.served, choice.path)
        if model is not None and model not in self._names:
            if not self.serves(model):
                names = join_names((*self._names, *self.served))
                raise UnknownModel(f"The model {shorten(model)!r} does not exist. Available: {names}.", param="model")
            if choice is not None and choice.name != model:
                raise InvalidRequest(
                    f"`model` names the adapter {shorten(model)!r}, but `{choice.path}` names {shorten(choice.name)!r}. "
                    "Send only one.",
                    param=choice.path,
                )
            return model
        if choice is not None:
            return choice.name
        return self._image_adapter if has_images and self._image_adapter in self.served else model

    async def load(self, name: str, directory: Path, source: str, *, is_remote: bool = False) -> None:
        """Load the adapter in `directory`, which is neither copied nor removed. `is_remote` is whether its author is not
        the operator. Raises InvalidRequest."""
        check_name(name, self._names)
        await self._load(Adapter(name, str(directory), source), is_remote=is_remote)
        if not is_remote:
            self._operators_sources.add(source)

    async def register(self, name: str, source: str, *, replacing: bool = False) -> Adapter:
        """Fetch an adapter from `source` and load it, `replacing` the one of its name, with which running requests
        finish. Raises InvalidRequest, AdapterConflict or UnknownAdapter; nothing has changed then."""
        if self._store is None:
            raise InvalidRequest("LoRA adapters are not enabled. Start with OPTION_ENABLE_LORA=true.")
        self._check_name(name, replacing=replacing)
        directory, store = await self._store.fetch(source), self._store
        adapter = Adapter(name, str(directory), source, release=lambda: store.discard(directory))
        try:
            async with self._changing:
                self._check_name(name, replacing=replacing)  # another request may have changed it meanwhile
                is_remote = source.startswith("s3://") and source not in self._operators_sources
                return await self._load(adapter, is_remote=is_remote)
        except BaseException:
            store.discard(directory)
            raise

    async def update(self, name: str, source: str | None = None) -> Adapter:
        """Fetch and load an adapter again, from its own source or another. Raises as `register` does."""
        return await self.register(name, source or self.find(name).source, replacing=True)

    async def unregister(self, name: str) -> None:
        """Unload an adapter; running requests finish with it. Raises UnknownAdapter."""
        async with self._changing:
            self.find(name)
            await self._engine.unload_adapter(name)
            if self._code is not None:
                self._code.remove(name)
            log.info("unloaded adapter %s", name)

    async def _load(self, adapter: Adapter, *, is_remote: bool) -> Adapter:
        files = await asyncio.to_thread(read_adapter_files, Path(adapter.directory))
        loaded = replace(adapter, rank=files.rank, created=int(time.time()))
        async with self._loading_code(adapter, is_remote=is_remote):
            await self._engine.load_adapter(loaded)
        log.info("loaded adapter %s of rank %d from %s", adapter.name, files.rank, adapter.source)
        return loaded

    def _loading_code(self, adapter: Adapter, *, is_remote: bool) -> AbstractAsyncContextManager[None]:
        if self._code is None:
            return nullcontext()
        return self._code.load(adapter.name, Path(adapter.directory), is_remote=is_remote)

    def _check_name(self, name: str, *, replacing: bool) -> None:
        check_name(name, self._names)
        if replacing:
            self.find(name)
        elif name in self.served:
            raise AdapterConflict(
                f"The adapter {shorten(name)!r} is already registered. Remove or update it, or choose another name.",
                param="name",
            )
        elif len(self.served) >= MAX_ADAPTERS:
            raise InvalidRequest(
                f"{MAX_ADAPTERS} adapters are registered, which is the limit. Remove one.", code="too_many_adapters"
            )


def check_name(name: str, model_names: Collection[str]) -> None:
    """Raises InvalidRequest for a name that an adapter cannot have."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{shorten(name)!r} is not a valid adapter name. Use letters, digits and . _ - / : @", param="name"
        )
    if name in model_names:
        raise InvalidRequest(
            f"{shorten(name)!r} is a name of the model. Choose another name for the adapter.", param="name"
        )


def unknown_adapter(name: str, served: Collection[str], path: str) -> UnknownAdapter:
    """The error for an adapter that is not loaded; `path` is the JSON path, or the header, that names it."""
    known = f"Available adapters: {join_names(served)}." if served else "No adapter is available."
    return UnknownAdapter(f"The adapter {shorten(name)!r} does not exist. {known}", param=path)


def join_names(names: Collection[str]) -> str:
    """The names for a message; of many, the first ones and the number of the others."""
    more = len(names) - _MAX_NAMES_IN_MESSAGE
    return ", ".join(itertools.islice(names, _MAX_NAMES_IN_MESSAGE)) + (f" and {more} more" if more > 0 else "")
