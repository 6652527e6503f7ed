"""A vLLM engine that is loaded: prompts in, completions out."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, cast

from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.exceptions import RetryableRequestError
from vllm.v1.engine.async_llm import AsyncLLM

from handler.engine import ChatPrompt, Delta, ModelCard, Prompt, TextPrompt
from handler.engines.vllm.adapters.served import VllmAdapters
from handler.engines.vllm.deltas import DeltaServing
from handler.engines.vllm.failures import translate, translate_response
from handler.engines.vllm.placeholders import Placeholder, PlaceholderEscaper
from handler.engines.vllm.requests import ChatRequest, TextRequest, chat_request, text_request
from handler.errors import EngineFailure, InvalidRequest, Unavailable, UnknownAdapter

log = logging.getLogger("lumi.engine")

T = TypeVar("T")
P = TypeVar("P", ChatPrompt, TextPrompt, Prompt)
Ask = Callable[[Any], Awaitable[Any]]

STATS_SECONDS = 10  # vLLM's own server logs its throughput at this interval
STOP_SECONDS = 10


@dataclass(slots=True)
class _Open:
    """A stream that vLLM has begun: its first chunk and the rest."""

    first: Any
    rest: AsyncGenerator[Any, None]


@dataclass(frozen=True, slots=True)
class Serving:
    """What of vLLM's server answers: chat completions, text completions, and text completions as `Delta`."""

    chat: OpenAIServingChat
    texts: OpenAIServingCompletion
    deltas: DeltaServing


