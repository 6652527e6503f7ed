"""An engine that is watched: the factory and the engine of another, whose `check` also finds that it hangs."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from handler.engine import Adapter, Delta, Engine, EngineFactory, EngineNode, ModelCard, Prompt, RenderedPrompt
from handler.engines.watchdog import Watchdog


class SupervisedFactory:
    """An `EngineFactory` whose engine may compute nothing for `stall_seconds` while prompts wait; 0 sets no limit."""

    def __init__(self, factory: EngineFactory, *, stall_seconds: float) -> None:
        self._factory = factory
        self._stall_seconds = stall_seconds

    def preload(self) -> None:
        self._factory.preload()

    async def start(self, model: str, leader: str | None) -> "SupervisedEngine":
        return SupervisedEngine(await self._factory.start(model, leader), self._stall_seconds)

    async def follow(self, model: str, leader: str | None) -> EngineNode:
        return await self._factory.follow(model, leader)

    async def close(self) -> None:
        await self._factory.close()


class SupervisedEngine:
    """An `Engine` that passes all on to `engine`."""

    def __init__(self, engine: Engine, stall_seconds: float) -> None:
        self._engine = engine
        self._watchdog = Watchdog(engine, stall_seconds)

    @property
    def card(self) -> ModelCard:
        return self._engine.card

    @property
    def tokenizer(self) -> Any:
        return self._engine.tokenizer

    def holds(self, digest: str) -> bool:
        return self._engine.holds(digest)

    def generate(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        return self._engine.generate(prompt)

    async def render(self, prompt: Prompt) -> Sequence[RenderedPrompt]:
        return await self._engine.render(prompt)

    def sampling(self, prompt: Prompt) -> Mapping[str, Any]:
        return self._engine.sampling(prompt)

    async def detokenize(self, tokens: Sequence[int]) -> str:
        return await self._engine.detokenize(tokens)

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        return self._engine.adapters

    async def load_adapter(self, adapter: Adapter) -> None:
        await self._engine.load_adapter(adapter)

    async def unload_adapter(self, name: str) -> None:
        await self._engine.unload_adapter(name)

    def steps(self) -> Mapping[int, int]:
        return self._engine.steps()

    async def check(self) -> None:
        await self._engine.check()
        await self._watchdog.check()

    async def kill(self) -> None:
        await self._engine.kill()

    async def stop(self) -> None:
        await self._engine.stop()
