"""A prompt -> the engine -> the response in OpenAI's schema, whole or in chunks."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace

from handler.concurrency import gather
from handler.engine import ChatPrompt, Delta, Engine, Prompt, TextPrompt
from handler.openai.chat import ChatResponse
from handler.openai.text import TextResponse

OpenPrompt = AbstractAsyncContextManager[Prompt]  # the block has the images of the prompt loaded

AnyResponse = ChatResponse | TextResponse
MANY_TOKENS = 2000  # with log probabilities each makes some forty objects


class Responses:
    """The responses of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def complete(self, openings: Iterable[OpenPrompt]) -> bytes:
        """The completion as JSON text, of the prompts of one request; if there are several, each has one text. Cancelling it
        aborts the request."""
        answers = await gather([self._collect(opening) for opening in openings])
        response = answers[0][0]
        whole = [
            replace(delta, text_index=number) if number else delta
            for number, (_, deltas) in enumerate(answers)
            for delta in deltas
        ]
        if sum(len(delta.tokens) for delta in whole) < MANY_TOKENS:
            return response.complete(whole)
        return await asyncio.to_thread(response.complete, whole)

    async def _collect(self, opening: OpenPrompt) -> tuple[AnyResponse, list[Delta]]:
        async with opening as prompt:
            response = self._response(prompt)
            return response, [delta async for delta in self._deltas(prompt, response)]

    async def stream(self, openings: Iterable[OpenPrompt]) -> AsyncGenerator[bytes, None]:
        """The chunks of the completion, each as JSON text, of prompts that run one after the other. Closing the generator aborts the request."""
        async with aclosing(self._run(openings)) as running:
            async for found, delta in running:
                response = found
                for chunk in response.chunks(delta):
                    yield chunk
        for chunk in response.last_chunks():
            yield chunk

    async def _run(self, openings: Iterable[OpenPrompt]) -> AsyncGenerator[tuple[AnyResponse, Delta], None]:
        response: AnyResponse | None = None
        first_text = 0
        for opening in openings:
            async with opening as prompt:
                response = response or self._response(prompt)
                async with aclosing(self._deltas(prompt, response)) as deltas:
                    async for delta in deltas:
                        yield (
                            response,
                            replace(delta, text_index=first_text + delta.text_index) if first_text else delta,
                        )
                first_text += len(prompt.texts) if isinstance(prompt, TextPrompt) else 1

    def _response(self, prompt: Prompt) -> AnyResponse:
        card = self._engine.card
        adapter = self._engine.adapters.get(prompt.model or "")
        model = card.names[0] if adapter is None else adapter.name
        if isinstance(prompt, ChatPrompt):
            return ChatResponse(prompt, card, model)
        return TextResponse(prompt, card, model)

    def _deltas(self, prompt: Prompt, response: AnyResponse) -> AsyncGenerator[Delta, None]:
        asking = replace(prompt, tokens=response.needs_tokens, prompt_tokens=response.needs_prompt_tokens)
        return self._engine.generate(asking)
