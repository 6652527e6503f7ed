"""An engine that is watched and replaced: the factory and the engine of another, and a prompt that outlives an engine."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from handler.engine import Adapter, Delta, Engine, EngineFactory, EngineNode, ModelCard, Prompt, RenderedPrompt
from handler.engines.supervisor import Entry, Supervision, Supervisor
from handler.errors import EngineDead, EngineFailure

T = TypeVar("T")


class SupervisedFactory:
    """An `EngineFactory` of supervised engines."""

    def __init__(self, factory: EngineFactory, supervision: Supervision) -> None:
        self._factory = factory
        self._supervision = supervision

    def preload(self) -> None:
        self._factory.preload()

    async def start(self, model: str, leader: str | None) -> "SupervisedEngine":
        engine = await self._factory.start(model, leader)
        return SupervisedEngine(Supervisor(engine, lambda: self._factory.start(model, leader), self._supervision))

    async def follow(self, model: str, leader: str | None) -> EngineNode:
        return await self._factory.follow(model, leader)

    async def close(self) -> None:
        await self._factory.close()


class SupervisedEngine:
    """An `Engine` that stays while the one behind it is replaced. A prompt of which nothing was answered goes to the next
    engine, once."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.card: ModelCard = supervisor.engine.card

    @property
    def tokenizer(self) -> Any:
        return self._supervisor.engine.tokenizer

    def holds(self, digest: str) -> bool:
        return not self._supervisor.is_recovering and self._supervisor.engine.holds(digest)

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        await self._supervisor.quarantine.check(prompt)
        entry = Entry(prompt)
        self._supervisor.entries.add(entry)
        try:
            begun = False
            while True:
                engine = await self._supervisor.admit(entry)
                try:
                    async with aclosing(engine.generate(prompt)) as deltas:
                        async for delta in deltas:
                            begun = True
                            yield delta
                except (EngineDead, EngineFailure) as fault:
                    self._check_death(engine, fault)
                    self._supervisor.check_retry(begun=begun, deaths=entry.deaths)
                else:
                    return
        finally:
            self._supervisor.entries.discard(entry)

    async def render(self, prompt: Prompt) -> Sequence[RenderedPrompt]:
        return await self._ask(lambda engine: engine.render(prompt))

    def sampling(self, prompt: Prompt) -> Mapping[str, Any]:
        return self._supervisor.engine.sampling(prompt)

    async def detokenize(self, tokens: Sequence[int]) -> str:
        return await self._ask(lambda engine: engine.detokenize(tokens))

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        return self._supervisor.engine.adapters

    async def load_adapter(self, adapter: Adapter) -> None:
        await (await self._supervisor.admit()).load_adapter(adapter)

    async def unload_adapter(self, name: str) -> None:
        await (await self._supervisor.admit()).unload_adapter(name)

    def steps(self) -> Mapping[int, int]:
        return self._supervisor.engine.steps()

    def in_flight(self) -> Mapping[str, bool]:
        return self._supervisor.engine.in_flight()

    async def check(self) -> None:
        await self._supervisor.check()

    async def kill(self) -> None:
        await self._supervisor.engine.kill()

    async def stop(self) -> None:
        await self._supervisor.stop()

    async def _ask(self, question: Callable[[Engine], Awaitable[T]]) -> T:
        """The answer of the engine that lives now, or of the next one. Raises EngineDead."""
        while True:
            engine = await self._supervisor.admit()
            try:
                return await question(engine)
            except (EngineDead, EngineFailure) as fault:
                self._check_death(engine, fault)

    def _check_death(self, engine: Engine, fault: EngineDead | EngineFailure) -> None:
        """Raises `fault` unless `engine` has died. One that is being stopped fails on what it still prepares."""
        if isinstance(fault, EngineDead):
            self._supervisor.died(engine, fault)
        elif not self._supervisor.has_left(engine):
            raise fault
