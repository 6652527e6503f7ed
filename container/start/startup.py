"""The start: a machine that was checked, and a factory of engines -> a service that has answered a first request.

Each stage takes what the one before returned. The port is bound meanwhile, and /ping reports the stage.
"""

import asyncio
import contextlib
import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from container.model_store import Kind
from container.nodes.rendezvous import NodeGroup
from container.options import Options
from container.start.adapters import StaticAdapter, find_static_adapters, load_static_adapters
from container.start.code_execution import code_properties, execute_code, find_code
from container.start.machine import CheckedMachine, available_memory
from container.start.memory_plan import queue_size
from container.start.model import fetch_model, hub, served_names
from container.start.service import adapter_homes, adapter_store, build_service, media_limits
from container.start.warm_up import warm_up
from handler.adapters.store import AdapterStore
from handler.djl.entry_point import EntryPoint
from handler.djl.formatter_registry import FormatterRegistry
from handler.djl.formatters import Formatters
from handler.djl.own_model import OwnModel
from handler.djl.user_code import UserCode
from handler.djl.user_thread import UserThread
from handler.engine import Engine, EngineFactory, EngineNode
from handler.errors import StartError
from handler.media.loader import MediaLoader
from handler.service import Service


class Stage(enum.StrEnum):
    """What a start does, as /ping reports it. Progress may follow after a colon. The machine is checked before the port
    is bound."""

    CODE = "executing the user's code"
    MODEL = "fetching the model"
    OWN_MODEL = "loading the model with the user's code"
    NODES = "joining the nodes"
    FETCH_ADAPTERS = "fetching the adapters"
    ENGINE = "loading the model"
    ADAPTERS = "loading the adapters"
    WARM_UP = "answering a first request"


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """The directory of the model, or its id on the hub; "" if the user's code needs none. `code` was executed."""

    path: str
    code: UserCode | None

    @property
    def owner(self) -> UserCode | None:
        """The code, if it loads the model itself."""
        return self.code if self.code is not None and self.code.module.owns_the_model else None


@dataclass(frozen=True, slots=True)
class JoinedNodes:
    """A model for an engine. `leader` is the address of node 0, if there are several nodes; all of them have joined."""

    model: FetchedModel
    leader: str | None


@dataclass(frozen=True, slots=True)
class StartedEngine:
    """A live engine, the adapters that it is to load, and where those are kept that come with a request."""

    engine: Engine
    model: FetchedModel
    adapters: tuple[StaticAdapter, ...]
    store: AdapterStore


@dataclass(frozen=True, slots=True)
class Ready:
    """The end of a start. `service` answers requests, of which `queue_size` may run or wait; it is None on a node that
    computes for another. `node` is what runs here of an engine; it is None if the user's code owns the model."""

    service: Service | OwnModel | None
    node: EngineNode | None
    queue_size: int = 0

    async def check(self) -> None:
        """Raises EngineDead, or Unavailable while the engine is being replaced."""
        if self.node is not None:
            await self.node.check()


