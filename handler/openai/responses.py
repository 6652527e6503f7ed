"""A prompt -> the engine -> the response in OpenAI's schema, whole or in chunks."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace

from handler.engine import ChatPrompt, Delta, Engine, Prompt
from handler.openai.chat import ChatResponse
from handler.openai.text import TextResponse

OpenPrompt = AbstractAsyncContextManager[Prompt]  # the block has the images of the prompt loaded


class Responses:
    """The responses of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def complete(self, opening: OpenPrompt) -> bytes:
        """The completion as JSON text. Cancelling it aborts the request."""
        async with opening as prompt:
            response = self._response(prompt)
            async with aclosing(self._deltas(prompt, response)) as deltas:
                return response.complete([delta async for delta in deltas])

    async def stream(self, opening: OpenPrompt) -> AsyncGenerator[bytes, None]:
        """The chunks of the completion, each as JSON text. Closing the generator aborts the request."""
        async with opening as prompt:
            response = self._response(prompt)
            async with aclosing(self._deltas(prompt, response)) as deltas:
                async for delta in deltas:
                    for chunk in response.chunks(delta):
                        yield chunk
            for chunk in response.last_chunks():
                yield chunk

    def _response(self, prompt: Prompt) -> ChatResponse | TextResponse:
        card = self._engine.card
        adapter = self._engine.adapters.get(prompt.model or "")
        model = card.names[0] if adapter is None else adapter.name
        if isinstance(prompt, ChatPrompt):
            return ChatResponse(prompt, card, model)
        return TextResponse(prompt, card, model)

    def _deltas(self, prompt: Prompt, response: ChatResponse | TextResponse) -> AsyncGenerator[Delta, None]:
        asking = replace(prompt, tokens=response.needs_tokens, prompt_tokens=response.needs_prompt_tokens)
        return self._engine.generate(asking)
