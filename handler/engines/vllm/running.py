"""A vLLM engine that is loaded: prompts in, chat completions out."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest, ChatCompletionResponse
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.exceptions import RetryableRequestError
from vllm.v1.engine.async_llm import AsyncLLM

from handler.engine import ModelCard, Prompt
from handler.engines.vllm.failures import translate, translate_answer
from handler.engines.vllm.placeholders import Neutraliser
from handler.engines.vllm.requests import chat_completion_request
from handler.errors import EngineFailure, Unavailable

log = logging.getLogger("lumi.engine")

STATS_SECONDS = 10  # vLLM's own server logs its throughput at this interval
STOP_SECONDS = 10


@dataclass(slots=True)
class _Open:
    """A stream that vLLM has begun: its first chunk and the rest."""

    first: bytes | None
    rest: AsyncGenerator[str, None]


class Running:
    """vLLM's chat serving over a live AsyncLLM, with our errors in place of its own."""

    def __init__(self, llm: AsyncLLM, chat: OpenAIServingChat, card: ModelCard, texts: Neutraliser) -> None:
        self.card = card
        self._llm = llm
        self._chat = chat
        self._texts = texts
        self._cache = llm.renderer.mm_processor_cache
        self._chores: set[asyncio.Task[None]] = {asyncio.create_task(self._log_stats())}

    def holds(self, digest: str) -> bool:
        return self._cache is not None and self._cache.is_cached_item(digest)

    async def complete(self, prompt: Prompt) -> bytes:
        answer = await self._retried(partial(self._complete_once, prompt))
        text: str = answer.model_dump_json()
        return text.encode()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[bytes, None]:
        opened = await self._retried(partial(self._open_once, prompt))
        finished = False
        try:
            if opened.first is not None:
                yield opened.first
            async with contextlib.aclosing(opened.rest) as events:
                async for chunk in _chunks(events):
                    yield chunk
            finished = True
        finally:
            if not finished:
                self._abort(prompt.request_id)

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

    async def _complete_once(self, prompt: Prompt) -> ChatCompletionResponse:
        answer = await self._chat.create_chat_completion(self._request(prompt))
        if isinstance(answer, ErrorResponse):
            _pass_on_cancellation()
            raise translate_answer(answer.error.message, answer.error.code, answer.error.param)
        return answer

    async def _open_once(self, prompt: Prompt) -> _Open:
        events = await self._chat.create_chat_completion(self._request(prompt))
        if isinstance(events, ErrorResponse):
            _pass_on_cancellation()
            raise translate_answer(events.error.message, events.error.code, events.error.param)
        try:
            # The engine has accepted the request only when something comes out.
            return _Open(await anext(_chunks(events), None), events)
        except Unavailable as drift:  # an error event does not carry its type
            raise RetryableRequestError from drift
        except BaseException:
            self._abort(prompt.request_id)
            await events.aclose()
            raise

    def _request(self, prompt: Prompt) -> ChatCompletionRequest:
        return chat_completion_request(prompt, self._texts)

    async def _retried(self, attempt: Callable[[], Any]) -> Any:
        try:
            try:
                return await attempt()
            except RetryableRequestError:
                # vLLM's two caches of processed pictures drift apart when a request dies between them; it notices,
                # mends the first and asks for a retry, which would be rude to pass on.
                return await attempt()
        except Exception as fault:
            error = translate(fault)
            if isinstance(error, EngineFailure):
                log.exception("vLLM failed on a request")
            raise error from fault

    def _abort(self, request_id: str) -> None:
        # In a task of its own: whoever closes a stream may itself be cancelled at every await.
        chore = asyncio.create_task(self._llm.abort(f"chatcmpl-{request_id}"))
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def _log_stats(self) -> None:
        while True:
            await asyncio.sleep(STATS_SECONDS)
            await self._llm.do_log_stats()


def _pass_on_cancellation() -> None:
    # vLLM answers a cancellation with an error "Client disconnected", and the canceller would never hear of it.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _chunks(events: AsyncIterator[str]) -> AsyncGenerator[bytes, None]:
    """vLLM's server-sent events -> the JSON of each chunk; an error event is raised."""
    async for event in events:
        data = event.removeprefix("data: ").rstrip("\n")
        if data == "[DONE]":
            continue
        if data.startswith('{"error"'):
            error = json.loads(data)["error"]
            raise translate_answer(error["message"], error["code"], error["param"])
        yield data.encode()
