"""Who answers: the user's own code, vLLM, or vLLM with the user's formatters around it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from container.model_store import Kind, Located
from handler.djl import user_code
from handler.djl.entry_point import EntryPoint, find
from handler.djl.formatters import Formatters
from handler.djl.own_model import OwnModel
from handler.djl.user_code import UserCode
from handler.errors import StartError
from handler.service import Service

log = logging.getLogger("lumi")


@dataclass(frozen=True, slots=True)
class CodeSettings:
    """What of the options concerns user code. It is looked for in `directories`, its file may take `loading_seconds` to
    execute, and a call of it `seconds`; `properties` are the options as it reads them, and `gpus` what the machine has."""

    directories: tuple[Path, ...] = ()
    entry_point: str | None = None
    handler: str = "handle"
    install_requirements: bool = False
    seconds: float = 240
    loading_seconds: float = 1200
    properties: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0


class Engine(Protocol):
    """What of an engine is needed here."""

    @property
    def tokenizer(self) -> Any:
        """The model's, for formatters."""

    def prepare(self) -> None:
        """Begin with what needs no model."""

    async def check(self) -> None:
        """Raises EngineDead."""

    async def stop(self) -> None:
        """May be called twice, and before a start."""


class Backend:
    """Brings the model, executes the code that comes with it, and starts what the code leaves to the server.

    `located` is None where the code needs no model of the server's. `fetch` brings the model to this machine, `load`
    starts `engine` with it, and `names` are what a model that the code owns is served under.
    """

    def __init__(
        self,
        settings: CodeSettings,
        located: Located | None,
        engine: Engine | None,
        *,
        names: tuple[str, ...],
        fetch: Callable[[], Awaitable[str]],
        load: Callable[[str, Formatters | None], Awaitable[Service | None]],
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._located = located
        self._engine = engine
        self._names = names
        self._fetch = fetch
        self._load = load
        self._say = say
        self._code: UserCode | None = None

    async def bring(self) -> str:
        """Where the model is, once it and the code are there. Raises StartError."""
        if self._located is not None and self._located.kind is Kind.S3:
            self._prepare()
            model = await self._fetch()
            await self._execute(Path(model))
            if self._owns_the_model and self._engine is not None:
                await self._engine.stop()
            return model
        # The code may have no need of what would be fetched, nor of the engine. Code of the hub is not looked for.
        await self._execute()
        if not self._owns_the_model:
            self._prepare()
        if self._located is None or (self._located.kind is Kind.HUB and self._owns_the_model):
            return self._located.source if self._located else ""
        return await self._fetch()

    async def load(self, model: str) -> Service | OwnModel | None:
        """Who answers requests from now on; None where another node does. Raises StartError."""
        if self._code is None:
            return await self._load(model, None)
        properties = self._properties(self._code.module.entry, model)
        if self._owns_the_model:
            self._say(f"loading the model with {self._code.module.entry.file.name}")
            own = OwnModel(self._code.module, self._code.thread, properties=properties, names=self._names)
            await own.start()
            return own
        formatters = Formatters(
            self._code.module,
            self._code.thread,
            properties=properties,
            tokenizer=lambda: None if self._engine is None else self._engine.tokenizer,
        )
        await formatters.start()
        return await self._load(model, formatters)

    async def check(self) -> None:
        """Raises EngineDead where there is an engine and it is dead."""
        if self._engine is not None and not self._owns_the_model:
            await self._engine.check()

    async def stop(self) -> None:
        """Stop what was started. May be called twice."""
        if self._engine is not None:
            await self._engine.stop()
        if self._code is not None:
            await self._code.stop()

    @property
    def _owns_the_model(self) -> bool:
        return self._code is not None and self._code.module.owns_the_model

    def _prepare(self) -> None:
        if self._engine is not None:
            self._engine.prepare()

    async def _execute(self, *further: Path) -> None:
        settings = self._settings
        try:
            entry = await asyncio.to_thread(find, settings.entry_point, (*settings.directories, *further))
        except ValueError as fault:
            raise StartError(f"OPTION_ENTRY_POINT={settings.entry_point!r} {fault}.") from fault
        if entry is None:
            return
        self._say(f"executing {entry.file}")
        executing = user_code.execute(
            entry,
            handler=settings.handler,
            install_requirements=settings.install_requirements,
            seconds=settings.seconds,
        )
        try:
            async with asyncio.timeout(settings.loading_seconds):
                self._code = await executing
        except TimeoutError as late:
            raise StartError(
                f"{entry.file} was not executed after {settings.loading_seconds:g} s; raise OPTION_MODEL_LOADING_TIMEOUT."
            ) from late
        log.info("executed %s", self._code.module)

    def _properties(self, entry: EntryPoint, model: str) -> dict[str, str]:
        gpus = self._settings.gpus
        degree = self._settings.properties.get("tensor_parallel_degree", "max")
        return {
            **self._settings.properties,
            "model_dir": str(entry.directory),
            **({"model_id": model} if model else {}),
            # As LMI's server hands them over: numbers, and -1 for a machine without GPUs.
            "tensor_parallel_degree": str(max(1, gpus)) if degree == "max" else degree,
            "device_id": "0" if gpus else "-1",
        }
