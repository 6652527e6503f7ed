"""How the model comes to this machine, and then to answer."""

import logging
from pathlib import Path
from typing import Protocol

from container.adapters import find_static_adapters, load_static_adapters
from container.http.health import Health
from container.model_store import Located, fetch, fetch_adapter
from container.model_store.read_ahead import read_ahead
from container.nodes.membership import this_node
from container.nodes.rendezvous import NodeGroup
from container.options import Options
from container.options.sources.properties import FILE_NAME
from container.start.settings import adapter_directories, adapter_homes, hub, model_cache, service_of
from container.start.warm_up import warm_up
from handler.adapters.store import AdapterStore
from handler.djl.formatters import Formatters
from handler.engine import Engine, ModelCard
from handler.errors import StartError
from handler.media.loader import MediaLoader
from handler.service import Service

log = logging.getLogger("lumi")


class ClusterEngine(Engine, Protocol):
    """An engine that several machines may make up."""

    async def start(self, model: str | None = None, leader: str | None = None) -> ModelCard:
        """`model` is where it was brought to, `leader` the address of the first of several nodes. Raises StartError."""

    async def follow(self, model: str | None = None, leader: str | None = None) -> None:
        """Compute for the engine of another node, in place of `start`."""


class Loading:
    """The two steps of it; whoever holds it says when. `engine` is None where the code that comes with the model is to
    own it; `nodes` are the other machines; `memory` are the bytes that this machine still has."""

    def __init__(
        self,
        options: Options,
        located: Located | None,
        engine: ClusterEngine | None,
        media: MediaLoader,
        *,
        nodes: NodeGroup,
        health: Health,
        memory: int = 0,
    ) -> None:
        self._options = options
        self._located = located
        self._engine = engine
        self._media = media
        self._nodes = nodes
        self._health = health
        self._memory = memory
        self._store: AdapterStore | None = None

    async def fetch(self) -> str:
        """Where the model is, once it is here. Raises StartError."""
        assert self._located is not None  # noqa: S101  # the backend asks only then
        options = self._options
        model = await fetch(self._located, self._health.loading, cache=model_cache(options), hub=hub(options))
        _warn_of_unread_file(self._located, Path(model))
        # On a CPU the engine takes as much again to keep them.
        read_ahead(self._located, model, hub(options), self._memory // 2)
        return model

    async def load(self, model: str, formatters: Formatters | None) -> Service | None:
        """Who answers, once the engine has started with its adapters and answered a first request; None where another
        node answers. Raises StartError."""
        options, engine, node = self._options, self._engine, this_node(self._options)
        if engine is None:
            raise StartError("The code leaves the model to vLLM, and none is there; name it with HF_MODEL_ID.")
        leader = await self._nodes.meet(self._health.loading)
        self._health.loading("loading the model")
        if node.follows:
            await engine.follow(model, leader)
            await self._nodes.ready(engine.check)
            return None
        homes = adapter_homes(model)
        store = AdapterStore(model_cache(options) / "adapters", adapter_directories(options, homes), fetch_adapter)
        self._store = store
        found = await find_static_adapters(options, homes, store, hub(options))
        await engine.start(model, leader)
        service = service_of(options, engine, self._media, store=store, formatters=formatters)
        await load_static_adapters(service.adapters, found)
        self._health.loading("answering a first request")
        await warm_up(service, images_allowed=options.limit_mm_per_prompt["image"] > 0)
        await self._nodes.ready(engine.check)
        return service

    def close(self) -> None:
        """Remove the files of adapters that came while requests ran."""
        if self._store is not None:
            self._store.close()


def _warn_of_unread_file(located: Located, model: Path) -> None:
    """The options are in force before an archive is here: a file in it comes too late."""
    unread = next((at / FILE_NAME for at in (model, model.parent) if (at / FILE_NAME).is_file()), None)
    if located.is_archive and unread is not None:
        log.warning(
            "%s of %s is not read, as it comes after the start; set its options in the environment, or upload the model "
            "unpacked",
            unread.name,
            located.source,
        )
