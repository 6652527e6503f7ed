"""An engine for tests: its completions describe the prompt, and it fails, waits or dies when a test wants it."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from handler.engine import (
    Adapter,
    Delta,
    ImageEmbeds,
    Message,
    ModelCard,
    Prompt,
    PromptImage,
    ReadPrompt,
    RenderedPrompt,
    Text,
    TextPrompt,
    Token,
)
from handler.errors import EngineDead, InvalidRequest, LumiError, UnknownAdapter


@dataclass
class FakeEngine:
    """`replies` are the pieces of every answer; without them the answer describes the prompt. `error` is raised in
    place of the answer, or after the pieces of a stream when `error_after` is set. Every prompt is kept in `seen`, the
    ids of aborted requests in `aborted`. `gate`, while it is clear, holds answers back before each piece, or only after the
    first `hold_after` pieces. `pause` is the seconds that each piece takes. Prompts with an id among `unscripted` are
    answered at once whatever the script, and not kept.
    """

    replies: Sequence[str] = ()
    card: ModelCard = field(
        default_factory=lambda: ModelCard(
            names=("fake",),
            max_model_len=4096,
            max_characters=2**20,
            supports_images=True,
            parameters=frozenset({"max_tokens", "temperature", "n", "stop", "stream_options", "tools"}),
            text_parameters=frozenset({"max_tokens", "temperature", "n", "stop", "stream_options", "logprobs", "seed"}),
            placeholder="<fake-image>",
            created=1,
            version="1.0",
        )
    )
    cached: frozenset[str] = frozenset()
    error: LumiError | None = None
    error_after: bool = False
    dead: bool = False
    gate: asyncio.Event | None = None
    hold_after: int = 0
    pause: float = 0
    seen: list[Prompt] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    unscripted: frozenset[str] = frozenset()
    stopped: bool = False
    tokenizer: Any = None
    max_rank: int = 16
    _adapters: dict[str, Adapter] = field(default_factory=dict)
    _users: Counter[Adapter] = field(default_factory=Counter)
    _steps: int = 0
    _running: dict[str, bool] = field(default_factory=dict)
    _killed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        if self.hold_after and self.gate is None:
            self.gate = asyncio.Event()

    def holds(self, digest: str) -> bool:
        return digest in self.cached

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """A token for each piece, its id the number of its characters; the last piece ends the text."""
        async with aclosing(self._pieces(prompt)) as pieces:
            if prompt.stream:
                async for delta in pieces:
                    yield delta
                return
            deltas = [delta async for delta in pieces]
        yield Delta(
            "".join(delta.text or "" for delta in deltas),
            tuple(token for delta in deltas for token in delta.tokens),
            finish_reason="stop",
            prompt=deltas[0].prompt,
        )

    async def render(self, prompt: Prompt) -> Sequence[RenderedPrompt]:
        """A token for each character of the description."""
        return [RenderedPrompt([ord(character) for character in describe(prompt)])]

    def sampling(self, prompt: Prompt) -> Mapping[str, Any]:
        return prompt.parameters

    async def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        return self._adapters

    async def load_adapter(self, adapter: Adapter) -> None:
        if adapter.rank > self.max_rank:
            raise InvalidRequest(f"The adapter has the rank {adapter.rank}, and at most {self.max_rank} is served.")
        replaced = self._adapters.get(adapter.name)
        self._adapters[adapter.name] = adapter
        self._release_unused(replaced)

    async def unload_adapter(self, name: str) -> None:
        if name not in self._adapters:
            raise UnknownAdapter(f"The adapter {name!r} is not served.")
        self._release_unused(self._adapters.pop(name))

    def _release_unused(self, adapter: Adapter | None) -> None:
        if adapter is not None and adapter not in self._adapters.values() and not self._users[adapter]:
            adapter.release()

    async def check(self) -> None:
        if self.dead:
            raise _dead()

    def steps(self) -> Mapping[int, int]:
        return {0: self._steps} if self._running else {}

    def in_flight(self) -> Mapping[str, bool]:
        return dict(self._running)

    async def kill(self) -> None:
        self.dead = True
        self._killed.set()

    async def stop(self) -> None:
        self.stopped = True

    async def _pieces(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        if prompt.request_id in self.unscripted:
            yield _delta(prompt, describe(prompt), 0, is_last=True)
            return
        self.seen.append(prompt)
        if self.error is not None and not self.error_after:
            raise self.error
        finished = False
        adapter = self._adapters.get(prompt.model or "")
        if adapter is not None:
            self._users[adapter] += 1
        replies = self.replies or [self._answer(prompt)]
        self._running[prompt.request_id] = False
        try:
            for number, piece in enumerate(replies):
                await self._compute(prompt, number)
                self._running[prompt.request_id] = True
                yield _delta(prompt, piece, number, is_last=number == len(replies) - 1 and self.error is None)
            finished = True
        finally:
            if not self.dead:
                self._running.pop(prompt.request_id, None)
            if not finished:
                self.aborted.append(prompt.request_id)
            if adapter is not None:
                self._users[adapter] -= 1
                self._release_unused(adapter)
        if self.error is not None:
            raise self.error

    async def _compute(self, prompt: Prompt, number: int) -> None:
        """One piece of the answer to `prompt`. Raises EngineDead if it is killed meanwhile."""
        del prompt
        if self.gate is not None and number >= self.hold_after:
            waits = [asyncio.ensure_future(event.wait()) for event in (self.gate, self._killed)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        await asyncio.sleep(self.pause)  # at least a turn of the loop: an engine computes elsewhere
        if self._killed.is_set():
            raise _dead()
        self._steps += 1

    def _answer(self, prompt: Prompt) -> str:
        """What it saw, signed by the adapter that answers."""
        return describe(prompt) + (f" ({prompt.model})" if prompt.model in self._adapters else "")


@dataclass
class FakeFactory:
    """Makes `engine` live, or has this machine follow with it; those of `later` at later starts. `steps` has the calls in
    their order. `load` is what takes the time of a start, in a thread."""

    engine: FakeEngine = field(default_factory=FakeEngine)
    later: Sequence[FakeEngine] = ()
    load: Callable[[], object] = lambda: None
    steps: list[str] = field(default_factory=list)

    def preload(self) -> None:
        self.steps.append("preload")

    async def start(self, model: str, leader: str | None) -> FakeEngine:
        self.steps.append(f"start {model}" + (f" led by {leader}" if leader else ""))
        await asyncio.to_thread(self.load)
        engine = self.engine
        if self.later:
            self.engine, *self.later = self.later
        return engine

    async def follow(self, model: str, leader: str | None) -> FakeEngine:
        self.steps.append(f"follow {leader} with {model}")
        return self.engine

    async def close(self) -> None:
        self.steps.append("close")


def _dead() -> EngineDead:
    return EngineDead("The engine process has died.")


def describe(prompt: Prompt) -> str:
    """The prompt as one line of text: `user: what is [4x3]`, an image by its width and height."""
    if isinstance(prompt, TextPrompt):
        return " | ".join(_raw(text) for text in prompt.texts)
    return " | ".join(f"{message.role}: {_content(message)}" for message in prompt.messages)


def _delta(prompt: Prompt, piece: str, number: int, *, is_last: bool) -> Delta:
    token = Token(len(piece), piece, -0.5, (Token(len(piece), piece, -0.5), Token(0, "", -2.0)))
    read = None
    if number == 0:
        tokens = tuple(Token(position, word) for position, word in enumerate(describe(prompt).split(" ")))
        read = ReadPrompt(len(tokens), describe(prompt), tokens if prompt.prompt_tokens else ())
    return Delta(piece, (token,), finish_reason="stop" if is_last else None, prompt=read)


def _content(message: Message) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return _parts(message.content)


def _raw(text: Text) -> str:
    return str(list(text.tokens)) if text.tokens is not None else _parts(text.content)


def _parts(parts: Sequence[str | PromptImage | ImageEmbeds]) -> str:
    return "".join(map(_part, parts))


def _part(part: str | PromptImage | ImageEmbeds) -> str:
    if isinstance(part, PromptImage):
        return f"[{part.image.width}x{part.image.height}]"
    return f"[{part.data}]" if isinstance(part, ImageEmbeds) else part