class Startup:
    """`factory` is None if no model is named, and the code is to own one. `nodes` are the other machines; this one
    `follows` if it computes for another. `report` is given the stage, and its progress, from any thread."""

    def __init__(
        self,
        options: Options,
        checked: CheckedMachine,
        factory: EngineFactory | None,
        *,
        nodes: NodeGroup,
        follows: bool,
        report: Callable[[str], None],
    ) -> None:
        self._options = options
        self._machine = checked.machine
        self._located = checked.located
        self._factory = factory
        self._nodes = nodes
        self._follows = follows
        self._report = report
        self._reported = ""
        self._cleanup = contextlib.AsyncExitStack()

    async def run(self) -> Ready:
        """Raises StartError. To be called once, in the main thread's event loop; `stop` frees what it began."""
        code = await self._execute(self._options.code)
        model = await self._fetch(code)
        seconds = self._options.model_loading_timeout
        try:
            async with asyncio.timeout(seconds):
                return await (self._load(model) if model.owner is None else self._load_own_model(model, model.owner))
        except TimeoutError as late:
            raise StartError(
                f"The model was not ready after {seconds:g} s. The last stage was: {self._reported}. If it only needs more "
                "time, raise OPTION_MODEL_LOADING_TIMEOUT."
            ) from late

    async def stop(self) -> None:
        """End all that was begun, whether or not the start has ended. May be called twice."""
        await self._cleanup.aclose()

    async def _execute(self, entry: EntryPoint | None) -> UserCode | None:
        """The code that is on this machine, or came with the model."""
        if entry is None:
            return None
        self._enter(Stage.CODE)(str(entry.file))
        code = await execute_code(self._options, entry)
        self._cleanup.push_async_callback(code.stop)
        return code

    async def _fetch(self, code: UserCode | None) -> FetchedModel:
        """The model, and the code that came with it if there was none before."""
        located, model = self._located, FetchedModel("", code)
        if model.owner is None:
            factory = self._engine_factory()
            self._cleanup.push_async_callback(factory.close)
            factory.preload()
        if located is None:
            return model
        if located.kind is Kind.HUB and model.owner is not None:
            return FetchedModel(located.source, code)
        memory = self._machine.memory or 0
        path = await fetch_model(self._options, located, self._enter(Stage.MODEL), memory=memory)
        # Code in a repository of the hub is not the operator's.
        if code is None and located.kind is Kind.S3:
            code = await self._execute(await asyncio.to_thread(find_code, self._options, Path(path)))
        model = FetchedModel(path, code)
        if model.owner is not None:
            await self._engine_factory().close()  # or it would import vLLM for nothing, which takes 2 GB
        return model

    async def _load_own_model(self, model: FetchedModel, code: UserCode) -> Ready:
        self._enter(Stage.OWN_MODEL)(code.module.entry.file.name)
        names = served_names(self._options, self._located)
        own = OwnModel(
            code.module,
            code.thread,
            properties=self._properties(model, code),
            names=names,
            batch_size=self._options.max_rolling_batch_size or 32,
        )
        await own.start()
        return Ready(own, None, queue_size(self._options, own.card, available_memory()))

    async def _load(self, model: FetchedModel) -> Ready:
        if model.code is not None:
            await self._formatters(model, model.code).start()
        joined = await self._join(model)
        if self._follows:
            return await self._follow(joined)
        started = await self._start_engine(joined)
        service = await self._load_adapters(started)
        self._enter(Stage.WARM_UP)
        await warm_up(service, images_allowed=self._options.limit_mm_per_prompt["image"] > 0)
        await self._nodes.ready(started.engine.check)
        return Ready(service, started.engine, queue_size(self._options, service.card, available_memory()))

    async def _join(self, model: FetchedModel) -> JoinedNodes:
        return JoinedNodes(model, await self._nodes.meet(self._enter(Stage.NODES)))

    async def _follow(self, joined: JoinedNodes) -> Ready:
        self._enter(Stage.ENGINE)
        node = await self._engine_factory().follow(joined.model.path, joined.leader)
        self._cleanup.push_async_callback(node.stop)
        await self._nodes.ready(node.check)
        return Ready(None, node)

    async def _start_engine(self, joined: JoinedNodes) -> StartedEngine:
        """Adapters are fetched and checked first: that takes less time than the model."""
        self._enter(Stage.FETCH_ADAPTERS)
        options, homes = self._options, adapter_homes(joined.model.path)
        store = adapter_store(options, homes)
        self._cleanup.callback(store.close)
        adapters = await find_static_adapters(options, homes, store, hub(options))
        self._enter(Stage.ENGINE)
        engine = await self._engine_factory().start(joined.model.path, joined.leader)
        self._cleanup.push_async_callback(engine.stop)
        return StartedEngine(engine, joined.model, adapters, store)

    async def _load_adapters(self, started: StartedEngine) -> Service:
        self._enter(Stage.ADAPTERS)
        media = MediaLoader(media_limits(self._options))
        self._cleanup.push_async_callback(media.aclose)
        await media.start()
        formatters = self._registry(started)
        service = build_service(self._options, started.engine, media, store=started.store, formatters=formatters)
        await load_static_adapters(service.adapters, started.adapters)
        return service

    def _engine_factory(self) -> EngineFactory:
        if self._factory is None:
            raise StartError("The user's code leaves the model to vLLM, but no model is named; set HF_MODEL_ID.")
        return self._factory

    def _formatters(self, model: FetchedModel, code: UserCode, tokenizer: Any = None) -> Formatters:
        return Formatters(code.module, code.thread, properties=self._properties(model, code), tokenizer=tokenizer)

    def _registry(self, started: StartedEngine) -> FormatterRegistry | None:
        """The formatters of the model's code, and of adapters that come with some."""
        code, model, tokenizer = started.model.code, started.model, started.engine.tokenizer
        if code is None and not self._options.enable_lora:
            return None
        if code is None:
            thread = UserThread(seconds=self._options.predict_timeout)
            self._cleanup.push_async_callback(thread.stop)
            thread.start()
        registry = FormatterRegistry(
            None if code is None else self._formatters(model, code, tokenizer),
            thread if code is None else code.thread,
            properties=lambda entry: code_properties(self._options, entry, model.path, gpus=self._machine.gpus),
            tokenizer=tokenizer,
            trusts_remote=self._options.trust_remote_code,
        )
        self._cleanup.callback(registry.close)
        return registry

    def _properties(self, model: FetchedModel, code: UserCode) -> dict[str, str]:
        return code_properties(self._options, code.module.entry, model.path, gpus=self._machine.gpus)

    def _enter(self, stage: Stage) -> Callable[[str], None]:
        """Report `stage`. What is returned reports progress in it."""

        def report(text: str) -> None:
            self._reported = text
            self._report(text)

        report(stage)
        return lambda progress: report(f"{stage}: {progress}")