class Running:
    """vLLM's serving over a live AsyncLLM, with our errors in place of its own."""

    def __init__(
        self,
        llm: AsyncLLM,
        serving: Serving,
        adapters: VllmAdapters,
        card: ModelCard,
        *,
        escaper: PlaceholderEscaper,
        placeholder: Placeholder,
    ) -> None:
        self.card = card
        self.adapters = adapters
        self._llm = llm
        self._serving = serving
        self._escaper = escaper
        self._placeholder = placeholder
        self._embeds_width = llm.model_config.get_inputs_embeds_size()
        self.tokenizer = llm.renderer.tokenizer
        self._cache = llm.renderer.mm_processor_cache
        self._chores: set[asyncio.Task[None]] = {asyncio.create_task(self._log_stats())}

    def holds(self, digest: str) -> bool:
        return self._cache is not None and self._cache.is_cached_item(digest)

    async def complete(self, prompt: Prompt) -> bytes:
        with self._adapted(prompt) as adapted:
            answer = await self._retried(partial(self._ask, adapted))
        text: str = answer.model_dump_json()
        return text.encode()

    def stream(self, prompt: Prompt) -> AsyncGenerator[bytes, None]:
        return self._streamed(self._ask, _chunks, prompt)

    async def generate(self, prompt: TextPrompt) -> AsyncGenerator[Delta, None]:
        if not prompt.stream:
            with self._adapted(prompt) as adapted:
                grown = await self._retried(partial(self._ask_for_deltas, adapted))
            for delta in grown:
                yield delta
            return
        async with contextlib.aclosing(self._streamed(self._ask_for_deltas, _deltas, prompt)) as deltas:
            async for delta in deltas:
                yield delta

    async def tokenize(self, prompt: Prompt) -> Sequence[int]:
        return cast("Sequence[int]", await self._retried(partial(self._tokens, prompt)))

    async def detokenize(self, tokens: Sequence[int]) -> str:
        tokenizer = self._llm.renderer.get_tokenizer()
        if strange := next((token for token in tokens if not 0 <= token < len(tokenizer)), None):
            raise InvalidRequest(f"The model has no token {strange}; it has {len(tokenizer)}.", param="tokens")
        return str(await asyncio.to_thread(tokenizer.decode, list(tokens)))

    async def check(self) -> None:
        if self._llm.errored:
            raise translate(self._llm.dead_error)

    async def stop(self) -> None:
        for chore in self._chores:
            chore.cancel()
        if self._llm.output_handler is not None:
            # It would take the end of the engine core for a failure and log it with its traceback.
            self._llm.output_handler.cancel()
        await asyncio.to_thread(self._llm.shutdown, STOP_SECONDS)

    async def _streamed(
        self, ask: Ask, read: Callable[[AsyncIterator[Any]], AsyncGenerator[T, None]], prompt: Prompt
    ) -> AsyncGenerator[T, None]:
        with self._adapted(prompt) as adapted:
            opened = await self._retried(partial(self._open, ask, read, adapted))
            finished = False
            try:
                if opened.first is not None:
                    yield opened.first
                async with contextlib.aclosing(opened.rest) as events:
                    async for chunk in read(events):
                        yield chunk
                finished = True
            finally:
                if not finished:
                    self._abort(prompt)

    async def _open(
        self, ask: Ask, read: Callable[[AsyncIterator[Any]], AsyncGenerator[T, None]], prompt: Prompt
    ) -> _Open:
        events = await ask(prompt)
        try:
            # The engine has accepted the request only when something comes out.
            return _Open(await anext(read(events), None), events)
        except Unavailable as drift:  # an error event does not carry its type
            raise RetryableRequestError from drift
        except BaseException:
            self._abort(prompt)
            await events.aclose()
            raise

    @contextlib.contextmanager
    def _adapted(self, prompt: P) -> Iterator[P]:
        """The prompt as vLLM is asked it: an adapter goes by the key of its loading there. Raises UnknownAdapter for one
        that was removed since the request was admitted."""
        if prompt.model not in (None, *self.card.names) and prompt.model not in self.adapters.served:
            raise UnknownAdapter(f"The adapter {prompt.model!r} is not served any more.", param="model")
        with self.adapters.acquire(prompt.model) as model:
            yield prompt if model == prompt.model else replace(prompt, model=model)

    async def _ask(self, prompt: Prompt) -> Any:
        if isinstance(prompt, ChatPrompt):
            return _answered(await self._serving.chat.create_chat_completion(self._chat_request(prompt)))
        return _answered(await self._serving.texts.create_completion(self._text_request(prompt)))

    async def _ask_for_deltas(self, prompt: TextPrompt) -> Any:
        return _answered(await self._serving.deltas.create_completion(self._text_request(prompt)))

    async def _tokens(self, prompt: Prompt) -> list[int]:
        renderer = self._serving.chat.online_renderer
        # The engine is not going to see these images, so its cache must not be told that it has.
        if isinstance(prompt, ChatPrompt):
            _, inputs = _answered(await renderer.render_chat(self._chat_request(prompt), skip_mm_cache=True))
        else:
            inputs = _answered(await renderer.render_completion(self._text_request(prompt), skip_mm_cache=True))
        return [token for one in inputs for token in one["prompt_token_ids"]]

    def _chat_request(self, prompt: ChatPrompt) -> ChatRequest:
        return chat_request(prompt, self._escaper, self._embeds_width)

    def _text_request(self, prompt: TextPrompt) -> TextRequest:
        return text_request(prompt, self._escaper, self._placeholder)

    async def _retried(self, attempt: Callable[[], Any]) -> Any:
        try:
            try:
                return await attempt()
            except RetryableRequestError:
                # vLLM's two caches of processed images drift apart when a request dies between them; it notices,
                # mends the first and asks for a retry, which would be rude to pass on.
                return await attempt()
        except Exception as fault:
            error = translate(fault)
            if isinstance(error, EngineFailure):
                log.exception("vLLM failed on a request")
            raise error from fault

    def _abort(self, prompt: Prompt) -> None:
        name = prompt.request_id
        ids = (
            [f"chatcmpl-{name}"]
            if isinstance(prompt, ChatPrompt)
            else [f"cmpl-{name}-{i}" for i in range(len(prompt.texts))]
        )
        # In a task of its own: whoever closes a stream may itself be cancelled at every await.
        chore = asyncio.create_task(self._llm.abort(ids))
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def _log_stats(self) -> None:
        while True:
            await asyncio.sleep(STATS_SECONDS)
            await self._llm.do_log_stats()


def _answered(answer: Any) -> Any:
    """What vLLM answered; an error that it returned is raised."""
    if not isinstance(answer, ErrorResponse):
        return answer
    # vLLM answers a cancellation with an error "Client disconnected", and the canceller would never hear of it.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    raise translate_response(answer.error.message, answer.error.code, answer.error.param)


async def _chunks(events: AsyncIterator[str]) -> AsyncGenerator[bytes, None]:
    """vLLM's server-sent events -> the JSON of each chunk; an error event is raised."""
    async for event in events:
        data = event.removeprefix("data: ").rstrip("\n")
        if data == "[DONE]":
            continue
        if data.startswith('{"error"'):
            error = json.loads(data)["error"]
            raise translate_response(error["message"], error["code"], error["param"])
        yield data.encode()


async def _deltas(events: AsyncIterator[list[Delta]]) -> AsyncGenerator[Delta, None]:
    try:
        async for grown in events:
            for delta in grown:
                yield delta
    except Exception as fault:
        raise translate(fault) from fault
